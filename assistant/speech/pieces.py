"""Speech cut into pieces that a recogniser takes at once, at the speaker's own pauses."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from assistant.channels.channel import Pcm
from assistant.speech.vad import CHUNK, CHUNK_MS, RATE, Vad

LONGEST_S = 25.0
"""Seconds of one piece: Whisper hears at most 30, padding included."""
SPEECH = 0.5
"""Probability from which a chunk counts as speech; Silero's own default."""
_MARGIN = 10
"""Chunks kept around the voice (0.3 s): unvoiced initials and finals escape the detector."""


@dataclass(frozen=True, slots=True)
class Piece:
    """16 kHz audio and the probability of speech of each of its 32 ms chunks."""

    pcm: Pcm
    speech: list[float]

    @property
    def voiced_s(self) -> float:
        """Seconds of voice in it."""
        return sum(p >= SPEECH for p in self.speech) * CHUNK_MS / 1000

    def trimmed(self) -> Pcm:
        """The audio from just before the first voice to just after the last."""
        voiced = [i for i, p in enumerate(self.speech) if p >= SPEECH]
        if not voiced:
            return self.pcm[:0]
        first, last = max(voiced[0] - _MARGIN, 0), voiced[-1] + 1 + _MARGIN
        return self.pcm[first * CHUNK : last * CHUNK]


class Pieces:
    """Collects one stream; what is longer than a piece leaves it, so memory stays bounded."""

    def __init__(self) -> None:
        """Audio is taken at 16 kHz."""
        self._vad = Vad(RATE)
        self._pcm: Pcm = np.zeros(0, np.int16)
        self._speech: list[float] = []

    def accept(self, pcm: Pcm) -> Iterator[Piece]:
        """Take more audio; yields the pieces that it completes, usually none."""
        for start in range(0, len(pcm), RATE):  # a second at a time: the caller may give an hour
            second = pcm[start : start + RATE]
            self._pcm = np.concatenate([self._pcm, second])
            self._speech += self._vad.accept(second)
            if len(self._pcm) >= LONGEST_S * RATE:
                yield self._take(_quietest(self._speech))

    def finish(self) -> Piece:
        """What is left: for a caller's usual turn, all of it."""
        return self._take(len(self._speech), rest=True)

    def _take(self, chunks: int, rest: bool = False) -> Piece:
        end = len(self._pcm) if rest else chunks * CHUNK
        piece = Piece(self._pcm[:end], self._speech[:chunks])
        self._pcm, self._speech = self._pcm[end:], self._speech[chunks:]
        return piece


def _quietest(speech: list[float]) -> int:
    """The chunk to cut before: amid the longest pause of the later half, else the least voiced."""
    best_length, best = 0, len(speech) // 2 + int(np.argmin(speech[len(speech) // 2 :]))
    pause_starts = len(speech) // 2
    for i in range(len(speech) // 2, len(speech)):
        if speech[i] >= SPEECH:
            pause_starts = i + 1
        elif i + 1 - pause_starts > best_length:
            best_length, best = i + 1 - pause_starts, (pause_starts + i + 1) // 2
    return best
