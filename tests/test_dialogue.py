"""Guards what callers experience: understanding on held-out words, and whole conversations.

Everything is served: the trained Rasa model, the actions, the backend with the demo persons.
Conversations are data in tests/data/conversations.yaml and advice.yaml.
"""

import asyncio
import json
import re
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from assistant import bench_nlu
from assistant.dialogue import digressions, policies
from assistant.dialogue.dialogue import (
    CallStarted,
    Control,
    HangUp,
    Keys,
    ListenFor,
    Response,
    Said,
    Silence,
    Speed,
    Told,
    Transfer,
    Volume,
)
from assistant.dialogue.rasa import RasaDialogue
from assistant.dialogue.serving import RASA_PROJECT
from assistant.speech.recognizer import Alternative, Transcript
from tests import rasa_python
from tests.conftest import Stack

DATA = Path(__file__).parent / "data"

CONVERSATIONS: list[dict[str, Any]] = [
    conversation
    for file in ("conversations.yaml", "advice.yaml")
    for conversation in yaml.safe_load((DATA / file).read_text(encoding="utf-8"))
]

RIGHT_CLEAN, RIGHT_NOISED = 0.9, 0.82
"""Shares of right cards; below what `hotline bench nlu` measures on all, as a quarter is asked."""

FALSE_ACCEPTS = 0.1
"""Share of the 66 questions out of scope in the sample that may be answered with a card."""


def _said(turn: dict[str, Any]) -> Said:
    match turn:
        case {"start": True}:
            return CallStarted()
        case {"keys": str(digits)}:
            return Keys(digits)
        case {"silence": int(times)}:
            return Silence(times)
        case {"say": str(text)}:
            return Transcript(text, 0.9)
        case {"say": list(texts)}:
            heard = tuple(Alternative(text, 0.9 - 0.05 * n) for n, text in enumerate(texts))
            return Transcript(texts[0], 0.9, heard)
    raise AssertionError(f"no such turn: {turn}")


def _told(text: str, heard: str) -> Told:
    return Told(text, text.index(heard) + len(heard))


def _deed(control: Control | None) -> str | None:
    match control:
        case HangUp():
            return "hang_up"
        case Transfer():
            return "transfer"
        case Speed(factor):
            return "slower" if factor < 1 else "faster"
        case Volume(db):
            return f"volume {db:g}"
    return None


def _check(turn: dict[str, Any], response: Response) -> None:
    text = "".join(reply.text for reply in response.replies)
    deeds = [_deed(reply.control) for reply in response.replies]
    last = response.replies[-1].control
    assert text, f"silence after {turn}"
    for words in turn.get("has", []):
        assert words in text, f"after {turn}: {text}"
    for words in turn.get("lacks", []):
        assert words not in text, f"after {turn}: {text}"
    if "listens" in turn:
        assert last == ListenFor(turn["listens"]), f"after {turn}: {text}"
    if "does" in turn:
        assert turn["does"] in deeds, f"after {turn}: {text}"
    else:
        assert "hang_up" not in deeds, f"the call ended after {turn}: {text}"
    assert turn.get("protected", False) == any(reply.protected for reply in response.replies)
    if "intent" in turn:
        assert response.intent == turn["intent"]
    if "cards" in turn:
        assert response.cards == turn["cards"], f"after {turn}: {text}"


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda each: each["name"])
async def test_conversation(stack: Stack, conversation: dict[str, Any]) -> None:
    call_id = uuid.uuid4().hex
    async with RasaDialogue(stack.settings) as dialogue:
        text = ""
        for turn in conversation["turns"]:
            told = _told(text, turn["heard"]) if "heard" in turn else None
            response = await dialogue.respond(call_id, _said(turn), told=told)
            _check(turn, response)
            text = "".join(reply.text for reply in response.replies)
        await dialogue.forget(call_id)


