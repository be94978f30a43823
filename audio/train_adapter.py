"""Trains what Whisper adds to its weights for this hotline (assistant/speech/whisper_base.npz).

Some thousand of the phrasings that the dialogue is trained on, and numbers, dates and amounts, are
spoken by Kokoro's Mandarin voices, by mixtures of two of them and by voices of other languages,
some with an accent; then they come over simulated telephones (line_torch.py), another one each
time. No sentence of the test corpora is among them.

It goes on from what was learned before. Speaking takes an hour and a half of two cores and is kept,
learning nine minutes of a large GPU or a day of two cores; needs PyTorch beside the hotline's own
packages.

    uv pip install torch
    hotline models pull kokoro-voices
    python audio/train_adapter.py [--anew]
"""

import argparse
import csv
import itertools
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml
from lessons import Lessons, Said, train
from voices import Callers, names, speak
from whisper_torch import Whisper

from assistant import asr_corpus, models
from assistant.bench_nlu import HELD_OUT, TUNING, read_cases
from assistant.dialogue import policies
from assistant.dialogue.serving import RASA_PROJECT
from assistant.speech.chinese import HAN, normalise
from assistant.speech.recognizer import Expecting
from assistant.speech.spoken import spoken
from assistant.speech.whisper import PADDING_S, WhisperRecognizer
from assistant.speech.whisper_adapter import ADAPTER
from assistant.speech.whisper_graph import read_weights

HERE = Path(__file__).resolve().parent
SEED = 11
A_CARD, AN_INTENT, ANSWERS = 24, 60, 200
"""Phrasings of each card and of each intent, and answers of each kind."""
MORE = {"out_of_scope": 5000, "inform_value": 250, "follow_up": 120, "chitchat": 100, "noise": 0}
"""What is not ours keeps everyday words among ours."""
FILLERS = "嗯，", "那个，", "你好，", "我想问一下，", "请问", "喂，你好，", "呃，", "就是，"
LONGEST = 40
"""Characters."""

LINES = 6800
"""Of sixteen thousand: speaking a hundred takes eighty seconds."""
ANSWERS_FIRST = 0.6
"""How much further in front an answer stands than a question: there are few of them."""


STEPS = 4500

SHARE = 0.75
"""So much of what was learned is added to the weights (Wortsman et al. 2021, Robust fine-tuning of
zero-shot models, arXiv:2109.01903). Of 0.6 to 1 the best, above all for strangers: the loss on the
tuning callers, clean, is 0.192 instead of 0.256 by a synthesiser that was not learned from, 0.121
instead of 0.149 by these voices."""


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
    found = [each for each in found if plain.fullmatch(each.written)]
    place = {"free": 1.0}
    found.sort(key=lambda each: chance.random() * place.get(each.expecting, ANSWERS_FIRST))
    return found[:LINES]


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
    files = HELD_OUT, TUNING
    cases = [each.text for file in files for each in read_cases(file)]
    for name in ("callers.tsv", "demo/lines.tsv"):
        with (HERE / name).open(encoding="utf-8", newline="") as file:
            cases += [line["text"] for line in csv.DictReader(file, delimiter="\t")]
    cases += [text for file in files for text, *_ in asr_corpus.texts(file)]
    return set(map(normalise, cases))


def main() -> None:
    """Speak, train, store."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--anew", action="store_true", help="forget what was learned before")
    args = parser.parse_args()
    torch.manual_seed(SEED)
    said = lines()
    print(f"{len(said)} utterances, for example {said[0].text}")
    files = speak(Callers(names()), [each.text for each in said], models.cache() / "adapter")
    folder = models.find("whisper-base")
    hearing = WhisperRecognizer(folder, adapter=None)
    search = hearing._search
    spoken_lines = [
        Said(
            np.load(file),
            [search.place[token] for token in hearing._prompts[line.expecting]],
            hearing._places(line.written),
            line.expecting == "free",
        )
        for line, file in zip(said, files, strict=True)
    ]
    weights = read_weights((folder / "model.bin").read_bytes(), "model.bin")
    model = Whisper(weights, search._vocabulary)
    lessons = Lessons(spoken_lines, search.end, hearing._features.mel_filters, PADDING_S)
    if not args.anew:
        with np.load(ADAPTER) as learned:
            model.go_on_from(learned)
    train(model, lessons, STEPS)
    np.savez(ADAPTER, **model.corrections(SHARE))
    print(ADAPTER)


if __name__ == "__main__":
    main()
