"""What sounds while the hotline speaks: the caller who wants the floor, or something else?

Pure functions of the last samples heard and sent. A cough or an 嗯 is no reason to fall silent, nor
is the line's echo, which is what we have just said. Words are told from hums and coughs by a small
network over an eighth of a second of spectrum; audio/train_barge_in.py makes it.
"""

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from assistant.channels.channel import Pcm

WINDOW_MS = 128
"""What is judged: long enough for a syllable, so that its consonant does not hide its vowel."""

ECHO_MS = 500
"""An echo comes back within this long: the far end of a mobile call, and our own playout queue."""

ECHO_LIKENESS = 0.7
"""Correlation with what was sent from which it is an echo. A-law and a hybrid at -20 dB leave 0.9;
the vowels of two voices now and then reach 0.6."""

ECHO_DB = -24.0
"""Beside the loudest that was sent: a softer sound is no caller near the phone, and an echo's
weak ends are lost in the noise before they correlate with anything."""

PITCH_HZ = (70, 400)
VOICED_LIKENESS = 0.5
"""Correlation of a sound with itself a pitch period later; a cough or a knock stays below 0.4."""

BANDS_HZ = (0, 150, 300, 450, 600, 800, 1000, 1300, 1700, 2200, 2800, 3400, 4000)
"""Edges of the spectrum's bands; a telephone passes 300 to 3400."""

FRAME_MS, HOP_MS = 32, 16
"""Of the spectra within a window."""

FAINTEST = -5.0
"""Decades below a window's loudest band: what is softer is the line's noise."""

NETWORK = Path(__file__).with_name("barge_in.npz")

SUREST = 3.0
"""Log-odds: one window is never surer than this."""

ENOUGH = 0.3
"""Log-odds, over the latest windows, from which it is words."""

MEMORY_MS = 90
"""An earlier window counts a third after this long: one alone may err."""

HUM_MS = 450
"""Who hums longer than an 嗯 wants the floor after all."""

PEDESTAL = 1.0
"""Added to powers: a line without a sound has none to divide by."""

Samples = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sound:
    """What was heard in a window."""

    echo: bool
    """Ours come back, or too soft to be a caller's."""
    pitched: bool = False
    words: float = 0.0
    """Log-odds of speech rather than a hum or a cough, at most SUREST either way."""


def sound(heard: Pcm, sent: Pcm, rate: int) -> Sound:
    """What the last WINDOW_MS of `heard` are, beside the last ECHO_MS + WINDOW_MS of `sent`.

    Both end now; shorter ones are judged as they are.
    """
    window, reference = heard.astype(np.float64), sent.astype(np.float64)
    if is_below(window, reference) or echo_likeness(window, reference) >= ECHO_LIKENESS:
        return Sound(echo=True)
    size = rate * WINDOW_MS // 1000
    window = window[-size:]
    pitch = pitch_of_halves(window, rate)
    whole = len(window) == size
    words = _network().log_odds(features(window, pitch, rate)) if whole else 0.0
    return Sound(echo=False, pitched=max(pitch) >= VOICED_LIKENESS, words=words)


def is_below(heard: Samples, sent: Samples) -> bool:
    """Whether `heard` is softer than ECHO_DB beside the loudest of its length in `sent`."""
    length = len(heard)
    if len(sent) < length:
        return False
    loudest = max(float(each @ each) for each in _windows(sent, length))
    return float(heard @ heard) < loudest * 10 ** (ECHO_DB / 10)


