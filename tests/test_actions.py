"""Guards what callers hear when the backend fails: an apology with an offer, never silence.

The action server is the real one; the backend is a stub, since the real one cannot be made to
lose a token or hang on demand.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from assistant import settings as configuration
from assistant.dialogue import serving, training
from assistant.ports import free_ports
from assistant.settings import Settings

START_S = 60

IDENTIFIED = {"identified": True, "token": "t", "service": "q_pension_account", "service_slots": {}}
PIN_AWAITED = {"requested_slot": "pin", "id_number": "440103196305129977"}


async def _token_expired(request: web.Request) -> web.Response:
    return web.json_response({"error": "unauthorized", "message": "expired"}, status=401)


async def _out_of_service(request: web.Request) -> web.Response:
    return web.json_response({"error": "unavailable", "message": "down"}, status=503)


async def _not_json(request: web.Request) -> web.Response:
    return web.Response(text="<html>", content_type="text/html")


async def _hangs(request: web.Request) -> web.Response:
    await asyncio.sleep(3)  # longer than the actions wait
    return web.Response()


@asynccontextmanager
async def _backend() -> AsyncIterator[str]:
    """A backend whose first path segment says how it fails."""
    app = web.Application()
    for name, handler in {
        "expired": _token_expired,
        "down": _out_of_service,
        "html": _not_json,
        "hangs": _hangs,
    }.items():
        app.router.add_post(f"/{name}/{{path:.*}}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield str(site.name)
    await runner.cleanup()


@asynccontextmanager
async def _actions(backend_url: str, cards: Path | None = None) -> AsyncIterator[Settings]:
    """A running action server that asks the backend at this address."""
    settings = configuration.load(overrides=[*free_ports(), f'backend.url="{backend_url}"'])
    command = serving.actions_command(settings, cards or training.spoken_file())
    process = await asyncio.create_subprocess_exec(
        *command.argv, cwd=command.cwd, env=command.env, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(serving.actions_health(settings)) as answer:
                        if answer.status == 200:
                            break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
        yield settings
    finally:
        os.kill(process.pid, signal.SIGTERM)
        await process.wait()


async def _act(
    settings: Settings, action: str, slots: dict[str, Any], means: str = "inform_digits"
) -> dict[str, Any]:
    """What the action answers to Rasa: events, and names or texts of the responses."""
    awaits_pin = "requested_slot" in slots
    tracker = {
        "sender_id": "c1",
        "slots": slots,
        "latest_message": {
            "text": "一三五七九零",
            "intent": {"name": means.partition("/")[0], "confidence": 0.9},
            "intent_ranking": [{"name": means, "confidence": 0.9}],
            "entities": [],
        },
        "events": [],
        "paused": False,
        "followup_action": None,
        "active_loop": {"name": "identity_form"} if awaits_pin else {},
        "latest_action_name": "action_listen",
    }
    domain = {
        "forms": {"identity_form": {"required_slots": ["id_number", "pin"]}},
        "responses": {},
    }
    request = {"next_action": action, "sender_id": "c1", "tracker": tracker, "domain": domain}
    async with (
        aiohttp.ClientSession() as session,
        session.post(settings.actions_url, json=request) as answer,
    ):
        assert answer.status == 200, await answer.text()
        done = await answer.json()
    return {
        "said": [each["response"] or each["text"] for each in done["responses"]],
        "slots": {each["name"]: each["value"] for each in done["events"] if "value" in each},
        "protected": any(each["custom"].get("protected") for each in done["responses"]),
        "next": [each["name"] for each in done["events"] if each["event"] == "followup"],
    }


@pytest.mark.parametrize("way", ["down", "html", "hangs"])
async def test_a_failing_backend_is_apologised_for(way: str) -> None:
    async with _backend() as url, _actions(f"{url}/{way}") as settings:
        first = await _act(settings, "action_serve", IDENTIFIED)
        second = await _act(settings, "action_serve", IDENTIFIED | {"backend_failures": 1})
        pin = await _act(settings, "validate_identity_form", PIN_AWAITED)
    assert first["said"] == ["utter_backend_down"]
    assert second["said"] == ["utter_backend_still_down"]
    assert pin["said"] == ["utter_backend_down"]
    assert pin["slots"]["requested_slot"] is None, "the form would go on asking in vain"


async def test_an_unreachable_backend_is_apologised_for() -> None:
    async with _actions("http://127.0.0.1:9") as settings:
        done = await _act(settings, "action_serve", IDENTIFIED)
    assert done["said"] == ["utter_backend_down"]


async def test_an_expired_token_asks_for_identity_again() -> None:
    async with _backend() as url, _actions(f"{url}/expired") as settings:
        done = await _act(settings, "action_serve", IDENTIFIED)
    assert done["said"] == ["utter_identity_expired"]
    assert done["next"] == ["identity_form"]
    assert done["slots"]["identified"] is False
    assert done["slots"]["token"] is None


@pytest.mark.parametrize("protected", [True, False])
async def test_the_mark_of_a_card_goes_with_its_answer(tmp_path: Path, protected: bool) -> None:
    content = json.loads(training.spoken_file().read_text(encoding="utf-8"))
    assert content["cards"]["survivor_materials"]["protected"] is False
    content["cards"]["survivor_materials"]["protected"] = protected
    cards = tmp_path / "cards.json"
    cards.write_text(json.dumps(content), encoding="utf-8")
    async with _actions("http://127.0.0.1:9", cards) as settings:
        done = await _act(settings, "action_advise", {}, "policy/survivor_materials")
    assert "死亡证明" in done["said"][0]
    assert done["protected"] is protected


@pytest.mark.parametrize("protected", [True, False])
async def test_the_mark_of_a_confirmation_goes_with_its_question(protected: bool) -> None:
    slots = {"confirm_text": {"text": "办完马上不能用，对吗？", "protected": protected}}
    async with _actions("http://127.0.0.1:9") as settings:
        done = await _act(settings, "action_ask_confirm_form_confirmed", slots)
    assert done["said"] == ["办完马上不能用，对吗？"]
    assert done["protected"] is protected
