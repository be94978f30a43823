"""What sounds while the hotline speaks: the caller who wants the floor, or something else?

A cough or an 嗯 is no reason to fall silent, nor is the line's echo, which is what we have just
said. Words are told from all else by a small recurrent network that hears the line chunk by chunk,
with what the voice detector thinks of each; audio/train_barge_in.py makes it. An echo is told by
its likeness to what was sent.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from assistant.channels.channel import Pcm
from assistant.speech.vad import CHUNK_MS
from assistant.turns import START_PROBABILITY

WINDOW_MS = 128
"""Of what was heard is compared with what was sent."""

ECHO_MS = 500
"""An echo comes back within this long: the far end of a mobile call, and our own playout queue."""

ECHO_LIKENESS = 0.7
"""Correlation with what was sent from which it is an echo. A-law and a hybrid at -20 dB leave 0.9;
the vowels of two voices now and then reach 0.6."""

ECHO_DB = -24.0
"""Beside the loudest that was sent: a softer sound is no caller near the phone, and an echo's
weak ends are lost in the noise before they correlate with anything. The network needs not know
when words are over: after them the line is softer than this, too."""

BANDS_HZ = (
    *(100, 200, 300, 400, 500, 600, 750, 900, 1100),
    *(1300, 1550, 1850, 2200, 2600, 3000, 3400, 4000),
)
"""Edges of the spectrum's bands; a telephone passes 300 to 3400."""

FRAME_MS, HOP_MS = 32, 16
"""Of the two spectra of a chunk; the first one begins in the chunk before."""

HEARD_MS = 64
"""What the network hears of the line at each chunk."""

PITCH_HZ = (70, 400)
VOICED_LIKENESS = 0.5
"""Correlation of a sound with itself a pitch period later; a cough or a knock stays below 0.4."""

HUM_MS = 450
"""Who hums longer than an 嗯 wants the floor after all."""

PEDESTAL = 1.0
"""Added to powers: a line without a sound has none to divide by."""

NETWORK = Path(__file__).with_name("barge_in.npz")

Samples = NDArray[np.float64]


def is_echo(heard: Pcm, sent: Pcm) -> bool:
    """Whether `heard`, the last WINDOW_MS of the line, is ours come back, or too soft for a caller.

    `sent` are the last ECHO_MS + WINDOW_MS; both end now, shorter ones are judged as they are.
    """
    window, reference = heard.astype(np.float64), sent.astype(np.float64)
    return is_below(window, reference) or echo_likeness(window, reference) >= ECHO_LIKENESS


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


def energy(samples: Pcm) -> float:
    """The sum of the squares."""
    scaled = samples.astype(np.float64)
    return float(scaled @ scaled)


class Pitch(NamedTuple):
    """The period at which a sound is most like itself."""

    likeness: float
    """Normalised autocorrelation, 0 to 1."""
    period_s: float


def pitch(heard: Samples, rate: int) -> Pitch:
    """Of at least two periods of the lowest voice (PITCH_HZ); shorter ones have none."""
    shortest, longest = (rate // hz for hz in reversed(PITCH_HZ))
    length = len(heard)
    if length < 2 * longest:
        return Pitch(0.0, longest / rate)
    sound = heard - heard.mean()
    spectrum = np.fft.rfft(sound, 2 * length)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)
    before = np.concatenate([[0.0], np.cumsum(sound**2)])
    lags = np.arange(shortest, longest)
    beside = np.sqrt(before[length - lags] * (before[-1] - before[lags])) + PEDESTAL * length
    likeness = correlation[lags] / beside
    best = int(likeness.argmax())
    return Pitch(float(likeness[best]), float(lags[best]) / rate)


def features(heard: Pcm, voice: float, rate: int) -> tuple[Samples, Pitch]:
    """What the network sees of the last HEARD_MS of the line at `rate` Hz: the power of each band
    in two spectra, in decades; the pitch; and the log odds of `voice`, the detector's probability.
    """
    frame, hop = rate * FRAME_MS // 1000, rate * HOP_MS // 1000
    samples = heard.astype(np.float64)
    frames = np.stack([samples[-frame - hop : -hop], samples[-frame:]]) * np.hanning(frame)
    # A sample's scale, whatever the rate: 3/8 is the mean of the window's square.
    power = np.abs(np.fft.rfft(frames)) ** 2 / (3 / 8 * frame**2)
    decades = np.log10(power @ _bands(rate) + PEDESTAL)
    found = pitch(samples, rate)
    certain = min(max(voice, 1e-3), 1 - 1e-3)
    rest = found.likeness, np.log2(found.period_s), np.log(certain / (1 - certain))
    return np.concatenate([decades.ravel(), rest]), found


