"""How likely is a run of characters on this hotline: a character n-gram model.

Trained at load from what is on disk: the operator's vocabulary, the policy cards, the service
items and the training sentences of the dialogue; Jieba's word list stands behind them for
everyday Mandarin.
"""

import functools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Set
from pathlib import Path

import jieba

from assistant.settings import ROOT
from assistant.speech.chinese import HAN

ORDER = 4
"""Characters looked at together, the predicted one included."""
START, END = "^", "$"
DIGIT = "0"
"""Stands for every Arabic digit: which one it is says nothing about its neighbours."""

SOURCES = (
    "configs/vocabulary.txt",
    "configs/policies/*.yaml",
    "configs/services/*.yaml",
    "rasa_project/data/nlu/*.yml",
)
"""Where the hotline's own words stand, seen from the project folder; what is absent is left out."""

_PHRASE = re.compile(rf"[{HAN}\d]+")
_DIGITS = re.compile(r"\d")
_FREQUENT = 200
"""Words of the general list that are rarer than this in its corpus are left out."""


class LanguageModel:
    """Counts of n-grams, interpolated as Witten and Bell (1991) do."""

    def __init__(self, phrases: Iterable[str], words: dict[str, float] | None = None) -> None:
        """`phrases` are sentences; `words` are general words with the count each stands for."""
        padded = [START * (ORDER - 1) + _DIGITS.sub(DIGIT, each) + END for each in phrases]
        counts: Counter[str] = Counter()
        for length in range(1, ORDER + 1):
            # what is predicted is never the padding
            first = ORDER - length
            counts.update(
                text[start : start + length]
                for text in padded
                for start in range(first, len(text) - length + 1)
            )
        self.characters = frozenset(gram for gram in counts if len(gram) == 1)
        self._counts: dict[str, float] = dict(counts)
        for word, count in (words or {}).items():
            for end in range(1, len(word) + 1):
                for start in range(max(end - ORDER, 0), end):
                    gram = word[start:end]
                    self._counts[gram] = self._counts.get(gram, 0.0) + count
        self._totals: dict[str, float] = defaultdict(float)
        self._kinds: dict[str, int] = defaultdict(int)
        self._followers: dict[str, set[str]] = defaultdict(set)
        for gram, count in self._counts.items():
            self._totals[gram[:-1]] += count
            self._kinds[gram[:-1]] += 1
            if len(gram) == 2:
                self._followers[gram[0]].add(gram[1])
        # bounded, and small: a hotline that runs for months meets ever new contexts
        self._logarithm = functools.lru_cache(1 << 15)(self._find_logarithm)
        self._unseen = functools.lru_cache(1 << 13)(self._find_unseen)

    def score(self, history: str, character: str) -> float:
        """Natural logarithm of the probability that this character follows."""
        return self._logarithm(history[-(ORDER - 1) :], character)

    def followers(self, history: str) -> Set[str]:
        """The characters that have been seen after the last one of `history`."""
        return self._followers.get(history[-1], frozenset())

    def unseen(self, history: str) -> float:
        """What the score of a character that is no follower is, less its score after nothing."""
        return self._unseen(history[-(ORDER - 1) :])

    def _find_unseen(self, history: str) -> float:
        result = 0.0
        for start in range(len(history) - 1, -1, -1):
            context = history[start:]
            total, kinds = self._totals.get(context, 0.0), self._kinds.get(context, 0)
            if not total:
                break
            result += math.log(kinds / (total + kinds))
        return result

    def _find_logarithm(self, history: str, character: str) -> float:
        return math.log(self._probability(history, character))

    def _probability(self, history: str, character: str) -> float:
        probability = 1e-5  # a character never seen
        for start in range(len(history), -1, -1):
            context = history[start:]
            total, kinds = self._totals.get(context, 0.0), self._kinds.get(context, 0)
            if not total:
                break
            seen = self._counts.get(context + character, 0.0)
            probability = (seen + kinds * probability) / (total + kinds)
        return probability


def phrases(root: Path = ROOT) -> list[str]:
    """Every run of Chinese characters and digits in the hotline's own files."""
    files = [file for pattern in SOURCES for file in sorted(root.glob(pattern))]
    return [
        phrase for file in files for phrase in _PHRASE.findall(file.read_text(encoding="utf-8"))
    ]


def general_words() -> dict[str, float]:
    """Everyday words from Jieba's list, each counted by the logarithm of its frequency."""
    words = {}
    with jieba.get_dict_file() as lines:
        for line in lines:
            word, frequency, *_ = line.decode("utf-8").split(" ")
            if int(frequency) >= _FREQUENT and _PHRASE.fullmatch(word):
                words[word] = math.log(int(frequency) / _FREQUENT + 1) / 4
    return words