async def test_callers_never_met_are_understood(stack: Stack) -> None:
    results = await bench_nlu.measure(stack.settings, bench_nlu.read_cases(bench_nlu.HELD_OUT)[::4])
    found = bench_nlu.report(results)
    assert found["clean"]["cards"] >= RIGHT_CLEAN, bench_nlu.table(found)
    assert found["noised"]["cards"] >= RIGHT_NOISED, bench_nlu.table(found)
    assert found["clean"]["out_of_scope_false_accepts"] <= FALSE_ACCEPTS, bench_nlu.table(found)


@pytest.mark.parametrize("file", ["held_out.tsv", "tuning.tsv"])
def test_held_out_callers_are_in_no_training_data(file: str) -> None:
    held_out = {_bare(case.text) for case in bench_nlu.read_cases(DATA / file)}
    trained = {_bare(says) for card in policies.load() for says in card.says}
    for source in (RASA_PROJECT / "data" / "nlu").glob("*.yml"):
        for intent in yaml.safe_load(source.read_text(encoding="utf-8"))["nlu"]:
            trained |= {_bare(line[2:]) for line in intent["examples"].splitlines()}
    assert not held_out & trained


def _bare(text: str) -> str:
    return re.sub("[，？。\\s]", "", text)


@pytest.mark.parametrize("form", digressions.FORMS)
def test_what_the_actions_leave_to_the_rules_has_a_rule_in_each_form(form: str) -> None:
    code = "from actions.identity import ANSWERED_BY_RULES; print(*ANSWERED_BY_RULES)"
    left = rasa_python.printed(code).split()
    ruled = {"no_more"} if form == "confirm_form" else set()  # there it is the answer "no"
    rules = digressions.rules()["rules"]
    for file in (RASA_PROJECT / "data" / "rules").glob("*.yml"):
        rules += yaml.safe_load(file.read_text(encoding="utf-8"))["rules"]
    for rule in rules:
        if {"active_loop": form} in rule.get("condition", []):
            first = rule["steps"][0]
            ruled |= {step["intent"] for step in first.get("or", [first]) if "intent" in step}
    assert ruled == set(left)


@pytest.mark.parametrize(
    "text",
    [
        "/no_input_last",  # as a command it hangs up
        "／no_input_last",
        '/keyed{"digits": "1"}',
        "金" * 10_000,
        "👍🏽😀",
        "\x00\x07\x1b[2J",
        "{name} [金](x) $(reboot)",
        "'; drop table person; --",
    ],
)
async def test_odd_text_is_answered_and_commands_nothing(stack: Stack, text: str) -> None:
    async with RasaDialogue(stack.settings) as dialogue:
        response = await dialogue.respond(uuid.uuid4().hex, Transcript(text, 0.5))
    assert any(reply.text for reply in response.replies)
    assert not any(isinstance(reply.control, HangUp) for reply in response.replies)
    assert response.intent != "keyed"


async def test_a_conversation_is_forgotten_with_its_call(stack: Stack) -> None:
    call_id = uuid.uuid4().hex
    tracker = f"{stack.settings.rasa_url}/conversations/{call_id}/tracker"
    async with RasaDialogue(stack.settings) as dialogue, aiohttp.ClientSession() as session:
        await dialogue.respond(call_id, CallStarted())
        await dialogue.respond(call_id, Transcript("查余额"))
        await dialogue.respond(call_id, Transcript("四四零幺零三一九六三零五一二九九七七"))
        async with session.get(tracker) as answer:
            assert "四四零幺零三" in json.dumps(await answer.json(), ensure_ascii=False)
        await dialogue.forget(call_id)
        async with session.get(tracker) as answer:
            left = json.dumps(await answer.json(), ensure_ascii=False)
    assert "四四零幺零三" not in left
    assert "440103" not in left


async def test_calls_at_the_same_time_do_not_mix(stack: Stack) -> None:
    async with RasaDialogue(stack.settings) as dialogue:

        async def ask(text: str) -> str:
            response = await dialogue.respond(uuid.uuid4().hex, Transcript(text, 0.9))
            return "".join(reply.text for reply in response.replies)

        answers = await asyncio.gather(*[ask(text) for text in ("失业金能领多久", "查余额") * 4])
    assert all("24个月" in answer for answer in answers[::2])
    assert all("身份证" in answer for answer in answers[1::2])
