"""Does the hotline fall silent for a caller, and for nothing less? Timed on the wire."""

import asyncio
import contextlib
import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from assistant import models
from assistant.bench import Distribution
from assistant.bench_calls import hotline
from assistant.channels import g711
from assistant.channels.channel import Pcm
from assistant.channels.sip_light import FRAME_S, LightCall, Refused, in_pace
from assistant.channels.sip_script import load_line
from assistant.settings import project_path
from assistant.speech.resample import resample

RATE = 8000
INTO_S = 1.5
"""The greeting has lasted this long when the sound comes."""

WATCH_S = 1.6
QUIET_S = 0.45
"""Silence that is no pause between sentences."""

ECHO_DB, ECHO_MS = -20.0, (40, 120, 250)
AT_ONCE = 2
"""Calls side by side: what is measured is the reaction, not the load."""

LOUDNESS = 6000.0
"""Peak of the sounds that are made here, as a caller's voice on the line."""


@dataclass(frozen=True)
class Trial:
    """One sound that comes in the middle of the greeting."""

    kind: str
    sound: Pcm
    echo_ms: int = 0
    """The line returns the hotline's own voice after so long; 0: it does not."""


@dataclass
class Kind:
    """What one kind of sound did."""

    is_voice: bool
    n: int = 0
    reactions_ms: list[float] = field(default_factory=list)
    """From the first sample of the sound to the last one of the hotline's, where it fell silent."""

    def as_json(self) -> dict[str, Any]:
        """Its part of `--json`."""
        share = len(self.reactions_ms) / max(1, self.n)
        stops = {"n": self.n, "stopped": len(self.reactions_ms), "share": round(share, 3)}
        if not self.reactions_ms:
            return stops
        timed = Distribution(tuple(self.reactions_ms))
        return {**stops, "p50_ms": round(timed.p50_ms), "p95_ms": round(timed.p95_ms)}


