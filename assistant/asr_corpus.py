"""Utterances with their words: the hotline's own corpus, or a folder of recordings.

The own corpus are callers' sentences that nothing was trained on (tests/data/held_out.tsv) and
the answers to the hotline's questions (numbers, dates, amounts, yes and no), spoken once by all
Mandarin voices and kept in the cache.
"""

import asyncio
import datetime
import functools
import hashlib
import os
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import yaml
from numpy.typing import NDArray

from assistant import models
from assistant.bench_nlu import HELD_OUT, OUT_OF_SCOPE, TUNING, Case, is_policy, read_cases
from assistant.channels.channel import Pcm
from assistant.dialogue import policies
from assistant.dialogue.serving import RASA_PROJECT
from assistant.model_sources import Progress
from assistant.settings import ConfigError
from assistant.speech import language_model
from assistant.speech.chinese import normalise
from assistant.speech.numerals import cardinal, digits, one_by_one
from assistant.speech.recognizer import Expecting
from assistant.speech.resample import resample
from assistant.telephone_line import level

SHARES = {"card": 100, "intent": 20, OUT_OF_SCOPE: 10}
"""How many of each kind: questions a policy card answers, other business, what is not ours."""
SPEEDS = (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2)
PITCHES = (0.96, 0.98, 1.0, 1.02, 1.04)
"""The same voice as another person: its pitch and its formants by so much."""
LEVELS_DB = (-28, -25, -22, -19)
"""Of full scale; people hold the telephone differently."""
TEXTS = "texts.tsv"
"""The words of a folder's recordings, where they do not lie beside them."""
_ENDINGS = {*soundfile.available_formats(), "OGA", "OPUS", "AIF"} - {"RAW", "TXT"}
RATE = 16_000
LEAD_S, TRAIL_S = 0.4, 0.6
"""Line without voice before and after."""

Samples = NDArray[np.float64]

YES_NO = {
    "嗯对的，你说得没问题": "affirm", "是我本人没错呀": "affirm",
    "行呀，那你就给我办了吧": "affirm", "错了错了，根本不是这个": "deny",
    "先别弄，我不办了": "deny", "不是我说的那个号": "deny",
}  # fmt: skip


REFUSALS = frozenset(("deny", "cancel", "correct_me"))
"""Where a yes or a no is awaited, each of them leaves everything as it was."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What was said, by whom and where the sound is."""

    name: str
    text: str
    file: Path
    voice: str = ""
    """Empty where it is not known."""
    expecting: Expecting = "free"
    meaning: str = ""
    """Card or intent; empty where the dialogue is not asked."""

    def is_meant(self, found: str | None) -> bool:
        """Whether who takes it for this card or intent has understood it."""
        if self.expecting == "yes_no" and self.meaning in REFUSALS:
            return found in REFUSALS
        return found == self.meaning

    def samples(self, rate: int) -> Samples:
        """The sound, mixed down, at `rate` Hz. Raises ConfigError when it cannot be read."""
        try:
            pcm, own = soundfile.read(self.file, dtype="int16", always_2d=True)
        except (soundfile.SoundFileError, OSError) as error:
            raise ConfigError(f"{self.file}: not audio that can be read: {error}") from None
        mono: Pcm = pcm.mean(axis=1).astype(np.int16)
        if not len(mono):
            raise ConfigError(f"{self.file}: there is no sound in it")
        return resample(mono, own, rate) / 32768


@functools.cache
def trained_on() -> frozenset[str]:
    """All texts, normalised, from which the dialogue or the language model has learned."""
    nlu = [policies.training_data(policies.load())]
    for file in sorted((RASA_PROJECT / "data" / "nlu").glob("*.yml")):
        nlu.append(yaml.safe_load(file.read_text(encoding="utf-8")))
    examples = [
        re.sub(r"\[([^]]*)\](?:\([^)]*\)|\{[^}]*\})", r"\1", line.strip().removeprefix("- "))
        for data in nlu
        for entry in data["nlu"]
        for line in entry.get("examples", "").splitlines()
    ]
    return frozenset(normalise(text) for text in [*examples, *language_model.phrases()])


def chosen(cases: Iterable[Case], shares: dict[str, int] = SHARES) -> list[Case]:
    """So many cases of each kind, always the same ones, none of a text that was trained on."""
    known = trained_on()
    left = dict(shares)
    found = []
    for case in sorted(cases, key=lambda each: hashlib.sha256(each.text.encode()).digest()):
        kind = "card" if is_policy(case.meaning) else "intent"
        kind = OUT_OF_SCOPE if case.meaning == OUT_OF_SCOPE else kind
        if left[kind] and normalise(case.text) not in known:
            left[kind] -= 1
            found.append(case)
    return found


def answers(seed: int, each: int = 4) -> list[tuple[str, Expecting, str]]:
    """Answers to the hotline's questions, made up: text, what is awaited, meaning.

    The meaning of a number, a date or an amount is not asked for: its digits are counted.
    """
    chance = random.Random(seed)

    def number(length: int) -> str:
        return "".join(str(chance.randrange(10)) for _ in range(length))

    found: list[tuple[str, Expecting, str]] = []
    for _ in range(each):
        born = datetime.date(1945, 1, 1) + datetime.timedelta(chance.randrange(20_000))
        id_number = f"440{number(3)}", f"{born:%Y%m%d}", number(4)
        found.append(("，".join(map(one_by_one, id_number)), "id_number", ""))
        found.append((one_by_one(number(6)), "pin", ""))
        serial = number(6)
        filed = datetime.date(2025, 1, 1) + datetime.timedelta(int(serial[:3]) % 600)
        case = f"办件编号{one_by_one(f'{filed:%Y%m%d}0{serial[3:]}')}"
        found.append((case, "case_number", ""))
        found.append((f"一个月大概{cardinal(str(chance.randrange(20, 200) * 50))}块", "amount", ""))
        day = f"{cardinal(str(born.month))}月{cardinal(str(born.day))}号"
        found.append((f"{digits(str(born.year))}年{day}", "date", ""))
    return found + [(text, "yes_no", meaning) for text, meaning in YES_NO.items()]