@functools.cache
def _bands(rate: int) -> Samples:
    """What each frequency of a frame's spectrum gives to the mean of each band."""
    hz = np.fft.rfftfreq(rate * FRAME_MS // 1000, 1 / rate)[:, None]
    lower, upper = np.array(BANDS_HZ[:-1]), np.array(BANDS_HZ[1:])
    within: Samples = ((hz >= lower) & (hz < upper)).astype(np.float64)
    within /= within.sum(axis=0)
    return within


class Network(NamedTuple):
    """Gated recurrent units (Cho et al., 2014; as PyTorch's GRU) and one output.

    Features are first brought to mean 0 and deviation 1.
    """

    mean: Samples
    deviation: Samples
    seen: Samples
    """[3 * units, features]: weights of the reset gate, the update gate and the new state."""
    seen_bias: Samples
    kept: Samples
    """[3 * units, units]: the same of the state before."""
    kept_bias: Samples
    out: Samples
    out_bias: Samples
    """[1]."""

    def start(self) -> Samples:
        """The state of who has heard nothing yet."""
        return np.zeros(len(self.out))

    def hear(self, state: Samples, found: Samples) -> tuple[Samples, float]:
        """The state after one chunk more, and the log odds of words going on."""
        seen = self.seen @ ((found - self.mean) / self.deviation) + self.seen_bias
        kept = self.kept @ state + self.kept_bias
        (seen_reset, seen_update, seen_new) = np.split(seen, 3)
        (kept_reset, kept_update, kept_new) = np.split(kept, 3)
        update = _sigmoid(seen_update + kept_update)
        new = np.tanh(seen_new + _sigmoid(seen_reset + kept_reset) * kept_new)
        state = (1 - update) * new + update * state
        return state, float(state @ self.out + self.out_bias[0])


def _sigmoid(values: Samples) -> Samples:
    odds: Samples = 1 / (1 + np.exp(-values))
    return odds


@functools.cache
def network() -> Network:
    """The trained one."""
    with np.load(NETWORK, allow_pickle=False) as stored:
        return Network(*(stored[name].astype(np.float64) for name in Network._fields))


class BargeInGate:
    """Lets through the voice that may stop the hotline; fed chunk by chunk while it speaks."""

    def __init__(self, rate: int, enough: float) -> None:
        """`enough` is the probability of words from which on they pass, 0 to 1."""
        self._rate = rate
        self._enough = float(np.log(enough / (1 - enough)))
        self.restart()

    def restart(self) -> None:
        """The hotline begins to speak: what was before has nothing to do with it."""
        self._state = network().start()
        self._hummed_ms = 0.0
        self._loudest = 0.0

    def accept(self, heard: Pcm, sent: Pcm, voice: float) -> bool:
        """Whether the chunk that has just ended is a reason to stop.

        `heard` and `sent` as for is_echo(), at the gate's rate; `voice` is what the detector
        makes of the chunk, 0 to 1.
        """
        size = self._rate * HEARD_MS // 1000
        if len(heard) < size:
            return False
        self._loudest = max(self._loudest, energy(sent[-len(heard) :]))
        found, pitched = features(heard[-size:], voice, self._rate)
        self._state, words = network().hear(self._state, found)
        hums = voice >= START_PROBABILITY and pitched.likeness >= VOICED_LIKENESS
        if not hums:
            self._hummed_ms = max(0.0, self._hummed_ms - CHUNK_MS)
        if words < self._enough and not hums:
            return False
        if energy(heard) < self._loudest * 10 ** (ECHO_DB / 10) or is_echo(heard, sent):
            return False
        if hums:
            self._hummed_ms += CHUNK_MS
        return words >= self._enough or self._hummed_ms > HUM_MS
