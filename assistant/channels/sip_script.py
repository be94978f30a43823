"""The script of a caller of the tests and the demo: its lines, and what it takes to play them.

Nothing here touches the network; sip_caller.py performs a script on a call.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr

from assistant.channels.channel import FRAME_MS, Pcm
from assistant.channels.sip_media import RATE

LOUD = 200
"""Amplitude above which a sample is sound: G.711's idle noise is at most 8, a quiet voice 1,000."""

ONSET_GAP_MS = 200
"""The hotline begins to speak when sound follows at least this much silence; the gaps inside a
sentence are shorter."""

SPEECH_RANGE_DB = 18
"""Frames further below a line's loudest are no longer speech: breath, reverberation, pauses."""

ABOVE_NOISE_DB = 10
"""Frames nearer to a line's noise are no longer speech either. Where noise swells after the last
word the end may be found a little off; lines recorded without noise are exact to a frame."""

Kind = Literal["say", "keys", "wait"]


class CallerError(ValueError):
    """A script that cannot be played; the message names the file and the fault."""


@dataclass(frozen=True, slots=True)
class Line:
    """One turn of the caller: exactly one of say, keys and wait_ms."""

    say: Path | None = None
    keys: str = ""
    wait_ms: int = 0
    text: str = ""
    """For display: what is said."""
    interrupt_ms: int = 0
    """Speak this long after the hotline has begun; 0: when it has finished."""

    @property
    def kind(self) -> Kind:
        """How it is brought forward."""
        return "say" if self.say else "keys" if self.keys else "wait"


def load_line(path: Path) -> Pcm:
    """A recorded line as int16 at 8 kHz, mono, from its first sample that is not zero.

    Raises CallerError when it cannot be read or is silent.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise CallerError(f"{path}: {error}") from None
    voice = soxr.resample(samples.mean(axis=1), rate, RATE)
    pcm: Pcm = (np.clip(voice, -1, 1) * 32767).astype(np.int16)
    sound = np.flatnonzero(pcm)
    if not sound.size:
        raise CallerError(f"{path}: nothing but silence")
    return pcm[sound[0] :]


def speech_end(pcm: Pcm) -> int:
    """Samples until the end of the last frame that is speech (8 kHz)."""
    size = RATE * FRAME_MS // 1000
    frames = np.pad(pcm, (0, -pcm.size % size)).reshape(-1, size).astype(np.float64)
    level_db = 10 * np.log10((frames**2).mean(axis=1) + 1)
    loudest, noise = level_db.max(), np.percentile(level_db, 5)
    # a line without a pause has no noise to be found: what is loud stays speech
    threshold = min(max(loudest - SPEECH_RANGE_DB, noise + ABOVE_NOISE_DB), loudest - 10)
    speech = np.flatnonzero(level_db >= threshold)
    return min(int(speech[-1] + 1) * size, pcm.size)


def load_script(path: Path) -> list[Line]:
    """The lines of a script; its files are found beside it. Raises CallerError."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        lines = [
            Line(**{**entry, "say": path.parent / entry["say"]} if "say" in entry else entry)
            for entry in entries
        ]
    except (OSError, ValueError, TypeError) as error:
        raise CallerError(f"{path}: not a caller's script: {error}") from None
    for line in lines:
        if bool(line.say) + bool(line.keys) + bool(line.wait_ms) != 1:
            raise CallerError(f"{path}: an entry has one of say, keys and wait_ms: {line}")
    return lines


class Ear:
    """Hears when the hotline begins and stops to speak. Pure: fed with frames, asked in ms."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self.last_sound_ms: float | None = None
        self.onsets_ms: list[float] = []

    def accept(self, heard: Pcm) -> None:
        """Take the next frame (int16, 8 kHz)."""
        loud = np.flatnonzero(np.abs(heard.astype(np.int32)) > LOUD)
        if loud.size:
            first_ms = self.now_ms + loud[0] * 1000 / RATE
            if self.last_sound_ms is None or first_ms - self.last_sound_ms > ONSET_GAP_MS:
                self.onsets_ms.append(first_ms)
            self.last_sound_ms = self.now_ms + loud[-1] * 1000 / RATE
        self.now_ms += heard.size * 1000 / RATE

    def onset_after(self, ms: float) -> float | None:
        """When the hotline first began to speak after `ms`; None: not yet."""
        return next((onset for onset in self.onsets_ms if onset >= ms), None)

    @property
    def silent_ms(self) -> float:
        """How long it has been quiet."""
        return self.now_ms - (self.last_sound_ms or 0.0)
