"""Speakers to train on: Kokoro's Mandarin voices and mixtures of two, at many pitches."""

import random
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from assistant import models
from assistant.channels.channel import Pcm
from assistant.speech.chunks import chunks
from assistant.speech.kokoro import RATE as VOICE_RATE
from assistant.speech.kokoro import Network, _pause, _styles, _trimmed
from assistant.speech.resample import resample
from assistant.speech.spoken import sentences, spoken
from assistant.speech.vad import RATE

HELD_BACK = "zf_xiaoni", "zm_yunyang"
"""A woman's and a man's voice: how well those are heard that were never learned from."""


def names() -> list[str]:
    """All Mandarin voices. Raises ModelError where there is no Kokoro."""
    return sorted(file.stem for file in models.find("kokoro-voices-zh").glob("z*.bin"))


class Voices:
    """Some of the voices, and mixtures of two of them."""

    def __init__(self, chosen: Collection[str]) -> None:
        self._styles = [_styles(name) for name in sorted(chosen)]
        self._network = Network()

    def say(self, text: str, seed: int) -> Pcm:
        """At RATE, as loud as goes; the seed draws the voice, its speed and its pitch."""
        chance = random.Random(seed)
        one, other = chance.sample(self._styles, 2)
        share = 1.0 if chance.random() < 0.45 else chance.uniform(0.5, 0.9)
        styles = (share * one + (1 - share) * other).astype(np.float32)
        speed, pitch = chance.uniform(0.85, 1.2), chance.uniform(0.93, 1.07)
        sound: list[Pcm] = []
        previous = ""
        for sentence in sentences(spoken(text)):
            for chunk in chunks(sentence):
                sound.append(_pause(previous, speed))
                for ids in self._network.inputs(chunk):
                    run = onnxruntime.RunOptions()
                    sound.append(_trimmed(self._network.infer(ids, styles, speed / pitch, run)))
                previous = chunk
        pcm = resample(np.concatenate(sound), round(VOICE_RATE * pitch), RATE)
        return (pcm * (12000 / max(1, np.abs(pcm).max()))).astype(np.int16)


def speak(voices: Voices, texts: Sequence[str], folder: Path) -> list[Path]:
    """The texts as sound, one file each; those that are there already are not spoken again."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:05}.npy" for number in range(len(texts))]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    for done, number in enumerate(missing):
        np.save(files[number], voices.say(texts[number], number))
        if done % 100 == 0:
            print(f"{done} of {len(missing)} spoken", flush=True)
    return files
