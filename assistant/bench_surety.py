"""Fits how probable it is that a turn was understood rightly, and tells how reliable that is.

Every utterance is judged as it was heard, and once as typed. What is reported comes from ten fits
that each left a tenth of the texts out, and judged those.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assistant.bench_asr import Heard, digits_right
from assistant.dialogue import surety
from assistant.dialogue.hypotheses import clean
from assistant.dialogue.rasa import RasaDialogue
from assistant.dialogue.surety import CONSTANT, EXACT, OTHER, Coefficients, Evidence
from assistant.settings import Confidence, ConfigError, Settings
from assistant.speech.recognizer import Expecting, Transcript

Numbers = NDArray[np.float64]

FOLDS = 10
BINS = 10
RIDGE = 1.0
"""Weight of the squared coefficients, each input scaled to a deviation of one."""
FEWEST = 30
"""Turns of a kind; fewer fit nothing."""
FOR_IT = frozenset(("heard", "confidence", "margin", "whole"))
"""Inputs that never speak against having understood: where a fit says so, chance does."""
OF_THE_ENGINE = frozenset(("heard",))
"""Inputs that mean something else for each engine."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One turn: what is known of it, and whether it was understood."""

    text: str
    noise: str
    """A key of NOISES, or `typed`."""
    expecting: Expecting
    evidence: Evidence
    right: bool


async def judge(settings: Settings, heard: Sequence[Heard]) -> list[Judged]:
    """What the dialogue makes of each transcript, and of what was said, typed.

    Raises DialogueUnavailable.
    """
    found = []
    typed = {each.utterance.text: each for each in heard if each.utterance.meaning}
    async with RasaDialogue(settings) as dialogue:
        for each in heard:
            if each.utterance.expecting in EXACT:
                found += await _judged_number(dialogue, each)
            elif each.utterance.meaning:
                found += await _judged(dialogue, each, each.transcript, each.condition.noise)
        for text, each in typed.items():
            if each.utterance.expecting not in EXACT:
                found += await _judged(dialogue, each, Transcript(text, 1.0), "typed")
    return found


async def _judged(
    dialogue: RasaDialogue, heard: Heard, said: Transcript, noise: str
) -> list[Judged]:
    if not clean(said.text):
        return []
    utterance = heard.utterance
    meant = await dialogue.meant(said, utterance.expecting)
    evidence = surety.evidence_of_words(meant.chosen)
    right = utterance.is_meant(meant.chosen.intent)
    return [Judged(utterance.text, noise, utterance.expecting, evidence, right)]


async def _judged_number(dialogue: RasaDialogue, heard: Heard) -> list[Judged]:
    if not clean(heard.transcript.text):
        return []
    utterance = heard.utterance
    meant = await dialogue.meant(heard.transcript, utterance.expecting)
    if not meant.chosen.digits:
        return []  # taken for words, and judged as those
    evidence = surety.evidence_of_digits(meant.chosen, utterance.expecting)
    noise = heard.condition.noise
    return [Judged(utterance.text, noise, utterance.expecting, evidence, digits_right(heard))]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Coefficients, and what was found for the turns that had no part in them."""

    coefficients: dict[str, float]
    sure: Numbers
    right: Numbers
    unlearned: dict[str, float]
    """Inputs that were the same in all turns, with their value: they can have taught nothing."""

    def coefficients_after(self, before: Coefficients) -> dict[str, float]:
        """The coefficients; what was not learned stays as it was `before`."""
        kept = {name: before.get(name, 0.0) for name in self.unlearned}
        given = sum(kept[name] * value for name, value in self.unlearned.items())
        constant = round(self.coefficients[CONSTANT] - given, 4)
        return {**self.coefficients, **kept, CONSTANT: constant}

    @property
    def brier(self) -> float:
        """Mean squared error of the probability; 0.25 is what knowing nothing costs."""
        return float(np.mean((self.sure - self.right) ** 2))

    @property
    def calibration_error(self) -> float:
        """By how much a bin's mean probability misses its share of right turns, on average."""
        bins = [(n, abs(sure - right)) for _, n, sure, right in self.bins()]
        return sum(n * apart for n, apart in bins) / len(self.sure)

    def bins(self) -> list[tuple[str, int, float, float]]:
        """Range, turns, mean probability, share of right ones; empty bins left out."""
        places = np.minimum((self.sure * BINS).astype(int), BINS - 1)
        return [
            (
                f"{place / BINS:.1f}-{(place + 1) / BINS:.1f}",
                int(np.sum(places == place)),
                float(np.mean(self.sure[places == place])),
                float(np.mean(self.right[places == place])),
            )
            for place in np.unique(places)
        ]


