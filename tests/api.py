"""A client of the service API that holds every answer to the OpenAPI document."""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient
from jsonschema import Draft202012Validator

from assistant.backend.clock import CHINA, Clock
from assistant.backend.persons import DemoPerson, load_persons

PERSONS: dict[str, DemoPerson] = {person.key: person for person in load_persons().persons}


@dataclass(frozen=True)
class HeldClock(Clock):
    """Time stands still until it is moved."""

    business_day: date | None = date(2026, 11, 23)
    moment: datetime = datetime(2026, 11, 23, 10, 0, tzinfo=CHINA)

    def now(self) -> datetime:
        """The held moment."""
        return self.moment

    def later(self, by: timedelta) -> "HeldClock":
        """A clock that stands at a later time."""
        return replace(self, moment=self.moment + by)


class Api:
    """Calls the service and checks each answer against its own document."""

    def __init__(self, client: "TestClient[web.Request, web.Application]") -> None:
        self.client = client
        self._document: dict[str, Any] = {}

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and body."""
        return await self._checked(path, "get", await self.client.get(path))

    async def post(self, path: str, body: Any, token: str | None = None) -> tuple[int, Any]:
        """Status and body."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        response = await self.client.post(path, json=body, headers=headers)
        return await self._checked(path, "post", response)

    async def post_raw(self, path: str, body: bytes, token: str = "x") -> tuple[int, Any]:
        """A body that need not be JSON."""
        headers = {"Authorization": f"Bearer {token}"}
        response = await self.client.post(path, data=body, headers=headers)
        return await self._checked(path, "post", response)

    async def try_pin(self, id_number: str, pin: str, call_id: str = "call-1") -> Any:
        """One try to prove identity."""
        body = {"call_id": call_id, "id_number": id_number, "pin": pin}
        status, answer = await self.post("/v1/identity", body)
        assert status == 200, answer
        return answer

    async def token(self, key: str, call_id: str = "call-1") -> str:
        """A token for a demo person."""
        person = PERSONS[key]
        answer = await self.try_pin(person.id_number, person.pin, call_id)
        return str(answer["token"])

    async def check(self, item: str, token: str, **slots: str) -> Any:
        """The body of a check."""
        _, answer = await self.post(f"/v1/services/{item}/check", {"slots": slots}, token)
        return answer

    async def run(
        self,
        item: str,
        token: str,
        *,
        confirmed: bool = False,
        request_id: str = "r1",
        **slots: str,
    ) -> Any:
        """The body of a run."""
        body = {"slots": slots, "confirmed": confirmed, "request_id": request_id}
        _, answer = await self.post(f"/v1/services/{item}/run", body, token)
        return answer

    async def _checked(self, path: str, method: str, response: ClientResponse) -> tuple[int, Any]:
        if not self._document:
            self._document = await (await self.client.get("/openapi.json")).json()
        body = await response.json()
        documented = self._document["paths"].get(_template(path), {}).get(method)
        if documented:
            schema = documented["responses"][str(response.status)]["content"]["application/json"]
            components = {"components": self._document["components"]}
            Draft202012Validator(schema["schema"] | components).validate(body)
        return response.status, body


def _template(path: str) -> str:
    parts = path.split("/")
    if parts[1:3] == ["v1", "services"] and len(parts) == 5:
        parts[3] = "{id}"
    return "/".join(parts)
