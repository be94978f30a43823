"""Guards the whole path: an independent phone (baresip) dials in, speaks Mandarin, is served.

Real SIP and RTP on loopback, the real recogniser and voice, the served dialogue, the database.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import soundfile
from sqlalchemy import text

from assistant.backend.database import Database
from assistant.dialogue import resilient
from assistant.settings import ROOT
from assistant.speech import client
from tests.baresip import Baresip, free_port
from tests.conftest import Stack

ENGINES_S = 120
"""Loading both engines on a busy machine."""

TURN_S = 60
"""A turn, its answer heard to the end."""

CALLERS = ROOT / "audio" / "demo"


class CallServer:
    """`hotline answer` as a child, and the events that it prints."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._seen = 0
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            self.events.append(json.loads(line))
            self._news.set()

    async def next(self, kind: str, words: str = "", limit_s: float = TURN_S) -> dict[str, Any]:
        """The next event of `kind` with `words` in its text; those before it are passed over."""
        try:
            async with asyncio.timeout(limit_s):
                return await self._next(kind, words)
        except TimeoutError:
            so_far = "\n".join(str(event) for event in self.events)
            pytest.fail(f"no {kind} with {words!r} came within {limit_s} s:\n{so_far}")

    async def _next(self, kind: str, words: str) -> dict[str, Any]:
        while True:
            self._news.clear()
            while self._seen < len(self.events):
                event = self.events[self._seen]
                self._seen += 1
                if kind in ("", event["event"]) and words in event.get("text", ""):
                    return event
            await self._news.wait()

    async def ask(self, phone: Baresip, wav: Path, awaited: str) -> None:
        """Say `wav` when the hotline listens; once more where it asks back, as a caller does."""
        await self.next("listening")
        await phone.say(wav)
        await self.next("caller")
        if not await self._answers(awaited):
            await phone.say(wav)
            await self.next("hotline", awaited)

    async def _answers(self, awaited: str) -> bool:
        """Whether the hotline says the awaited words before it listens again."""
        while (event := await self.next(""))["event"] != "listening":
            if event["event"] == "hotline" and awaited in event["text"]:
                return True
        return False


@asynccontextmanager
async def call_server(
    stack: Stack, *more: str, command: Sequence[str] = ("answer",)
) -> AsyncIterator[CallServer]:
    """Answers on an ephemeral port; ended by its own process id."""
    overrides = [word for override in more for word in ("--set", override)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "assistant.cli", *stack.arguments, *overrides, *command,
        stdout=asyncio.subprocess.PIPE, cwd=ROOT, env=os.environ,
    )  # fmt: skip
    server = CallServer(process)
    try:
        await server.next("ready", limit_s=ENGINES_S)
        yield server
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()


async def test_a_policy_answer_a_balance_and_goodbye(stack: Stack, tmp_path: Path) -> None:
    async with call_server(stack) as server:
        ready = server.events[0]
        async with Baresip(tmp_path) as phone:
            await phone.dial(ready["sip"])
            await phone.event("CALL_ESTABLISHED")
            for line, awaited in [
                ("1.wav", "15年"),
                ("2.wav", "身份证"),
                ("3.wav", "密码"),
                ("4.wav", "58214.36元"),
                ("5.wav", "再见"),
            ]:
                await server.ask(phone, CALLERS / line, awaited)
            await phone.event("CALL_CLOSED", timeout_s=TURN_S)
        await server.next("ended")
        turns = sum(event["event"] == "caller" for event in server.events)
        assert turns <= 6, "at most one of the five lines had to be said again"
        await _check_metrics(ready["metrics"], turns)
        heard, said = phone.heard(), phone.said()
    assert server.events[-1]["outcome"] == "completed"
    assert (np.abs(heard) > 500).sum() > 5 * 8000, "the phone heard seconds of speech"
    assert (np.abs(said) > 500).sum() > 2 * 8000, "the phone sent the caller's speech"
    call = server.events[1]["call"]
    await _check_recording(Path(stack.settings.recording.folder) / f"{call}.wav")
    await _check_records(stack, call)


async def _check_metrics(url: str, turns: int) -> None:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        counted = (await answer.text()).splitlines()
    assert 'hotline_calls_total{outcome="completed"} 1.0' in counted
    assert f'hotline_answer_latency_seconds_count{{stage="first_audio"}} {turns}.0' in counted
    assert "hotline_calls_in_progress 0.0" in counted


async def _check_recording(file: Path) -> None:
    audio, _ = soundfile.read(file, dtype="int16", always_2d=True)
    caller, hotline = np.abs(audio[:, 0]) > 500, np.abs(audio[:, 1]) > 500
    assert caller.sum() > 2 * 8000, "caller left"
    assert hotline.sum() > 5 * 8000, "hotline right"


