"""Records the callers listed in callers.tsv and demo/lines.tsv, as a telephone carries them.

Each line is spoken by Kokoro, filtered to the telephone band, mixed with noise where the list
says so, and coded as G.711 A-law in a WAV file. The same list and seed give the same noise.

    python audio/make_callers.py
"""

import asyncio
import csv
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from assistant.channels.channel import Pcm
from assistant.speech.kokoro import Kokoro
from assistant.speech.resample import resample

HERE = Path(__file__).resolve().parent
LISTS = {HERE / "callers.tsv": HERE / "callers", HERE / "demo" / "lines.tsv": HERE / "demo"}
RATE = 8000
BAND_HZ = (300, 3400)
"""What the telephone network passes (ITU-T G.712)."""
LEVEL_DB = -22
"""Level of the speech in dB of full scale, usual on a telephone line (ITU-T P.56)."""
LEAD_S, TRAIL_S = 0.4, 0.6
"""Line without voice before and after."""
TALKERS = 6
"""Voices in the babble: enough that no word of it is understood."""

Samples = NDArray[np.float64]


def main() -> None:
    """Record every list."""
    kokoro = Kokoro()
    for listing, folder in LISTS.items():
        with listing.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, delimiter="\t"))
        voices = [telephone_band(spoken(kokoro, line)) for line in lines]
        for number, (line, voice) in enumerate(zip(lines, voices, strict=True)):
            audio = np.pad(voice, (int(LEAD_S * RATE), int(TRAIL_S * RATE)))
            if line["snr"] != "clean":
                others = voices[:number] + voices[number + 1 :]
                audio += noise(audio, others, number) * 10 ** (-float(line["snr"]) / 20)
            soundfile.write(folder / line["file"], audio.clip(-1, 1), RATE, subtype="ALAW")
            print(folder / line["file"])


def spoken(kokoro: Kokoro, line: dict[str, str]) -> Samples:
    """The line's words at RATE, by its voice at its speed, at the usual level."""

    async def speak() -> Pcm:
        voice = kokoro.with_voice(line["voice"])
        return np.concatenate(
            [pcm async for pcm in voice.speak(line["text"], float(line["speed"]))]
        )

    samples = resample(asyncio.run(speak()), kokoro.rate, RATE) / 32768
    return samples / level(samples) * 10 ** (LEVEL_DB / 20)


def noise(speech: Samples, others: list[Samples], seed: int) -> Samples:
    """Pink noise or the babble of others, in turn, as long and as loud as the speech."""
    random = np.random.default_rng(seed)
    if seed % 4 < 2:
        spectrum = np.fft.rfft(random.standard_normal(len(speech)))
        sound = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), len(speech))
    else:
        sound = np.zeros(len(speech))
        for talker in random.choice(len(others), TALKERS, replace=False):
            sound += np.roll(np.resize(others[talker], len(speech)), random.integers(len(speech)))
    sound = telephone_band(sound)
    loudness = float(np.sqrt(np.mean(sound**2)))
    return sound / loudness * level(speech)


def level(samples: Samples) -> float:
    """Root mean square of the loud part: pauses do not count as speech."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    power = np.mean(frames**2, axis=1)
    return float(np.sqrt(np.mean(power[power > power.max() / 1000])))


def telephone_band(samples: Samples) -> Samples:
    """Only what the telephone network passes, with edges of 100 Hz."""
    low, high = BAND_HZ
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    gain = np.clip((hz - low) / 100 + 1, 0, 1) * np.clip((high - hz) / 100 + 1, 0, 1)
    filtered: Samples = np.fft.irfft(np.fft.rfft(samples) * gain, len(samples))
    return filtered


if __name__ == "__main__":
    main()