def texts(
    file: Path = HELD_OUT, shares: dict[str, int] = SHARES
) -> list[tuple[str, Expecting, str]]:
    """What is said in the own corpus of a file: text, what is awaited, meaning."""
    asked: list[tuple[str, Expecting, str]] = [
        (case.text, "free", case.meaning) for case in chosen(read_cases(file), shares)
    ]
    # Numbers that settings are chosen on are not those that figures are reported on.
    return asked + answers(seed=len(asked) + (file == TUNING))


def own(
    file: Path = HELD_OUT, shares: dict[str, int] = SHARES, progress: Progress = print
) -> list[Utterance]:
    """The own corpus, spoken first where the cache has not got it yet. Raises ModelError."""
    folder = models.cache() / "callers"
    voices = sorted(each.stem for each in models.find("kokoro-voices-zh").glob("z*.bin"))
    utterances = []
    for number, (text, expecting, meaning) in enumerate(texts(file, shares)):
        key = hashlib.sha256(f"{number} {text}".encode()).hexdigest()[:16]
        voice = voices[number % len(voices)]
        utterances.append(Utterance(key, text, folder / f"{key}.flac", voice, expecting, meaning))
    missing = [each for each in utterances if not each.file.exists()]
    if missing:
        progress(f"{len(missing)} utterances are spoken for {folder}, once; some minutes")
        _speak(missing, folder)
    return utterances


def _speak(utterances: Sequence[Utterance], folder: Path) -> None:
    """Each with a speed, a pitch and a level of its own, drawn from its name."""
    from assistant.speech.kokoro import Kokoro

    folder.mkdir(parents=True, exist_ok=True)
    kokoro = Kokoro()

    async def spoken(each: Utterance, speed: float) -> Pcm:
        voice = kokoro.with_voice(each.voice)
        return np.concatenate([pcm async for pcm in voice.speak(each.text, speed)])

    for each in utterances:
        chance = random.Random(each.name)
        pitch = chance.choice(PITCHES)
        pcm = asyncio.run(spoken(each, chance.choice(SPEEDS) / pitch))
        samples = resample(pcm, round(kokoro.rate * pitch), RATE) / 32768
        samples *= 10 ** (chance.choice(LEVELS_DB) / 20) / level(samples, RATE)
        padded = np.pad(samples, (int(LEAD_S * RATE), int(TRAIL_S * RATE))).clip(-1, 1)
        # In two steps: an utterance half written must not be found by the next run.
        unfinished = each.file.with_suffix(f".{os.getpid()}")
        soundfile.write(unfinished, padded, RATE, format="FLAC", subtype="PCM_16")
        unfinished.replace(each.file)


def read_folder(folder: Path, expecting: Expecting = "free") -> list[Utterance]:
    """The recordings of a folder with their words; all of them answer what is awaited.

    The words stand in NAME.txt beside the recording, or in the folder's texts.tsv, a line each:
    file name, with or without its ending, a tab, the words; after another tab, where it is known,
    what is meant (a card's id, or an intent). Raises ConfigError, which names what is missing or
    cannot be read.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    listed = _listed(folder / TEXTS)
    sounds = sorted(
        file for file in folder.iterdir() if file.suffix[1:].upper() in _ENDINGS and file.is_file()
    )
    if not sounds:
        raise ConfigError(f"{folder}: no recordings in it; WAV, FLAC and OGG files are read")
    unheard = set(listed) - {name for file in sounds for name in (file.name, file.stem)}
    if unheard:
        raise ConfigError(f"{folder / TEXTS}: no recording for {', '.join(sorted(unheard))}")
    cards = {card.id: card.intent for card in policies.load()}
    utterances = []
    for file in sounds:
        text, _, meaning = _words(file, listed).partition("\t")
        meaning = cards.get(meaning.strip(), meaning.strip())
        if not normalise(text):
            raise ConfigError(f"{file}: its text is empty; there is nothing to compare with")
        utterances.append(Utterance(file.name, text.strip(), file, "", expecting, meaning))
    return utterances


def _listed(file: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, line in enumerate(_read(file).splitlines() if file.exists() else (), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, tab, text = line.partition("\t")
        if not tab or not name.strip():
            raise ConfigError(f"{file}:{number}: write the file's name, a tab, and what is said")
        if name.strip() in texts:
            raise ConfigError(f"{file}:{number}: {name.strip()} stands there twice")
        texts[name.strip()] = text
    return texts


def _words(sound: Path, listed: dict[str, str]) -> str:
    beside = sound.with_suffix(".txt")
    text = listed.get(sound.name, listed.get(sound.stem))
    if text is None:
        if not beside.exists():
            raise ConfigError(
                f"{sound}: what is said is written nowhere; write {beside.name}, "
                f"or a line in {TEXTS}: name, tab, words"
            )
        text = " ".join(_read(beside).split())
    return text


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 text: {error}") from None
