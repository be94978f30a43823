"""Trains what Whisper adds to its weights for this hotline (assistant/speech/whisper_base.npz).

Some thousand of the phrasings that the dialogue is trained on, and numbers, dates and amounts, are
spoken by Kokoro's Mandarin voices and by mixtures of two of them; then they go over simulated
telephone lines, another one each time: microphone, room, band, noise, codec, lost packets. Two
voices are held back, a woman's and a man's: `hotline bench asr` tells by voice how those are
understood that were never heard. No sentence of the test corpora is among them.

An hour and a half of two cores, most of it speaking, which is kept; needs PyTorch beside the
hotline's own packages.

    uv pip install torch
    python audio/train_adapter.py
"""

import csv
import itertools
import random
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray
from torch.nn import functional
from voices import HELD_BACK, Voices, names, speak
from whisper_torch import Whisper

from assistant import asr_corpus, models
from assistant.bench_nlu import HELD_OUT, read_cases
from assistant.channels.channel import Pcm
from assistant.dialogue import policies
from assistant.dialogue.serving import RASA_PROJECT
from assistant.speech.chinese import HAN, normalise
from assistant.speech.recognizer import Expecting
from assistant.speech.resample import resample
from assistant.speech.spoken import spoken
from assistant.speech.vad import RATE
from assistant.speech.whisper import PADDING_S, WhisperRecognizer
from assistant.speech.whisper_adapter import ADAPTER
from assistant.speech.whisper_graph import read_weights
from assistant.telephone_line import Codec, Samples, coded, level, mixed, noise, telephone_band

HERE = Path(__file__).resolve().parent
SEED = 11
A_CARD, AN_INTENT, ANSWERS = 5, 12, 70
"""Phrasings of each card and of each intent, and answers of each kind."""
MORE = {"out_of_scope": 520, "inform_value": 130, "follow_up": 40, "chitchat": 25, "noise": 0}
"""What is not ours keeps everyday words among ours."""
FILLERS = "嗯，", "那个，", "你好，", "我想问一下，", "请问", "喂，你好，", "呃，", "就是，"
LONGEST = 40
"""Characters."""

LINES = 1065
"""Of three thousand: speaking a hundred takes two minutes."""

MINUTES, BATCH, RATE_OF_LEARNING = 32, 16, 1e-3
TOLD = 0.6
"""The share of utterances before which the decoder is told the prompt that it has in calls."""


class Line(NamedTuple):
    """What is said, what is awaited, and how it is to be written."""

    text: str
    expecting: Expecting
    written: str


def lines() -> list[Line]:
    """What the voices say, in the order in which they say it."""
    chance = random.Random(SEED)
    said: dict[str, Expecting] = {}

    def take(pool: Sequence[str], most: int, expecting: Expecting = "free") -> None:
        shuffled = list(dict.fromkeys(pool))
        chance.shuffle(shuffled)
        for text in shuffled[:most]:
            said.setdefault(text, expecting)

    for examples in phrasings([policies.training_data(policies.load())]).values():
        take(examples, A_CARD)
    files = sorted((RASA_PROJECT / "data" / "nlu").glob("*.yml"))
    data = [yaml.safe_load(file.read_text("utf-8")) for file in files]
    for intent, examples in phrasings(data).items():
        awaited = intent in ("affirm", "deny") and chance.random() < 0.7
        take(examples, MORE.get(intent, AN_INTENT), "yes_no" if awaited else "free")
    for text, expecting, _ in asr_corpus.answers(seed=777, each=ANSWERS):
        said.setdefault(text, expecting if chance.random() < 0.85 else "free")
    tested, found = tests(), []
    for text, expecting in said.items():
        if expecting == "free" and chance.random() < 0.12:
            text = chance.choice(FILLERS) + text
        if normalise(text) not in tested:
            found.append(Line(text, expecting, normalise(spoken(text))))
    chance.shuffle(found)
    plain = re.compile(f"[{HAN}]{{1,{LONGEST}}}")
    return [each for each in found if plain.fullmatch(each.written)][:LINES]