def cough(seed: int) -> Pcm:
    """Noise through a vocal tract, in one or two bursts of 150 to 400 ms."""
    random = np.random.default_rng(seed)
    length = int(RATE * random.uniform(0.15, 0.4))
    spectrum = np.fft.rfft(random.normal(size=length))
    hz = np.fft.rfftfreq(length, 1 / RATE)
    burst = np.fft.irfft(spectrum / (1 + ((hz - random.uniform(400, 1500)) / 600) ** 2), length)
    at = np.arange(length) / RATE
    burst *= np.minimum(at / 0.01, 1) * np.exp(-at / random.uniform(0.06, 0.15))
    burst *= LOUDNESS * random.uniform(0.5, 1.5) / np.abs(burst).max()
    if seed % 2:
        burst = np.concatenate([burst, np.zeros(RATE // 7), 0.7 * burst])
    return burst.astype(np.int16)


async def mhm() -> list[Pcm]:
    """An 嗯 in each Mandarin voice. Raises ModelError where there is no Kokoro."""
    from assistant.speech.kokoro import Kokoro

    kokoro = Kokoro()
    said = []
    for voice in sorted(each.stem for each in models.find("kokoro-voices-zh").glob("z*.bin")):
        sound = np.concatenate([pcm async for pcm in kokoro.with_voice(voice).speak("嗯。")])
        pcm = resample(sound, kokoro.rate, RATE).astype(np.float64)
        said.append(from_onset((pcm * LOUDNESS / np.abs(pcm).max()).astype(np.int16)))
    return said


def from_onset(pcm: Pcm) -> Pcm:
    """From its first sample that is heard: what is timed begins there."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > np.abs(pcm.astype(np.int32)).max() / 10)
    return pcm[loud[0] :]


def callers() -> list[Pcm]:
    """The recorded ones, from their first sound. Who begins with an 嗯 is no sharp beginning, and
    in a noisy recording the noise begins before the voice.
    """
    with project_path("audio/callers.tsv").open(encoding="utf-8", newline="") as file:
        recordings = [
            project_path("audio/callers") / row["file"]
            for row in csv.DictReader(file, delimiter="\t")
            if row["snr"] == "clean" and not row["text"].startswith("嗯")
        ]
    return [from_onset(load_line(recording)) for recording in recordings]


async def trials(each: int) -> list[Trial]:
    """So many of each kind. Raises ModelError."""
    voices = callers()
    hums = await mhm()
    nothing = np.zeros(0, np.int16)
    found = []
    for number in range(each):
        echo_ms = ECHO_MS[number % len(ECHO_MS)]
        voice = voices[number % len(voices)]
        found += [
            Trial("speech", voice),
            Trial("speech over echo", voice, echo_ms),
            Trial("cough", cough(number)),
            Trial("嗯", hums[number % len(hums)]),
            Trial("echo", nothing, echo_ms),
        ]
    return found


class Interrupter:
    """Makes the trials, a few calls at a time."""

    def __init__(self, uri: str, tell: Callable[[str], None]) -> None:
        self._uri, self._tell = uri, tell
        self._calls: set[LightCall] = set()
        self.kinds: dict[str, Kind] = {}
        self.lost = 0
        """Trials whose call was refused, or that heard no greeting."""

    async def run(self, todo: Sequence[Trial]) -> None:
        """All of them."""
        waiting = list(todo)
        async with in_pace(self._calls):
            await asyncio.gather(*[self._caller(waiting) for _ in range(AT_ONCE)])

    async def _caller(self, waiting: list[Trial]) -> None:
        while waiting:
            trial = waiting.pop()
            try:
                reaction = await self._try(trial)
            except Refused:
                self.lost += 1
                continue
            kind = self.kinds.setdefault(trial.kind, Kind(trial.kind.startswith("speech")))
            kind.n += 1
            if reaction is not None:
                kind.reactions_ms.append(reaction)
            heard = "goes on" if reaction is None else f"silent after {reaction:.0f} ms"
            self._tell(f"{trial.kind}: {heard}")

    async def _try(self, trial: Trial) -> float | None:
        """Milliseconds until the hotline was silent; None: it went on. Raises Refused."""
        async with LightCall(self._uri) as call:
            if trial.echo_ms:
                call.returns(ECHO_DB, trial.echo_ms)
            self._calls.add(call)
            try:
                return await self._interrupt(call, trial)
            finally:
                self._calls.discard(call)

    async def _interrupt(self, call: LightCall, trial: Trial) -> float | None:
        deadline = time.time() + 8
        while not _in_the_middle(call):
            if time.time() > deadline or call.ended.is_set():
                raise Refused(408)
            await asyncio.sleep(FRAME_S)
        ended: list[float] = []
        began = time.time()
        if len(trial.sound):
            call.say(g711.encode(trial.sound), ended.append)
        while time.time() < began + WATCH_S:
            last = call.wire.last_sound_s or 0.0
            if time.time() - last > QUIET_S and last > began:
                return (last - began) * 1000
            await asyncio.sleep(FRAME_S)
        return None


def _in_the_middle(call: LightCall) -> bool:
    """Whether the greeting has lasted for a while, and does not pause just now."""
    greeted, last, now = call.wire.onset_after(0), call.wire.last_sound_s, time.time()
    return bool(greeted and last and now > greeted + INTO_S and now - last < 2 * FRAME_S)


async def measure(
    config: Path, overrides: Sequence[str], each: int, tell: Callable[[str], None]
) -> Interrupter:
    """A hotline of its own, interrupted `each` times by each kind of sound.

    Raises StartError and ModelError.
    """
    todo = await trials(each)
    # The greeting is what is talked over; the notice before it would not be.
    async with hotline(config, [*overrides, 'recording.notice=""'], most=4) as running:
        interrupter = Interrupter(running.uri, tell)
        with contextlib.suppress(Refused):  # the first call of a process is slower
            await interrupter._try(todo[0])
        await interrupter.run(todo)
        return interrupter


def report(found: Interrupter) -> dict[str, Any]:
    """What `--json` prints."""
    false = [kind for kind in found.kinds.values() if not kind.is_voice]
    wrong, n = sum(len(kind.reactions_ms) for kind in false), sum(kind.n for kind in false)
    return {
        "kinds": {name: kind.as_json() for name, kind in sorted(found.kinds.items())},
        "false_stops": {"n": n, "stopped": wrong, "share": round(wrong / max(1, n), 3)},
        "lost": found.lost,
    }


def table(found: dict[str, Any]) -> str:
    """The figures for a person."""
    lines = [f"{'sound':18} {'n':>4} {'stopped':>8} {'p50 ms':>8} {'p95 ms':>8}"]
    for name, kind in found["kinds"].items():
        times = f"{kind.get('p50_ms', '–'):>8} {kind.get('p95_ms', '–'):>8}"
        lines.append(f"{name:18} {kind['n']:4} {kind['share']:8.0%} {times}")
    false = found["false_stops"]
    lines.append(f"false stops: {false['stopped']} of {false['n']} ({false['share']:.1%})")
    return "\n".join(lines)


def draw(found: Interrupter, file: Path) -> None:
    """Each reaction as a point, by kind of sound."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for place, (_, kind) in enumerate(sorted(found.kinds.items())):
        axes.plot([place] * len(kind.reactions_ms), kind.reactions_ms, "o", alpha=0.5)
    labels = [
        f"{'mhm' if name == '嗯' else name}\n{len(kind.reactions_ms)} of {kind.n}"
        for name, kind in sorted(found.kinds.items())
    ]
    axes.set_xticks(range(len(labels)), labels)
    axes.axhline(250, color="grey", linestyle=":")
    axes.set_ylabel("ms until the hotline is silent")
    figure.savefig(file)