def fit(turns: Sequence[Judged], inputs: Sequence[str]) -> Fitted:
    """A logistic model of these inputs; raises ConfigError where there is too little to fit."""
    right = np.array([float(each.right) for each in turns])
    if len(turns) < FEWEST or right.min() == right.max():
        raise ConfigError(
            f"{len(turns)} turns, {int(right.sum())} of them understood: too few to calibrate; "
            f"give at least {FEWEST} recordings with what they mean, some of them hard to hear"
        )
    rows = np.array([[each.evidence[name] for name in inputs] for each in turns])
    order = {text: number for number, text in enumerate(sorted({each.text for each in turns}))}
    folds = np.array([order[each.text] % FOLDS for each in turns])
    sure = np.zeros(len(turns))
    for fold in np.unique(folds):
        weights = _weights(rows[folds != fold], right[folds != fold], inputs)
        sure[folds == fold] = _probabilities(rows[folds == fold], weights)
    weights = _weights(rows, right, inputs)
    names = [*inputs, CONSTANT]
    coefficients = {n: round(float(w), 4) for n, w in zip(names, weights, strict=True)}
    same = np.ptp(rows, axis=0) == 0
    unlearned = {name: float(rows[0, place]) for place, name in enumerate(inputs) if same[place]}
    return Fitted(coefficients, sure, right, unlearned)


def _weights(rows: Numbers, right: Numbers, inputs: Sequence[str]) -> Numbers:
    """None of what is FOR_IT below zero: the lowest is left out until that is so."""
    kept = np.ones(len(inputs), bool)
    for_it = [place for place, name in enumerate(inputs) if name in FOR_IT]
    while True:
        weights = np.zeros(len(inputs) + 1)
        weights[np.append(kept, True)] = _freely(rows[:, kept], right)
        below = [place for place in for_it if weights[place] < 0]
        if not below:
            return weights
        kept[min(below, key=lambda place: weights[place])] = False


def _freely(rows: Numbers, right: Numbers) -> Numbers:
    """By Newton's method; the last one is the constant."""
    middle, spread = rows.mean(axis=0), rows.std(axis=0)
    spread[spread == 0] = 1.0
    inputs = np.hstack([(rows - middle) / spread, np.ones((len(rows), 1))])
    ridge = np.full(inputs.shape[1], RIDGE)
    ridge[-1] = 1e-6
    weights = np.zeros(inputs.shape[1])
    for _ in range(30):
        sure = 1 / (1 + np.exp(-inputs @ weights))
        slope = inputs.T @ (sure - right) + ridge * weights
        curve = (inputs * (sure * (1 - sure))[:, None]).T @ inputs + np.diag(ridge)
        weights = weights - np.linalg.solve(curve, slope)
    own = weights[:-1] / spread
    return np.append(own, weights[-1] - own @ middle)


def _probabilities(rows: Numbers, weights: Numbers) -> Numbers:
    odds: Numbers = rows @ weights[:-1] + weights[-1]
    probabilities: Numbers = 1 / (1 + np.exp(-odds))
    return probabilities


WORDS = ("heard", "confidence", "margin", "length", "foreign")
DIGITS = ("heard", "whole")


@dataclass(frozen=True, slots=True)
class Calibrated:
    """All that was fitted for one engine."""

    engine: str
    words: Fitted
    digits: Fitted
    other_words: Fitted
    other_digits: Fitted
    noises: tuple[str, ...]
    """Of the words' turns, one each."""


