"""A scripted caller: dials the hotline, listens until it has finished, says the next line.

    python -m assistant.channels.sip_caller sip:12333@127.0.0.1:5060 \\
        --lines lines.json --record call.wav --report report.json

lines.json is a list; each entry is one turn of the caller:

    {"say": "question.wav", "text": "我想查养老金"}    any rate, any format libsndfile reads
    {"keys": "440103#"}                              RFC 4733
    {"wait_ms": 3000}                                say nothing for so long
    "interrupt_ms": 800 in an entry                  speak 800 ms after the hotline has begun,
                                                     not when it has finished

One JSON object a line goes to stdout as it happens: answered, hotline_spoke, line_started,
line_ended, answer_started, ended. The recording is stereo, 8 kHz: caller left, hotline right. All
times are ms since the call was answered, on the caller's side of the wire: what the caller sent and
heard in the same 20 ms has the same time, so a latency is what a caller experiences.

It runs in a process of its own, since pjsua exists once a process. Exit code 0: the call was
answered and every line was answered.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile

from assistant.channels.channel import ChannelClosed, ChannelError, Pcm
from assistant.channels.sip import SipListener
from assistant.channels.sip_call import KEY_MS, KEY_PAUSE_MS, CallFailed, SipChannel
from assistant.channels.sip_media import RATE
from assistant.channels.sip_script import (
    CallerError,
    Ear,
    Kind,
    Line,
    load_line,
    load_script,
    speech_end,
)
from assistant.settings import Sip

CALLER_RTP_PORT = 44000
"""Away from the hotline's own range (sip.rtp_port), which may be on the same machine."""

Emit = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class Turn:
    """What happened in one line; ms since the answer."""

    line: int
    kind: Kind
    text: str
    started_ms: float
    interrupts: bool = False
    speech_end_ms: float = 0.0
    """When the last sample of speech left, or the last key was pressed."""
    answer_ms: float | None = None
    """The first sample of the hotline's answer arrived; None: it never did."""

    @property
    def latency_ms(self) -> float | None:
        """From the end of speech to the answer; negative where the hotline cut in."""
        return None if self.answer_ms is None else round(self.answer_ms - self.speech_end_ms, 1)


