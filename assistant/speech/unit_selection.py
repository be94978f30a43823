"""Numbers joined from recorded units, without a seam that can be heard.

Two units meet inside a rhyme that both recordings have: 八元 ends and 四角 begins amid the 元 that
was said there, where the waveforms resemble each other most. That is optimal coupling (Conkie and
Isard 1997); of several recordings the path with the best joins is taken (Hunt and Black 1996).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from assistant.channels.channel import Pcm
from assistant.speech.number_units import Unit, units

LEVEL = 4500
"""Root mean square of the voice in every recording, of 32767: short phrases come out louder."""

SEARCH_MS = 8
"""How far from the chosen place a join may lie: more than one pitch period each way."""

STEP_MS = 0.5
"""Of the search: a fraction of the shortest pitch period."""

FADE_MS = 12.5
"""Length of a cross-fade: about three pitch periods."""

OFF_CENTRE = 0.15
"""Cost of a join at the edge of the search, where a perfect likeness costs 0 and none 1."""

LOUDNESS = 0.02
"""Cost of each decibel by which the two sides differ."""

CANDIDATES = 2
"""Recordings of a unit that are tried."""

QUIET = 10 ** (-42 / 20)
"""Below this part of the loudest 10 ms it is padding."""

LEAD_MS, TAIL_MS, EDGE_MS = 30, 50, 5
"""Kept around the sound, and faded at its ends."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """Audio and, for each character spoken, the sample amid the steady end of its rhyme."""

    pcm: Pcm
    steady: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A unit inside its carrier: samples `start` to `end` from the middle of one rhyme to the
    middle of the next, or to the edge of the sound."""

    carrier: NDArray[np.float32]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Join:
    """Where the left recording ends and the right one starts, and what it costs."""

    cost: float
    end: int
    start: int


class Inventory:
    """All units that were recorded, by what they are."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._recordings: dict[Unit, list[Recording]] = defaultdict(list)
        self._couple = lru_cache(maxsize=4096)(self._best_join)

    def add(self, text: str, aligned: Aligned) -> None:
        """Cut a carrier (see number_units.carriers) into its units."""
        carrier, first, last = _levelled(aligned.pcm, self.rate)
        place, start = 0, first
        for unit in units(text.rstrip("。")):
            place += len(unit.text)
            end = last if unit.last else int(aligned.steady[place - 1])
            self._recordings[unit].append(Recording(carrier, start, end))
            start = end

    def say(self, number: str) -> Pcm | None:
        """The number, without padding; None where a unit of it was not recorded."""
        choices = [self._recordings.get(unit, [])[:CANDIDATES] for unit in units(number)]
        if not choices or not all(choices):
            return None
        return self._joined(self._cheapest(choices))

    def _cheapest(self, choices: Sequence[Sequence[Recording]]) -> list[Recording]:
        """The sequence, one of each choice, whose joins cost least together."""
        paths = [(0.0, [recording]) for recording in choices[0]]
        for choice in choices[1:]:
            paths = [
                min(
                    (
                        (cost + self._couple(path[-1], recording).cost, [*path, recording])
                        for cost, path in paths
                    ),
                    key=lambda found: found[0],
                )
                for recording in choice
            ]
        return min(paths, key=lambda found: found[0])[1]

    def _joined(self, path: list[Recording]) -> Pcm:
        half = round(self.rate * FADE_MS / 2000)
        rise = np.linspace(0, 1, 2 * half, dtype=np.float32)
        sound = np.zeros(0, np.float32)
        start = path[0].start
        for left, right in zip(path, [*path[1:], None], strict=True):
            join = self._couple(left, right) if right else Join(0, left.end, 0)
            stretch = left.carrier[
                start - (half if len(sound) else 0) : join.end + (half if right else 0)
            ].copy()
            if len(sound):
                stretch[: 2 * half] = stretch[: 2 * half] * rise + sound[-2 * half :] * (1 - rise)
                sound = sound[: -2 * half]
            sound = np.concatenate([sound, stretch])
            start = join.start
        edge = np.linspace(0, 1, round(self.rate * EDGE_MS / 1000), dtype=np.float32)
        sound[: len(edge)] *= edge
        sound[len(sound) - len(edge) :] *= edge[::-1]
        return np.clip(sound, -32767, 32767).astype(np.int16)

    def _best_join(self, left: Recording, right: Recording) -> Join:
        if left.carrier is right.carrier and left.end == right.start:
            return Join(0, left.end, right.start)
        reach = round(self.rate * SEARCH_MS / 1000)
        half = round(self.rate * FADE_MS / 2000)
        offsets = np.arange(-reach, reach + 1, round(self.rate * STEP_MS / 1000))
        lefts, left_norm = _windows(left.carrier, left.end + offsets, half)
        rights, right_norm = _windows(right.carrier, right.start + offsets, half)
        # not @: BLAS would wake all its threads for a millisecond's work, and wait for each
        products = np.einsum("ik,jk->ij", lefts, rights)
        likeness = products / (left_norm[:, None] * right_norm[None])
        cost = (
            1
            - likeness
            + LOUDNESS * np.abs(20 * np.log10(left_norm[:, None] / right_norm[None]))
            + OFF_CENTRE * ((offsets[:, None] / reach) ** 2 + (offsets[None] / reach) ** 2)
        )
        best = np.unravel_index(int(np.argmin(cost)), cost.shape)
        return Join(
            float(cost[best]),
            int(left.end + offsets[best[0]]),
            int(right.start + offsets[best[1]]),
        )


def _windows(
    sound: NDArray[np.float32], middles: NDArray[np.int64], half: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The audio around each of `middles`, and its norm."""
    found = np.stack([sound[middle - half : middle + half] for middle in middles])
    return found, np.linalg.norm(found, axis=1) + 1


def _levelled(pcm: Pcm, rate: int) -> tuple[NDArray[np.float32], int, int]:
    """The audio at LEVEL, and where its sound starts and ends."""
    window = rate // 100
    sound = pcm.astype(np.float32)
    frames = sound[: len(sound) // window * window].reshape(-1, window)
    loudness = np.sqrt(np.mean(frames**2, axis=1))
    (loud,) = np.nonzero(loudness > loudness.max() * QUIET)
    voice = np.sqrt(np.mean(frames[loud[0] : loud[-1] + 1] ** 2))
    start = max(0, loud[0] * window - rate * LEAD_MS // 1000)
    end = min(len(sound), (loud[-1] + 1) * window + rate * TAIL_MS // 1000)
    return sound * np.float32(LEVEL / voice), int(start), int(end)