def calibrate(engine: str, turns: Sequence[Judged]) -> Calibrated:
    """Fit words and numbers, for this engine and for one of which nothing is known."""
    words = [each for each in turns if each.expecting not in EXACT]
    digits = [each for each in turns if each.expecting in EXACT]
    unknown = [name for name in WORDS if name not in OF_THE_ENGINE]
    return Calibrated(
        engine,
        fit(words, WORDS),
        fit(digits, DIGITS),
        fit(words, unknown),
        fit(digits, ["whole"]),
        tuple(each.noise for each in words),
    )


def write(found: Calibrated, file: Path) -> None:
    """Put the coefficients into the file; those of other engines stay, and what could not be
    learned. Raises ConfigError.
    """
    try:
        known = json.loads(file.read_text(encoding="utf-8"))["coefficients"]
    except (OSError, ValueError, KeyError, TypeError):
        known = {}
    none = dict.fromkeys(OF_THE_ENGINE, 0.0)
    others = known.get(OTHER, {"words": {}, "digits": {}})
    own = known.get(found.engine, others)
    known[found.engine] = {
        "words": found.words.coefficients_after(own["words"]),
        "digits": found.digits.coefficients_after(own["digits"]),
    }
    known[OTHER] = {
        "words": none | found.other_words.coefficients_after(others["words"]),
        "digits": none | found.other_digits.coefficients_after(others["digits"]),
    }
    content = {
        "fitted_by": "hotline bench asr --calibrate; see assistant/dialogue/surety.py",
        "coefficients": known,
    }
    try:
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from None


def report(found: Calibrated, limits: Confidence) -> dict[str, Any]:
    """The figures, for --json and the table."""
    return {
        "engine": found.engine,
        "words": _figures(found.words),
        "digits": _figures(found.digits),
        "decisions": [
            {"noise": noise, **row}
            for noise in ("all", *dict.fromkeys(found.noises))
            for row in _decisions(found, limits, noise)
        ],
    }


def _figures(fitted: Fitted) -> dict[str, Any]:
    return {
        "n": len(fitted.sure),
        "right": round(float(fitted.right.mean()), 4),
        "brier": round(fitted.brier, 4),
        "calibration_error": round(fitted.calibration_error, 4),
        "bins": [
            {"sure": name, "n": n, "mean": round(sure, 3), "right": round(right, 3)}
            for name, n, sure, right in fitted.bins()
        ],
        "coefficients": fitted.coefficients,
    }


def _decisions(found: Calibrated, limits: Confidence, noise: str) -> list[dict[str, Any]]:
    """How many policy questions fall into each class, and how many of them were misunderstood."""
    here = np.array([noise in ("all", each) for each in found.noises])
    sure, right = found.words.sure[here], found.words.right[here]
    within: dict[str, Callable[[Numbers], NDArray[np.bool_]]] = {
        "accepted": lambda p: p >= limits.accept,
        "implied": lambda p: (p >= limits.imply) & (p < limits.accept),
        "confirmed": lambda p: (p >= limits.confirm) & (p < limits.imply),
        "asked": lambda p: p < limits.confirm,
    }
    return [
        {
            "decision": name,
            "share": round(float(chosen(sure).mean()), 4),
            "wrong": round(1 - float(right[chosen(sure)].mean()), 4)
            if chosen(sure).any()
            else None,
        }
        for name, chosen in within.items()
    ]


def table(figures: dict[str, Any]) -> str:
    """The figures for a person."""
    lines = []
    for kind in ("words", "digits"):
        found = figures[kind]
        lines.append(
            f"{kind}: {found['n']} turns, {found['right']:.1%} understood; Brier "
            f"{found['brier']:.3f}, calibration error {found['calibration_error']:.3f}"
        )
        lines.append(f"  {'sure':10}{'turns':>7}{'mean':>8}{'right':>8}")
        lines += [
            f"  {row['sure']:10}{row['n']:7}{row['mean']:8.1%}{row['right']:8.1%}"
            for row in found["bins"]
        ]
    lines.append(f"{'noise':8}{'decision':12}{'share':>8}{'wrong':>8}")
    for row in figures["decisions"]:
        wrong = "-" if row["wrong"] is None else f"{row['wrong']:.1%}"
        lines.append(f"{row['noise']:8}{row['decision']:12}{row['share']:8.1%}{wrong:>8}")
    return "\n".join(lines)
