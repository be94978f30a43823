"""What sounds while the hotline speaks: the caller who wants the floor, or something else?

Pure functions of the last samples heard and sent. A cough has no pitch, an 嗯 has nothing above
its hum, and the line's echo is what we have just said; none of them is a reason to fall silent.
"""

from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from assistant.channels.channel import Pcm

WINDOW_MS = 128
"""What is judged: long enough for a syllable, so that its consonant does not hide its vowel."""

ECHO_MS = 500
"""An echo comes back within this long: the far end of a mobile call, and our own playout queue."""

ECHO_LIKENESS = 0.6
"""Correlation with what was sent from which it is an echo. A-law and a hybrid at -20 dB leave 0.9;
two voices at once reach 0.5."""

ECHO_DB = -16.0
"""Beside the loudest that was sent: a softer sound is no caller near the phone, and an echo's
weak ends are lost in the noise before they correlate with anything."""

PITCH_HZ = (70, 400)
VOICED_LIKENESS = 0.5
"""Correlation of a sound with itself a pitch period later; a cough or a knock stays below 0.4."""

BRIGHT_HZ = 800
BRIGHT_DB = -14.0
"""Part of the power above BRIGHT_HZ that any vowel but a hummed one exceeds."""

HUM_MS = 450
"""Who hums longer than an 嗯 wants the floor after all."""

SYLLABLE_MS = 160
"""A voice's own consonants and hums come this soon after its vowel."""

PEDESTAL = 1.0
"""Added to powers: a line without a sound has none to divide by."""

_Samples = NDArray[np.float64]


class Sound(Enum):
    """What was heard while the hotline spoke."""

    VOICE = auto()
    HUM = auto()
    UNVOICED = auto()
    ECHO = auto()


def sound(heard: Pcm, sent: Pcm, rate: int) -> Sound:
    """What the last WINDOW_MS of `heard` are, beside the last ECHO_MS + WINDOW_MS of `sent`.

    Both end now; shorter ones are judged as they are.
    """
    window, reference = heard.astype(np.float64), sent.astype(np.float64)
    if is_below(window, reference) or echo_likeness(window, reference) >= ECHO_LIKENESS:
        return Sound.ECHO
    halves = np.array_split(window, 2)
    if max(pitch_likeness(half, rate) for half in halves) < VOICED_LIKENESS:
        return Sound.UNVOICED
    return Sound.VOICE if brightness_db(window, rate) >= BRIGHT_DB else Sound.HUM


def is_below(heard: _Samples, sent: _Samples) -> bool:
    """Whether `heard` is softer than ECHO_DB beside the loudest of its length in `sent`."""
    length = len(heard)
    if len(sent) < length:
        return False
    loudest = max(float(each @ each) for each in _windows(sent, length))
    return float(heard @ heard) < loudest * 10 ** (ECHO_DB / 10)


def _windows(samples: _Samples, length: int) -> list[_Samples]:
    starts = range(0, len(samples) - length + 1, max(1, length // 4))
    return [samples[start : start + length] for start in starts]


def echo_likeness(heard: _Samples, sent: _Samples) -> float:
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


def pitch_likeness(heard: _Samples, rate: int) -> float:
    """The largest normalised autocorrelation at the period of a voice, 0 to 1."""
    low, high = (rate // hz for hz in reversed(PITCH_HZ))
    high = min(high, len(heard) // 2)
    likeness = 0.0
    for lag in range(low, high):
        first, second = heard[:-lag], heard[lag:]
        scale = np.sqrt((first @ first) * (second @ second) + PEDESTAL)
        likeness = max(likeness, float(first @ second / scale))
    return likeness


def brightness_db(heard: _Samples, rate: int) -> float:
    """Power above BRIGHT_HZ beside the whole, in dB."""
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard)))) ** 2
    above = spectrum[len(heard) * BRIGHT_HZ // rate :].sum()
    return float(10 * np.log10((above + PEDESTAL) / (spectrum.sum() + PEDESTAL)))


class BargeInGate:
    """Lets through the voice that may stop the hotline; fed chunk by chunk while it speaks."""

    def __init__(self) -> None:
        self._hum_ms = 0.0
        self._since_voice_ms = float("inf")

    def accept(self, heard: Sound, chunk_ms: float) -> bool:
        """Whether this chunk, the latest of what is going on, is a reason to stop."""
        self._hum_ms = self._hum_ms + chunk_ms if heard is Sound.HUM else 0.0
        self._since_voice_ms += chunk_ms
        if heard is Sound.VOICE:
            self._since_voice_ms = 0.0
        if heard is Sound.ECHO:
            return False
        return self._since_voice_ms <= SYLLABLE_MS or self._hum_ms > HUM_MS