def phrasings(data: Sequence[dict[str, list[dict[str, str]]]]) -> dict[str, list[str]]:
    """The examples of each intent, without their marks of entities."""
    found = defaultdict(list)
    for entry in itertools.chain.from_iterable(each["nlu"] for each in data):
        for line in entry.get("examples", "").splitlines():
            text = line.strip().removeprefix("- ").strip()
            text = re.sub(r"\[([^]]*)\](?:\([^)]*\)|\{[^}]*\})", r"\1", text)
            if text:
                found[entry["intent"]].append(text)
    return found


def tests() -> set[str]:
    """Every sentence that the recognition is tested with, normalised."""
    files = HELD_OUT, HELD_OUT.with_name("tuning.tsv")
    cases = [each.text for file in files for each in read_cases(file)]
    for name in ("callers.tsv", "demo/lines.tsv"):
        with (HERE / name).open(encoding="utf-8", newline="") as file:
            cases += [line["text"] for line in csv.DictReader(file, delimiter="\t")]
    cases += [text for text, *_ in asr_corpus.answers(seed=sum(asr_corpus.SHARES.values()))]
    return set(map(normalise, cases))


def on_a_line(pcm: Pcm, others: Sequence[Pcm], chance: np.random.Generator) -> Samples:
    """The sound as it comes from some telephone, cut out by the voice detector; at RATE."""
    sound = np.pad(pcm / 32768, [int(RATE * chance.uniform(0.02, 0.3)) for _ in range(2)])
    if chance.random() < 0.25:
        sound = in_a_room(sound, chance)
    if chance.random() < 0.6:
        sound = coloured(sound, chance)
    codec: Codec = "none"
    rate = RATE
    if chance.random() < 0.85:
        codec, rate = ("alaw", RATE // 2) if chance.random() < 0.6 else ("ulaw", RATE // 2)
        sound = telephone_band(at_rate(sound, RATE, rate), rate)
    sound *= 10 ** (chance.uniform(-34, -16) / 20) / max(level(sound, rate), 1e-6)
    if chance.random() < 0.68:
        talkers = [each[:: RATE // rate] / 32768 for each in others]
        talkers = talkers[: int(chance.integers(1, 8))] if chance.random() < 0.55 else []
        behind = noise(len(sound), talkers, int(chance.integers(1 << 31)))
        sound = mixed(sound, telephone_band(behind, rate), chance.uniform(2, 28), rate)
    heard = coded(sound, rate, codec) / 32768
    if chance.random() < 0.1:
        packets = heard[: len(heard) // (rate // 50) * (rate // 50)].reshape(-1, rate // 50)
        packets[chance.random(len(packets)) < 0.04] = 0
    return at_rate(heard, rate, RATE)


def at_rate(sound: Samples, source: int, target: int) -> Samples:
    """Resampled; as it is where the rate is the same."""
    if source == target:
        return sound
    return resample((sound.clip(-1, 1) * 32767).astype(np.int16), source, target) / 32768


def in_a_room(sound: Samples, chance: np.random.Generator) -> Samples:
    """With the echoes of walls."""
    length = int(RATE * chance.uniform(0.08, 0.4))
    walls = chance.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    walls *= chance.uniform(0.1, 0.6) / np.linalg.norm(walls)
    walls[0] += 1
    size = len(sound) + length
    echoing: Samples = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(walls, size), size)
    return echoing[: len(sound)]


def coloured(sound: Samples, chance: np.random.Generator) -> Samples:
    """As some microphone would have it: a tilt and a resonance."""
    hz = np.fft.rfftfreq(len(sound), 1 / RATE)
    gain_db = chance.uniform(-2.5, 2.5) * np.log2(np.maximum(hz, 100) / 1000)
    middle, width = chance.uniform(500, 3000), chance.uniform(200, 800)
    gain_db += chance.uniform(-4, 4) * np.exp(-(((hz - middle) / width) ** 2))
    shaped: Samples = np.fft.irfft(np.fft.rfft(sound) * 10 ** (gain_db / 20), len(sound))
    return shaped


class Batch(NamedTuple):
    """What the model is given and what it should say."""

    features: torch.Tensor
    tokens: torch.Tensor
    wanted: torch.Tensor
    """Of the shape of `tokens`; NOTHING where nothing is to be learned."""


NOTHING = -100


class Lessons:
    """Batches without end, each utterance over another line every time."""

    def __init__(self, said: Sequence[Line], files: Sequence[Path], hearing: WhisperRecognizer):
        self._said, self._files, self._hearing = said, files, hearing
        self._chance = np.random.default_rng(SEED)
        self._features = FeatureExtractor()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield from self._round()

    def _round(self) -> Iterator[Batch]:
        """Every utterance once, those of one batch about as long as each other."""
        lengths = [file.stat().st_size for file in self._files]
        order = np.argsort(lengths * self._chance.uniform(0.9, 1.1, len(lengths)))
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        for place in self._chance.permutation(len(batches)):
            yield self._batch(batches[place])

    def _batch(self, numbers: NDArray[np.int64]) -> Batch:
        others = [np.load(file) for file in self._chance.choice(self._files, 8)]
        sounds = [on_a_line(np.load(self._files[each]), others, self._chance) for each in numbers]
        end = self._hearing._search.end
        told, wanted = [], []
        for number in numbers:
            before = self._hearing._prompts[self._said[number].expecting]
            if self._chance.random() > TOLD:
                before = before[-4:]  # the marks alone
            places = [self._hearing._search.place[token] for token in before]
            text = self._hearing._places(self._said[number].written)
            told.append(places + text)
            wanted.append([NOTHING] * (len(places) - 1) + text + [end])
        return Batch(
            torch.from_numpy(self._heard(sounds)), _filled(told, end), _filled(wanted, NOTHING)
        )

    def _heard(self, sounds: Sequence[Samples]) -> NDArray[np.float32]:
        """With silence after them, as in a call, and up to the longest."""
        length = max(map(len, sounds)) + int(PADDING_S * RATE)
        length += -length % (RATE // 50)
        features = [
            self._features(each.astype(np.float32), padding=length - len(each)) for each in sounds
        ]
        return np.stack(features)


def _filled(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


def train(model: Whisper, lessons: Lessons) -> None:
    """Cross-entropy, AdamW, the rate of learning falling like a cosine; for MINUTES."""
    learned = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(learned, weight_decay=0.01, betas=(0.9, 0.98))
    began, losses = time.monotonic(), []
    with ThreadPoolExecutor(1) as ahead:
        batches = iter(lessons)
        coming = ahead.submit(next, batches)
        for step in itertools.count(1):
            done = (time.monotonic() - began) / 60 / MINUTES
            if done >= 1:
                return
            for group in optimizer.param_groups:
                falling = 0.03 + 0.97 * (1 + np.cos(np.pi * done)) / 2
                group["lr"] = RATE_OF_LEARNING * min(1, step / 40) * falling
            batch, coming = coming.result(), ahead.submit(next, batches)
            said = model(batch.features, batch.tokens)
            wanted = batch.wanted.flatten()
            loss = functional.cross_entropy(
                said.flatten(0, 1).float(), wanted, ignore_index=NOTHING
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            losses.append(loss.item())
            if step % 50 == 0:
                print(f"step {step}, {done:.0%}: loss {np.mean(losses[-50:]):.3f}", flush=True)


def main() -> None:
    """Speak, train, store."""
    torch.manual_seed(SEED)
    said = lines()
    print(f"{len(said)} utterances, for example {said[0].text}")
    voices = Voices(set(names()) - set(HELD_BACK))
    files = speak(voices, [each.text for each in said], models.cache() / "adapter")
    folder = models.find("whisper-base")
    hearing = WhisperRecognizer(folder, adapter=None)
    weights = read_weights((folder / "model.bin").read_bytes(), "model.bin")
    model = Whisper(weights, hearing._search._vocabulary)
    train(model, Lessons(said, files, hearing))
    np.savez(ADAPTER, **model.corrections())
    print(ADAPTER)


if __name__ == "__main__":
    main()
