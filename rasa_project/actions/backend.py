"""Client of the backend's service API: all that the actions know of the bureau's data."""

import asyncio
import os
from typing import Any

import aiohttp

TIMEOUT_S = 2.0
"""A turn makes two requests at most, and the caller waits in silence: rather an apology."""

Answer = dict[str, Any]


class BackendUnavailable(Exception):
    """The backend did not answer in time, or said that it cannot serve now."""


class Unauthorized(Exception):
    """The token has expired: identity has to be proven again."""


async def verify_identity(call_id: str, id_number: str, pin: str) -> Answer:
    """Check ID number and PIN; `outcome` is verified, wrong or locked."""
    return await _post("/v1/identity", {"call_id": call_id, "id_number": id_number, "pin": pin})


async def check(service: str, slots: Answer, token: str) -> Answer:
    """May this be done? `outcome` is allowed (perhaps with `confirm` to be asked) or refused."""
    return await _post(f"/v1/services/{service}/check", {"slots": slots}, token)


async def run(service: str, slots: Answer, token: str, request_id: str) -> Answer:
    """Do it; `outcome` is done or refused, `spoken` what the caller hears."""
    request = {"slots": slots, "confirmed": True, "request_id": request_id}
    return await _post(f"/v1/services/{service}/run", request, token)


async def calculate(name: str, inputs: dict[str, str], province: str | None) -> Answer:
    """One step of a calculator; `outcome` is ask, unfit or done."""
    return await _post(f"/v1/calculators/{name}", {"inputs": inputs, "province": province})


async def _post(path: str, body: Answer, token: str | None = None) -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    url = os.environ["HOTLINE_BACKEND_URL"] + path
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, json=body, headers=headers) as response,
        ):
            if response.status == 401:
                raise Unauthorized
            if response.status != 200:
                raise BackendUnavailable(f"{path}: HTTP {response.status}")
            answer: Answer = await response.json()
            return answer
    except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as error:
        raise BackendUnavailable(f"{path}: {type(error).__name__}") from error