async def _check_records(stack: Stack, call: str) -> None:
    database = Database(stack.settings.backend.database)
    try:
        async with database.reading() as session:
            row = await session.execute(text("select * from call where call_id = :c"), {"c": call})
            found = row.mappings().one()
            turns = await session.execute(
                text('select * from turn where call_id = :c order by "index"'), {"c": call}
            )
            written = json.dumps([dict(turn) for turn in turns.mappings()], ensure_ascii=False)
    finally:
        await database.close()
    assert found["outcome"] == "completed"
    assert found["caller"].endswith("1234")
    assert "13800001234" not in str(dict(found))
    assert "58214.36" in written, "what was answered is kept"
    for secret in ("135790", "一三五七九零", "440103196305129977", "一九六三零五一二"):
        assert secret not in written


async def test_a_call_through_the_front_door(stack: Stack, tmp_path: Path) -> None:
    behind = ("answer", "--behind-front-as", "answer-1")
    async with (
        call_server(stack, "sip.max_calls=5", command=["front"]) as front,
        call_server(stack, "sip.max_calls=5", command=behind) as server,
        Baresip(tmp_path) as phone,
    ):
        await phone.dial(front.events[0]["sip"])
        await phone.event("CALL_ESTABLISHED")
        await server.next("listening")
        await phone.say(CALLERS / "1.wav")
        await server.next("hotline", "15年")
        server.process.send_signal(signal.SIGTERM)  # the goodbye and its BYE pass the front door
        await phone.event("CALL_CLOSED", timeout_s=TURN_S)
        assert await asyncio.wait_for(server.process.wait(), 30) == 0
    assert server.events[-1]["outcome"] == "closed"


async def test_keyed_digits_and_a_goodbye_at_shutdown(stack: Stack, tmp_path: Path) -> None:
    async with call_server(stack) as server:
        async with Baresip(tmp_path) as phone:
            await phone.dial(server.events[0]["sip"])
            await phone.event("CALL_ESTABLISHED")
            await server.next("listening")
            await phone.say(CALLERS / "2.wav")
            await server.next("hotline", "身份证")
            await phone.press("440103196305129977#")
            await server.next("hotline", "密码")
            await phone.press("135790#")
            await server.next("hotline", "58214.36元")
            server.process.send_signal(signal.SIGTERM)
            await phone.event("CALL_CLOSED", timeout_s=TURN_S)
        assert await asyncio.wait_for(server.process.wait(), 30) == 0
        await server.next("ended", limit_s=5)
    assert server.events[-1]["outcome"] == "closed"


@asynccontextmanager
async def speech_server(stack: Stack, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """`hotline speech` with its engines loaded; killed at the end, as in an accident."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "assistant.cli", *stack.arguments,
        "--set", f"speech.port={port}", "speech", cwd=ROOT, env=os.environ,
    )  # fmt: skip
    try:
        speech = stack.settings.speech.model_copy(update={"port": port})
        async with client.connect(speech, ENGINES_S):
            pass
        yield process
    finally:
        process.kill()
        await process.wait()


async def test_a_call_outlives_the_speech_server(stack: Stack, tmp_path: Path) -> None:
    port = free_port()
    async with AsyncExitStack() as running:
        async with speech_server(stack, port):
            patient = (f"speech.port={port}", "turns.no_input_s=60")
            server = await running.enter_async_context(call_server(stack, *patient))
            phone = await running.enter_async_context(Baresip(tmp_path))
            await phone.dial(server.events[0]["sip"])
            await phone.event("CALL_ESTABLISHED")
            await server.next("listening")
        await phone.say(CALLERS / "1.wav")
        await server.next("caller")
        await server.next("hotline")
        async with speech_server(stack, port):
            await server.ask(phone, CALLERS / "1.wav", "15年")
    assert server.events[-1]["outcome"] == "caller_hung_up"


async def test_an_apology_while_the_dialogue_is_down(stack: Stack, tmp_path: Path) -> None:
    async with (
        call_server(stack, "dialogue.rasa_port=1", "turns.no_input_s=2") as server,
        Baresip(tmp_path) as phone,
    ):
        await phone.dial(server.events[0]["sip"])
        await phone.event("CALL_ESTABLISHED")
        notice, first = [await server.next("hotline") for _ in range(2)]
        assert notice["text"] == stack.settings.recording.notice, (
            "the call is recorded all the same"
        )
        assert first["text"] == resilient.FIRST, "an apology and an offer instead of the greeting"
        await phone.event("CALL_CLOSED", timeout_s=120)
        await server.next("ended")
        numbers = [event["text"] for event in server.events if event["event"] == "hotline"]
        assert any("12333" in text for text in numbers), "the human desk's number is told"
