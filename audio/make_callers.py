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

from assistant.channels.channel import Pcm
from assistant.speech.kokoro import Kokoro
from assistant.speech.resample import resample
from assistant.telephone_line import Samples, level, mixed, noise, telephone_band

HERE = Path(__file__).resolve().parent
LISTS = {HERE / "callers.tsv": HERE / "callers", HERE / "demo" / "lines.tsv": HERE / "demo"}
RATE = 8000
LEVEL_DB = -22
"""Level of the speech in dB of full scale, usual on a telephone line (ITU-T P.56)."""
LEAD_S, TRAIL_S = 0.4, 0.6
"""Line without voice before and after."""


def main() -> None:
    """Record every list."""
    kokoro = Kokoro()
    for listing, folder in LISTS.items():
        with listing.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, delimiter="\t"))
        voices = [telephone_band(spoken(kokoro, line), RATE) for line in lines]
        for number, (line, voice) in enumerate(zip(lines, voices, strict=True)):
            audio = np.pad(voice, (int(LEAD_S * RATE), int(TRAIL_S * RATE)))
            if line["snr"] != "clean":
                others = voices[:number] + voices[number + 1 :]
                # pink noise and babble in turn, two of the list at a time
                sound = noise(len(audio), others if number % 4 >= 2 else (), number)
                audio = mixed(audio, telephone_band(sound, RATE), float(line["snr"]), RATE)
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
    return samples / level(samples, RATE) * 10 ** (LEVEL_DB / 20)


if __name__ == "__main__":
    main()
