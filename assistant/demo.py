"""A whole call for a newcomer to watch: a recorded caller dials in over SIP on loopback."""

import asyncio
import csv
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from assistant import services
from assistant import settings as configuration
from assistant.dialogue import training
from assistant.journal import Event
from assistant.liveview import LiveView
from assistant.ports import free_ports
from assistant.running import tell_state
from assistant.scripted_call import place_call
from assistant.settings import project_path
from assistant.supervision import StartError
from assistant.supervisor import Supervisor

LINES = project_path("audio/demo/lines.tsv")
"""What the caller plays, and what the hotline must have said after each line."""

CALL_LIMIT_S = 180
"""The scripted call takes a minute and a half; one that takes longer hangs."""

SPEECH_RMS = 200
"""Of a side that spoke during the call, averaged over the call (16-bit); silence is below 5."""


class Demo:
    """One scripted call and what is found out about it."""

    def __init__(self, config: Path, overrides: Sequence[str], out: Path) -> None:
        self._config = config
        self._overrides = [
            *overrides,
            *free_ports(),
            "sip.bind=127.0.0.1",
            "speech.render_when_idle=false",
        ]
        self._settings = configuration.load(config, list(self._overrides))
        self._out = out
        with LINES.open(encoding="utf-8", newline="") as file:
            self._lines = list(csv.DictReader(file, delimiter="\t"))
        self._events: list[Event] = []
        self._view = LiveView()
        self._ended = asyncio.Event()

    async def run(self) -> dict[str, Any]:
        """Place the call; returns the report, its `faults` empty when all went as expected.

        Raises StartError when the hotline cannot start.
        """
        self._out.mkdir(parents=True, exist_ok=True)
        model = training.model(print)
        arguments = services.config_arguments(self._config, self._overrides)
        stages = services.stages(self._settings, model, arguments)
        async with Supervisor(stages, on_state=tell_state, on_event=self._follow) as hotline:
            uri = hotline.announced["answer"]["sip"]
            print(f"\nthe caller dials {uri}\n")
            caller = await self._call(uri)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), timeout=10)
        return self._report(caller)

    def _follow(self, event: Event) -> None:
        self._events.append(event)
        self._view.show(event)
        if event["event"] == "ended":
            self._ended.set()

    async def _call(self, uri: str) -> dict[str, Any]:
        lines = [
            {"say": str(LINES.parent / line["file"]), "text": line["text"]} for line in self._lines
        ]
        options = ("--record", str(self._out / "caller.wav"), "--wait-for-bye")
        try:
            found = await place_call(uri, lines, self._out, CALL_LIMIT_S, *options)
        except TimeoutError:
            return {"error": f"the call took longer than {CALL_LIMIT_S} s"}
        if found is None:
            raise StartError("the demo's caller ended without a report")
        return found

    def _report(self, caller: dict[str, Any]) -> dict[str, Any]:
        faults = [*self._conversation_faults(), *self._recording_faults()]
        if "error" in caller:
            faults.append(caller["error"])
        return {
            "recording": str(self._out / "call.wav"),
            "faults": faults,
            "turns": [event for event in self._events if event["event"] != "ready"],
            "caller": caller,
        }

    def _conversation_faults(self) -> list[str]:
        """What was not said as the script expects it."""
        answers: list[str] = []
        for event in self._events:
            if event["event"] == "caller":
                answers.append("")
            elif event["event"] == "hotline" and answers:
                answers[-1] += event["text"]
        faults = []
        for number, line in enumerate(self._lines, start=1):
            answer = answers[number - 1] if number <= len(answers) else ""
            if line["expect"] not in answer:
                faults.append(f"line {number}: the answer lacks {line['expect']}: {answer!r}")
        outcomes = [event["outcome"] for event in self._events if event["event"] == "ended"]
        if outcomes != ["completed"]:
            faults.append(f"the call ended as {outcomes}, not as completed")
        return faults

    def _recording_faults(self) -> list[str]:
        """Copies the hotline's recording next to the report; both sides must have spoken."""
        calls = [event["call"] for event in self._events if event["event"] == "answered"]
        if not calls:
            return ["no call was answered"]
        file = project_path(self._settings.recording.folder) / f"{calls[0]}.wav"
        if not file.exists():
            return [f"no recording {file}"]
        shutil.copy(file, self._out / "call.wav")
        audio, _ = soundfile.read(file, dtype="int16", always_2d=True)
        rms = np.sqrt(np.mean(audio.astype(np.float64) ** 2, axis=0))
        sides = zip(("the caller", "the hotline"), rms, strict=True)
        return [
            f"the recording has no speech of {who}" for who, level in sides if level < SPEECH_RMS
        ]