def _windows(samples: Samples, length: int) -> list[Samples]:
    starts = range(0, len(samples) - length + 1, max(1, length // 4))
    return [samples[start : start + length] for start in starts]


def echo_likeness(heard: Samples, sent: Samples) -> float:
    """The largest normalised cross-correlation of `heard` with a part of `sent`, 0 to 1."""
    length = len(heard)
    if len(sent) < length or not sent.any():
        return 0.0
    size = 1 << (len(sent) + length - 1).bit_length()
    product = np.fft.rfft(sent, size) * np.conj(np.fft.rfft(heard, size))
    correlation = np.fft.irfft(product, size)[: len(sent) - length + 1]
    power = np.convolve(sent**2, np.ones(length), "valid")
    # Where hardly anything was sent, hardly anything comes back.
    power = np.maximum(power, power.max() / 100)
    likeness = np.abs(correlation) / np.sqrt(power * (heard @ heard) + PEDESTAL)
    return float(likeness.max())


def pitch_of_halves(window: Samples, rate: int) -> tuple[float, float]:
    """pitch_likeness() of both halves: a syllable has its vowel in one of them."""
    first, second = np.array_split(window, 2)
    return pitch_likeness(first, rate), pitch_likeness(second, rate)


def pitch_likeness(heard: Samples, rate: int) -> float:
    """The largest normalised autocorrelation at the period of a voice, 0 to 1."""
    low, high = (rate // hz for hz in reversed(PITCH_HZ))
    high = min(high, len(heard) // 2)
    likeness = 0.0
    for lag in range(low, high):
        first, second = heard[:-lag], heard[lag:]
        scale = np.sqrt((first @ first) * (second @ second) + PEDESTAL)
        likeness = max(likeness, float(first @ second / scale))
    return likeness


def features(window: Samples, pitch: tuple[float, float], rate: int) -> Samples:
    """What the network sees of WINDOW_MS at `rate` Hz: the power of each band in each frame in
    decades below the loudest, how much each band varies and changes, and the pitch of both halves.
    """
    frame, hop = rate * FRAME_MS // 1000, rate * HOP_MS // 1000
    starts = range(0, len(window) - frame + 1, hop)
    frames = np.stack([window[start : start + frame] for start in starts]) * np.hanning(frame)
    power = np.abs(np.fft.rfft(frames)) ** 2 @ _bands(rate)
    decades = np.log10(power + PEDESTAL)
    decades = np.maximum(decades - decades.max(), FAINTEST)
    changes = np.abs(np.diff(decades, axis=0)).mean(axis=0)
    return np.concatenate([decades.ravel(), decades.std(axis=0), changes, pitch])


@functools.cache
def _bands(rate: int) -> Samples:
    """Which frequency of a frame's spectrum belongs to which band."""
    hz = np.fft.rfftfreq(rate * FRAME_MS // 1000, 1 / rate)[:, None]
    lower, upper = np.array(BANDS_HZ[:-1]), np.array(BANDS_HZ[1:])
    return ((hz >= lower) & (hz < upper)).astype(np.float64)


class Network(NamedTuple):
    """One hidden layer; features are first brought to mean 0 and deviation 1."""

    mean: Samples
    deviation: Samples
    hidden: Samples
    """[features, hidden units]."""
    hidden_bias: Samples
    out: Samples
    out_bias: Samples
    """[1]."""

    def log_odds(self, seen: Samples) -> float:
        """Of words, at most SUREST either way."""
        units = np.tanh((seen - self.mean) / self.deviation @ self.hidden + self.hidden_bias)
        return float(np.clip(units @ self.out + self.out_bias[0], -SUREST, SUREST))


@functools.cache
def _network() -> Network:
    with np.load(NETWORK, allow_pickle=False) as stored:
        return Network(*(stored[name].astype(np.float64) for name in Network._fields))


class BargeInGate:
    """Lets through the voice that may stop the hotline; fed chunk by chunk while it speaks."""

    def __init__(self) -> None:
        self._words = 0.0
        self._voiced_ms = 0.0

    def accept(self, heard: Sound, chunk_ms: float) -> bool:
        """Whether this chunk, the latest of what is going on, is a reason to stop."""
        kept = math.exp(-chunk_ms / MEMORY_MS)
        self._words *= kept
        if heard.echo:
            return False
        self._words += (1 - kept) * heard.words
        self._voiced_ms += chunk_ms
        return self._words >= ENOUGH or (self._voiced_ms > HUM_MS and heard.pitched)

    def rest(self, chunk_ms: float) -> None:
        """Nobody spoke in this chunk."""
        self._words *= math.exp(-chunk_ms / MEMORY_MS)
        self._voiced_ms = max(0.0, self._voiced_ms - chunk_ms)
