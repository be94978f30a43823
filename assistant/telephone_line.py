"""A telephone line, simulated: what it passes, its noise at a stated ratio, and its codec."""

import io
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from assistant.channels.channel import Pcm

Codec = Literal["none", "alaw", "ulaw"]
"""`none` is 16 kHz as spoken; the others are G.711 at 8 kHz inside the telephone band."""
CODECS: tuple[Codec, ...] = get_args(Codec)
RATES: dict[Codec, int] = {"none": 16_000, "alaw": 8_000, "ulaw": 8_000}
"""Hz on the line."""
NOISES: dict[str, float | None] = {"clean": None, "15dB": 15.0, "5dB": 5.0}
"""Condition → signal-to-noise ratio in dB."""
BAND_HZ = (300, 3400)
"""What the telephone network passes (ITU-T G.712)."""
TALKERS = 6
"""Voices in the babble: enough that no word of it is understood."""

Samples = NDArray[np.float64]
"""Mono, full scale is 1."""


def level(samples: Samples, rate: int) -> float:
    """Root mean square of the 20 ms frames that are speech: pauses do not count (as in P.56)."""
    size = rate // 50
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    power = np.mean(frames**2, axis=1)
    return float(np.sqrt(np.mean(power[power > power.max() / 1000]))) if power.any() else 0.0


def telephone_band(samples: Samples, rate: int) -> Samples:
    """Only what the telephone network passes, with edges of 100 Hz."""
    low, high = BAND_HZ
    hz = np.fft.rfftfreq(len(samples), 1 / rate)
    gain = np.clip((hz - low) / 100 + 1, 0, 1) * np.clip((high - hz) / 100 + 1, 0, 1)
    filtered: Samples = np.fft.irfft(np.fft.rfft(samples) * gain, len(samples))
    return filtered


def noise(length: int, others: Sequence[Samples], seed: int) -> Samples:
    """The babble of `others`, or pink noise where there are none; the same for the same seed."""
    random = np.random.default_rng(seed)
    if not others:
        spectrum = np.fft.rfft(random.standard_normal(length))
        pink: Samples = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), length)
        return pink
    sound = np.zeros(length)
    for talker in random.choice(len(others), min(TALKERS, len(others)), replace=False):
        sound += np.roll(np.resize(others[talker], length), random.integers(length))
    return sound


def mixed(speech: Samples, sound: Samples, snr_db: float, rate: int) -> Samples:
    """The speech with a noise of its length, `snr_db` below the speech's level."""
    loudness = float(np.sqrt(np.mean(sound**2)))
    if loudness == 0:
        return speech
    return speech + sound * (level(speech, rate) / loudness * 10 ** (-snr_db / 20))


def coded(samples: Samples, rate: int, codec: Codec) -> Pcm:
    """What comes out at the far end: companded to eight bits and back where it is G.711."""
    clipped = samples.clip(-1, 1)
    if codec == "none":
        return (clipped * 32767).astype(np.int16)
    import soundfile

    wire = io.BytesIO()
    soundfile.write(wire, clipped, rate, format="WAV", subtype=codec.upper())
    wire.seek(0)
    heard: Pcm = soundfile.read(wire, dtype="int16")[0]
    return heard


def carried(
    speech: Samples,
    rate: int,
    codec: Codec,
    snr_db: float | None = None,
    others: Sequence[Samples] = (),
    seed: int = 0,
) -> Pcm:
    """Speech at the codec's rate after the line: band, noise beside the caller, codec.

    The noise is the babble of `others`, voices at the same rate, or pink noise without any; an
    `snr_db` of None means no noise.
    """
    telephone = codec != "none"
    heard = telephone_band(speech, rate) if telephone else speech
    if snr_db is not None:
        sound = noise(len(speech), others, seed)
        heard = mixed(heard, telephone_band(sound, rate) if telephone else sound, snr_db, rate)
    return coded(heard, rate, codec)