@dataclass(slots=True)
class Report:
    """The whole call."""

    uri: str
    lines: int
    """How many the script has; `turns` are those that were reached."""
    status: int = 0
    """SIP status: 200 answered, 486 busy …"""
    codec: str = ""
    ended_by: Literal["", "caller", "hotline"] = ""
    seconds: float = 0.0
    greeting_ms: float | None = None
    """First sound of the hotline."""
    turns: list[Turn] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the call was answered, every line was reached, and each was answered."""
        answered = all(turn.answer_ms is not None or turn.kind == "wait" for turn in self.turns)
        return self.status == 200 and len(self.turns) == self.lines and answered

    def as_json(self) -> dict[str, Any]:
        """As written to the report file."""
        turns = [{**asdict(turn), "latency_ms": turn.latency_ms} for turn in self.turns]
        return {**asdict(self), "turns": turns}


class Caller:
    """Plays a script to a hotline and measures its answers."""

    def __init__(
        self, lines: Sequence[Line], emit: Emit, quiet_ms: int = 1200, patience_s: float = 15
    ) -> None:
        """`patience_s`: how long a silent hotline is waited for before the next line.

        Raises CallerError when a recording cannot be used.
        """
        self._lines, self._emit = lines, emit
        self._quiet_ms, self._patience_ms = quiet_ms, patience_s * 1000
        self._voices = [load_line(line.say) if line.say else None for line in lines]
        self._ear = Ear()
        self._ticked = asyncio.Event()
        self._speaking_since: float | None = None
        self.said: list[Pcm] = []
        self.heard: list[Pcm] = []
        """20 ms frames of the call, 8 kHz; said and heard are aligned."""

    async def call(self, sip: SipListener, uri: str, wait_for_bye: bool = False) -> Report:
        """Place the call, play all lines, hang up (or wait for the hotline to)."""
        report = Report(uri, len(self._lines))
        try:
            channel = await sip.dial(uri)
        except CallFailed as failed:
            report.status = failed.status
            self._emit({"event": "ended", "status": failed.status, "by": ""})
            return report
        channel.tap = self._tick
        listening = asyncio.create_task(self._listen(channel))
        report.status, report.codec = channel.status, channel.codec
        self._emit({"event": "answered", "codec": channel.codec})
        try:
            await self._converse(channel, report)
            if wait_for_bye:
                async with asyncio.timeout(self._patience_ms / 1000):
                    await listening
        except (ChannelClosed, TimeoutError):
            pass  # the report tells who hung up
        await channel.hangup()
        await listening
        report.ended_by = "caller" if channel.ended_by == "us" else "hotline"
        report.seconds = round(self._ear.now_ms / 1000, 2)
        report.greeting_ms = self._ear.onset_after(0)
        self._emit({"event": "ended", "status": report.status, "by": report.ended_by})
        return report

    def record(self, path: Path) -> None:
        """Write the call: stereo, 8 kHz, caller left, hotline right. Raises CallerError."""
        sides = (np.concatenate([np.zeros(0, np.int16), *side]) for side in (self.said, self.heard))
        try:
            soundfile.write(path, np.column_stack(list(sides)), RATE)
        except (OSError, soundfile.LibsndfileError) as error:
            raise CallerError(f"{path}: the recording cannot be written: {error}") from None

    # -- the conversation ------------------------------------------------------------------------

    async def _converse(self, channel: SipChannel, report: Report) -> None:
        turn: Turn | None = None
        for number, line in enumerate(self._lines):
            await self._hear_out(channel, turn, line.interrupt_ms)
            turn = Turn(number, line.kind, line.text, self._ear.now_ms)
            turn.interrupts = line.interrupt_ms > 0
            report.turns.append(turn)
            self._emit({"event": "line_started", "line": number, "at_ms": turn.started_ms,
                        "text": turn.text})  # fmt: skip
            await self._perform(channel, line, turn)
            self._emit({"event": "line_ended", "line": number, "at_ms": turn.speech_end_ms})
        await self._hear_out(channel, turn, 0)

    async def _perform(self, channel: SipChannel, line: Line, turn: Turn) -> None:
        pcm = self._voices[turn.line]
        if pcm is not None:
            self._speaking_since = None
            await channel.play(pcm)
            await self._until(channel, lambda: self._speaking_since is not None, 1000)
            turn.started_ms = self._speaking_since or turn.started_ms
            turn.speech_end_ms = turn.started_ms + speech_end(pcm) * 1000 / RATE
        elif line.keys:
            await channel.press(line.keys)
            turn.speech_end_ms = self._ear.now_ms - KEY_MS - KEY_PAUSE_MS
        else:
            await self._until(channel, lambda: False, line.wait_ms)
            turn.speech_end_ms = self._ear.now_ms

    async def _hear_out(self, channel: SipChannel, turn: Turn | None, interrupt_ms: int) -> None:
        """Wait for the answer to `turn` (None: the greeting), to its end or for so long."""
        patience_ms = 0 if turn and turn.kind == "wait" else self._patience_ms
        if not await self._until(channel, lambda: self._answer(turn) is not None, patience_ms):
            return
        began_ms = self._answer(turn) or 0.0
        if turn:
            turn.answer_ms = began_ms
            self._emit({"event": "answer_started", "line": turn.line, "at_ms": began_ms,
                        "latency_ms": turn.latency_ms})  # fmt: skip
        if interrupt_ms:
            left_ms = began_ms + interrupt_ms - self._ear.now_ms
            await self._until(channel, lambda: False, left_ms)
            return
        while self._ear.silent_ms < self._quiet_ms:
            await self._next_tick(channel)
        self._emit({"event": "hotline_spoke", "from_ms": began_ms,
                    "until_ms": self._ear.last_sound_ms})  # fmt: skip

    def _answer(self, turn: Turn | None) -> float | None:
        """When the hotline began to answer. An interrupted prompt may go on for a moment; else
        the hotline was quiet, and whatever it says from the line's start is its answer."""
        if turn is None:
            return self._ear.onset_after(0)
        return self._ear.onset_after(turn.speech_end_ms if turn.interrupts else turn.started_ms)

    async def _until(
        self, channel: SipChannel, done: Callable[[], bool], patience_ms: float
    ) -> bool:
        deadline = self._ear.now_ms + patience_ms
        while not done():
            if self._ear.now_ms >= deadline:
                return False
            await self._next_tick(channel)
        return True

    async def _next_tick(self, channel: SipChannel) -> None:
        if channel.closed:
            raise ChannelClosed("the hotline has hung up")
        await self._ticked.wait()

    async def _listen(self, channel: SipChannel) -> None:
        async for _ in channel.frames():  # the tap has taken them already
            self._wake()
        self._wake()

    def _tick(self, heard: Pcm, sent: Pcm) -> None:
        if self._speaking_since is None and sent.any():
            self._speaking_since = self._ear.now_ms
        self._ear.accept(heard)
        self.heard.append(heard)
        self.said.append(sent)

    def _wake(self) -> None:
        self._ticked.set()
        self._ticked.clear()


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's first lines."""
    cli = argparse.ArgumentParser(description="A scripted caller of the hotline.")
    cli.add_argument("uri", help="whom to call: sip:12333@HOST:PORT")
    cli.add_argument("--lines", type=Path, required=True, help="the script, JSON")
    cli.add_argument("--record", type=Path, help="stereo recording to write")
    cli.add_argument("--report", type=Path, help="JSON report to write")
    cli.add_argument("--number", default="13800001234", help="the caller's number")
    cli.add_argument("--codec", default="PCMA/8000")
    cli.add_argument("--quiet-ms", type=int, default=1200,
                     help="the hotline has finished after this much silence")  # fmt: skip
    cli.add_argument("--wait-for-bye", action="store_true", help="let the hotline hang up")
    args = cli.parse_args(arguments)
    try:
        report = asyncio.run(_call(args))
    except (CallerError, ChannelError) as error:
        print(f"caller: {error}", file=sys.stderr)
        return 2
    return 0 if report.complete else 1


async def _call(args: argparse.Namespace) -> Report:
    def emit(event: dict[str, Any]) -> None:
        print(json.dumps(event, ensure_ascii=False), flush=True)

    caller = Caller(load_script(args.lines), emit, args.quiet_ms)
    settings = Sip(port=0, rtp_port=CALLER_RTP_PORT, user=args.number, codecs=[args.codec])
    async with SipListener(settings) as sip:
        report = await caller.call(sip, args.uri, args.wait_for_bye)
    if args.report:
        text = json.dumps(report.as_json(), ensure_ascii=False, indent=2)
        args.report.write_text(text + "\n", encoding="utf-8")
    if args.record:
        caller.record(args.record)
    return report


if __name__ == "__main__":
    sys.exit(main())
