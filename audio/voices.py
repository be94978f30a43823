"""Speakers to train on: Kokoro's voices and mixtures of two, at many pitches, with accents."""

import random
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from assistant import models
from assistant.channels.channel import Pcm
from assistant.speech.chunks import chunks
from assistant.speech.kokoro import LONGEST, Network, _pause, _trimmed
from assistant.speech.kokoro import RATE as VOICE_RATE
from assistant.speech.resample import resample
from assistant.speech.spoken import sentences, spoken
from assistant.speech.vad import RATE

HELD_BACK = "zf_xiaoni", "zm_yunyang"
"""A woman's and a man's voice: how well those are heard that were never learned from."""

ACCENTED = 0.25
"""Share of the callers who speak as they do at home."""
ACCENTS = {"flat": 0.5, "front": 0.4, "nl": 0.25, "ln": 0.1, "hf": 0.1, "tones": 0.2}
"""How many of them have which habit."""


def names() -> list[str]:
    """All Mandarin voices. Raises ModelError where there is no Kokoro."""
    return sorted(file.stem for file in models.find("kokoro-voices-zh").glob("z*.bin"))


class Speaker(NamedTuple):
    """Who says one sentence."""

    styles: NDArray[np.float32]
    """One vector for each number of phonemes, [LONGEST, 256]."""
    speed: float
    pitch: float
    accent: Collection[str] = ()
    """Keys of ACCENTS."""


class Voices:
    """Some of the Mandarin voices, and mixtures of two of them."""

    def __init__(self, chosen: Collection[str]) -> None:
        """The names of the voices. Raises ModelError."""
        self._styles = [_style("kokoro-voices-zh", name) for name in sorted(chosen)]
        self._network = Network()

    def say(self, text: str, seed: int) -> Pcm:
        """At RATE, as loud as goes; the seed draws the voice, its speed and its pitch."""
        who = self._drawn(random.Random(seed))
        sound: list[Pcm] = []
        previous = ""
        for sentence in sentences(spoken(text)):
            for chunk in chunks(sentence):
                sound.append(_pause(previous, who.speed))
                for ids in self._phonemes(chunk, who.accent):
                    run = onnxruntime.RunOptions()
                    heard = self._network.infer(ids, who.styles, who.speed / who.pitch, run)
                    sound.append(_trimmed(heard))
                previous = chunk
        pcm = resample(np.concatenate(sound), round(VOICE_RATE * who.pitch), RATE)
        return (pcm * (12000 / max(1, np.abs(pcm).max()))).astype(np.int16)

    def _drawn(self, chance: random.Random) -> Speaker:
        one, other = chance.sample(self._styles, 2)
        share = 1.0 if chance.random() < 0.45 else chance.uniform(0.5, 0.9)
        styles = (share * one + (1 - share) * other).astype(np.float32)
        return Speaker(styles, chance.uniform(0.85, 1.2), chance.uniform(0.93, 1.07))

    def _phonemes(self, chunk: str, accent: Collection[str]) -> Iterator[list[int]]:
        """As Network.inputs() has them, with an accent."""
        if not accent:
            yield from self._network.inputs(chunk)
            return
        symbols, _ = self._network._phonemes(chunk)
        numbers = self._network._ids
        ids = [numbers[symbol] for symbol in accented(symbols, accent) if symbol in numbers]
        for start in range(0, len(ids), LONGEST):
            yield ids[start : start + LONGEST]


class Callers(Voices):
    """As many people as Kokoro can be: voices of other languages speak Mandarin too."""

    def __init__(self, chosen: Collection[str]) -> None:
        """The names of the Mandarin voices. Raises ModelError."""
        super().__init__(chosen)
        files = sorted(models.find("kokoro-voices").glob("*.bin"))
        self._foreign = [_style("kokoro-voices", file.stem) for file in files]

    def _drawn(self, chance: random.Random) -> Speaker:
        one, other = chance.sample(self._styles, 2)
        kind = chance.random()
        share = 1.0
        if 0.3 <= kind < 0.55:
            share = chance.uniform(0.5, 0.9)
        elif 0.55 <= kind < 0.9:
            share, other = chance.uniform(0.35, 0.8), chance.choice(self._foreign)
        elif kind >= 0.9:
            one = chance.choice(self._foreign)
        habits = []
        if chance.random() < ACCENTED:
            habits = [habit for habit, share_of in ACCENTS.items() if chance.random() < share_of]
        styles = (share * one + (1 - share) * other).astype(np.float32)
        return Speaker(styles, chance.uniform(0.82, 1.25), chance.uniform(0.92, 1.08), habits)


def accented(phonemes: str, habits: Collection[str]) -> str:
    """Kokoro's phonemes as many speak Mandarin.

    flat: zh, ch, sh as z, c, s; front: -ing, -eng as -in, -en; nl: n- as l-; ln: l- as n-;
    hf: hu- as f-; tones: those of Sichuan.
    """
    if "flat" in habits:
        phonemes = phonemes.replace("ꭧ", "ʦ").replace("ʂ", "s")
    if "front" in habits:
        phonemes = re.sub(r"([iə][→↗↓↘])ŋ", r"\1n", phonemes)
    if "nl" in habits:  # a final n stands behind its syllable's tone
        phonemes = re.sub(r"(?<![→↗↓↘])n(?=[^\sŋ])", "l", phonemes)
    elif "ln" in habits:
        phonemes = re.sub(r"(?<![→↗↓↘])l(?=\S)", "n", phonemes)
    if "hf" in habits:
        phonemes = phonemes.replace("xu", "fu").replace("xw", "f")
    if "tones" in habits:
        phonemes = phonemes.translate(str.maketrans("↗↓↘", "↓↘↗"))
    return phonemes


def _style(model: str, name: str) -> NDArray[np.float32]:
    return np.fromfile(models.find(model) / f"{name}.bin", np.float32).reshape(LONGEST, 256)


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
