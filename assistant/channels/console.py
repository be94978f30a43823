"""The text door: one line is one turn of the caller."""

import asyncio
import json
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any

from assistant.call import Outcome
from assistant.dialogue.dialogue import (
    CallStarted,
    Control,
    Dialogue,
    HangUp,
    Keys,
    ListenFor,
    Response,
    Said,
    Silence,
    Speed,
    Transfer,
    Volume,
)
from assistant.hearing import Heard
from assistant.journal import Event, Journal
from assistant.reception import new_call_id
from assistant.records import CallRecords
from assistant.settings import Settings
from assistant.speech.recognizer import Transcript

HANGUP = "/hangup"

KEYED = re.compile(r"#([0-9*A-Da-d]+)#")
"""Keyed digits, as in #135790#."""


@dataclass
class _TextCall:
    """One call in text: what a Call is without sound."""

    call_id: str
    journal: Journal
    dialogue: Dialogue
    caller: str
    silences: int = 0

    async def turn(self, said: Said) -> tuple[Response, int]:
        """The dialogue's response, and the milliseconds it took."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        if isinstance(said, Transcript | Keys):
            self.journal.heard(Heard(said, before, before, before))
        elif isinstance(said, Silence):
            self.journal.silent(said.times)
        response = await self.dialogue.respond(self.call_id, said, self.caller)
        self.journal.understood(response)
        for reply in response.replies:
            if isinstance(reply.control, ListenFor):
                self.journal.expect(reply.control.expecting)
            self.journal.speaking(reply.text)
        return response, round((loop.time() - before) * 1000)

    def read(self, line: str) -> Said:
        """What a typed line says."""
        if not line.strip():
            self.silences += 1
            return Silence(self.silences)
        self.silences = 0
        if keyed := KEYED.fullmatch(line.strip()):
            return Keys(keyed[1].upper())
        return Transcript(line, confidence=1.0)

    async def end(self, outcome: Outcome) -> None:
        self.journal.ended(outcome)
        await self.dialogue.forget(self.call_id)


class TextConsole:
    """Holds calls over standard input and output."""

    def __init__(
        self, dialogue: Dialogue, records: CallRecords, settings: Settings, caller: str
    ) -> None:
        self._dialogue = dialogue
        self._records = records
        self._settings = settings
        self._caller = caller

    async def run(self, *, as_json: bool, isolated: bool) -> None:
        """Talk until the input ends, the caller types /hangup, or the hotline hangs up.

        Piped lines that are left when the hotline hangs up begin a new call: none is lost.
        """
        show = _print_json if as_json else _print_text
        lines = _lines()
        if isolated:
            await self._isolated_calls(lines, show)
            return
        line: str | None = None
        while True:
            call, greeting, ms = await self._ring()
            show(0, "", greeting, ms)
            line = await self._one_call(call, lines, line, show)
            if line is None or line.strip() == HANGUP or sys.stdin.isatty():
                return

    async def _isolated_calls(self, lines: AsyncIterator[str], show: "Show") -> None:
        turn = 0
        async for line in lines:
            if line.strip() == HANGUP:
                return
            turn += 1
            call, _, _ = await self._ring()
            show(turn, line, *await call.turn(call.read(line)))
            await call.end(Outcome.CALLER_HUNG_UP)

    async def _one_call(
        self, call: _TextCall, lines: AsyncIterator[str], line: str | None, show: "Show"
    ) -> str | None:
        """Hold the call, beginning with `line`; returns the next line after it, if any."""
        turn = 0
        while True:
            if line is None:
                line = await anext(lines, None)
            if line is None or line.strip() == HANGUP:
                await call.end(Outcome.CALLER_HUNG_UP)
                return line
            turn += 1
            response, ms = await call.turn(call.read(line))
            show(turn, line, response, ms)
            line = None
            if any(isinstance(reply.control, HangUp | Transfer) for reply in response.replies):
                await call.end(Outcome.COMPLETED)
                return None if sys.stdin.isatty() else await anext(lines, None)

    async def _ring(self) -> tuple[_TextCall, Response, int]:
        call_id = new_call_id()
        journal = Journal(
            call_id, "console", self._caller, _nobody_watches, self._records, self._settings.privacy
        )
        call = _TextCall(call_id, journal, self._dialogue, self._caller)
        return call, *await call.turn(CallStarted())


Show = Callable[[int, str, Response, int], None]


def _nobody_watches(event: Event) -> None:
    """A console's caller reads the replies themselves."""


def _print_json(turn: int, line: str, response: Response, ms: int) -> None:
    shown = {
        "turn": turn,
        "caller": line,
        "replies": [
            {"text": reply.text, "control": _control(reply.control)} for reply in response.replies
        ],
        "intent": response.intent,
        "confidence": round(response.confidence, 4),
        "cards": response.cards,
        "ms": ms,
    }
    print(json.dumps(shown, ensure_ascii=False), flush=True)


def _print_text(turn: int, line: str, response: Response, ms: int) -> None:
    if line and not sys.stdin.isatty():
        print(f"来电：{line}")
    for reply in response.replies:
        print(f"热线：{reply.text}", flush=True)
    if any(isinstance(reply.control, HangUp | Transfer) for reply in response.replies):
        print("（通话结束）", flush=True)


def _control(control: Control | None) -> dict[str, Any] | None:
    match control:
        case ListenFor(expecting):
            return {"type": "listen_for", "expecting": expecting}
        case Speed(factor):
            return {"type": "speed", "factor": factor}
        case Volume(db):
            return {"type": "volume", "db": db}
        case Transfer(target):
            return {"type": "transfer", "target": target}
        case HangUp():
            return {"type": "hang_up"}
    return None


async def _lines() -> AsyncIterator[str]:
    """Lines of standard input; bytes that are no UTF-8 are replaced, not fatal."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line.rstrip("\r\n"))
        loop.call_soon_threadsafe(lines.put_nowait, None)

    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    if sys.stdin.isatty():
        print("（输入一行就是说一句话，空行是沉默，#123456# 是按键，/hangup 挂断）")
    # A daemon: Ctrl-C must not wait for one more line.
    threading.Thread(target=read, name="console", daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line
