"""How probable it is that a turn was understood rightly: one number from all that is known of it.

A logistic model whose few coefficients stand in configs/calibration.json, a set for each engine.
`hotline bench asr --calibrate --codec alaw` fits them on the callers of tests/data/tuning.tsv,
whom nothing was trained on, spoken by eight voices over G.711: clean, at 15 dB, at 5 dB of noise,
and as typed, a quarter each. Ten-fold cross-validated, a text never in its own fit: Brier score
0.073 (0.091 for knowing only that 90 % are understood), calibration error 0.038.

With the thresholds of configs/hotline.toml this is the share of the turns, and of those the share
that was misunderstood (tuning.tsv, cross-validated):

    sure          done        all turns       clean         15 dB         typed
    0.85 to 1     accepted    83 %  4.2 %     87 %  2.5 %   84 %  2.6 %   92 %  2.4 %
    0.60 to 0.85  implied     10 %   30 %      8 %   27 %   12 %   25 %    4 %   50 %
    0.25 to 0.60  confirmed    5 %   48 %      4 %   40 %    3 %   50 %    4 %   40 %
    0    to 0.25  asked        3 %   57 %      1 %  100 %    1 %  100 %    none

Tried and left out, since they told nothing more: how much the repair had changed, and whether the
n-best agreed in meaning. How near the next meaning is tells nothing since Whisper is adapted.

Numbers have a model of their own: how well all their digits were heard together, and whether as
many came as are awaited. It rests on 41 of them only, from before Whisper was adapted (Brier 0.139,
calibration error 0.161); since then all 48 numbers of tuning.tsv come whole, and nothing can be
learned from them of those that do not.

What is done with the number is decided in `rasa_project/actions/surety.py`.
"""

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant.completeness import NUMBER_LENGTH
from assistant.dialogue.hypotheses import NOT_UNDERSTOOD, OUT_OF_SCOPE, Hypothesis
from assistant.settings import ROOT, ConfigError
from assistant.speech.recognizer import Expecting

FILE = ROOT / "configs" / "calibration.json"

OTHER = "other"
"""The coefficients for an engine that was never calibrated: nothing is made of its confidence."""

EXACT: frozenset[Expecting] = frozenset(
    ("digits", "id_number", "pin", "case_number", "date", "amount")
)
"""Answers that are understood when every digit is right; what the classifier says is no matter."""

CLEAREST = 0.9
"""No recogniser is surer on a telephone; what is typed counts as heard so."""

Evidence = dict[str, float]
"""The model's inputs, by name."""
Coefficients = Mapping[str, float]
"""A weight for each input, and the constant."""

CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class Surety:
    """What the actions are told of a turn; see `Turn` in rasa_project/actions/surety.py."""

    sure: float
    """Probability that it was understood rightly."""
    awaited: Expecting
    """The kind of answer that the hotline was waiting for."""
    words: float
    """The log odds of that, what the classifier says left out: the last answer may say more."""
    by_confidence: float
    by_margin: float
    """Weights of the classifier's confidence and of its distance from the next meaning."""

    def metadata(self) -> dict[str, Any]:
        """For JSON."""
        return {name: _rounded(value) for name, value in asdict(self).items()}


class Calibration:
    """The coefficients of one engine: one set for words, one for numbers."""

    def __init__(self, words: Coefficients, digits: Coefficients) -> None:
        self._words = words
        self._digits = digits

    def judge(self, chosen: Hypothesis, awaited: Expecting) -> Surety:
        """How sure it is that this hypothesis is right."""
        if awaited in EXACT and chosen.digits:  # else it is another matter, in words
            odds = log_odds_of(self._digits, evidence_of_digits(chosen, awaited))
            return Surety(_probability(odds), awaited, odds, 0.0, 0.0)
        evidence = evidence_of_words(chosen)
        odds = log_odds_of(self._words, evidence)
        by_confidence, by_margin = self._words["confidence"], self._words["margin"]
        classifier = by_confidence * evidence["confidence"] + by_margin * evidence["margin"]
        return Surety(_probability(odds), awaited, odds - classifier, by_confidence, by_margin)


@functools.cache
def load(engine: str, file: Path = FILE) -> Calibration:
    """The calibration of a recogniser, or what is known of any. Raises ConfigError."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["coefficients"]
        own = found.get(engine, found[OTHER])
        words, digits = own["words"], own["digits"]
        blank = Hypothesis("", 0.0, None, 0.0)
        log_odds_of(words, evidence_of_words(blank))
        log_odds_of(digits, evidence_of_digits(blank, "pin"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{file}: cannot be used: {type(error).__name__} {error}; callers could not be asked "
            "back; run `hotline bench asr --calibrate`, or take the file as it was delivered"
        ) from None
    return Calibration(words, digits)


def evidence_of_words(chosen: Hypothesis) -> Evidence:
    """What tells whether these words were understood rightly."""
    return {
        "heard": log_odds(min(chosen.heard, CLEAREST)),
        "confidence": log_odds(chosen.understood),
        "margin": margin(chosen.understood, chosen.second),
        "length": math.log(max(len(chosen.text), 1)),
        "foreign": float(chosen.intent in (OUT_OF_SCOPE, NOT_UNDERSTOOD)),
    }


def evidence_of_digits(chosen: Hypothesis, awaited: Expecting) -> Evidence:
    """What tells whether every digit is right."""
    whole = NUMBER_LENGTH.get(awaited) in (None, len(chosen.digits))
    # A digit wrong makes the number wrong: the longer it is, the better each must be heard.
    heard = len(chosen.digits) * math.log(min(max(chosen.heard, 0.01), CLEAREST))
    return {"heard": max(heard, -10.0), "whole": float(whole)}


def log_odds_of(coefficients: Coefficients, evidence: Evidence) -> float:
    """Of having understood; raises KeyError for an input without a coefficient."""
    weighted = (coefficients[name] * value for name, value in evidence.items())
    return coefficients[CONSTANT] + sum(weighted)


def log_odds(probability: float) -> float:
    """Of a probability, which is never quite 0 or 1. The actions compute the same."""
    clipped = min(max(probability, 0.01), 0.99)
    return math.log(clipped / (1 - clipped))


def margin(first: float, second: float) -> float:
    """How many times likelier than the next, as a logarithm of at most 4. The actions do so too."""
    return min(math.log(max(first, 0.01) / max(second, 0.01)), 4.0)


def _probability(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))


def _rounded(value: float | str) -> float | str:
    return value if isinstance(value, str) else round(value, 4)
