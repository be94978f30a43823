"""Homophones put right, as a pinyin input method does it: sound first, then the likeliest words.

Most errors of recognition sound right (工商认定 for 工伤认定). Each character may become another of
nearly the same sound when the hotline's language model prefers the whole sentence that way by
more than the change costs. Digits and numerals are never touched.
"""

import functools
import heapq
import math
from collections import defaultdict
from dataclasses import dataclass

from assistant.speech.language_model import (
    DIGIT,
    END,
    ORDER,
    START,
    LanguageModel,
    general_words,
    phrases,
)
from assistant.speech.sounds import distance, readings

NUMERALS = frozenset("〇零一二两三四五六七八九十百千万亿幺半")
BEAM = 24
"""Sentences kept side by side at each character."""
CHANGE = 6.0
"""Cost of any change, in nats, where nothing is known of the recogniser's confidence: what it
wrote is evidence too."""
EVEN = 3.5
"""Cost of a change where the recogniser is as likely wrong as right about a character."""
SOUND = 1.5
"""Weight of the distance in sound."""
FARTHEST = 3.1
"""Syllables farther apart than this are no candidates."""

_Path = tuple[float, str, str]
"""Score, sentence so far, and the characters of it that the next one depends on."""


@dataclass(frozen=True, slots=True)
class _Others:
    """The characters that one may be exchanged for."""

    far: dict[str, float]
    """What the distance in sound costs, in nats."""
    ranked: list[tuple[float, str]]
    """The best first, as far as the characters before them do not matter."""


def change_cost(confidence: float) -> float:
    """Nats for exchanging a character that is right with this probability: its log odds more.

    In steps of a half, so that the hypotheses of one utterance share their beginnings.
    """
    odds = max(confidence, 0.05) / max(1 - confidence, 0.01)
    return max(round(2 * (EVEN + math.log(odds))) / 2, 1.0)


@dataclass(frozen=True, slots=True)
class Repaired:
    """A sentence and how likely the hotline finds it."""

    text: str
    score: float
    """Logarithm of the language model's probability less the cost of the changes, in nats."""


class Repair:
    """Shared by all calls: it changes nothing of its own after it was built."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._of_sound: dict[str, list[str]] = defaultdict(list)
        for character in sorted(model.characters - NUMERALS | {"一"}):
            if "\u3400" <= character <= "\u9fff":
                for sound in readings(character):
                    self._of_sound[sound].append(character)
        self._others = functools.lru_cache(8192)(self._find_others)
        self._reached = functools.lru_cache(1024)(self._find_reached)
        self._near = functools.lru_cache(2048)(self._find_near)

    def __call__(self, text: str, change: float = CHANGE) -> Repaired:
        """The likeliest sentence that sounds like this one; the same one when it stands well.

        `change` is what exchanging a character costs, in nats.
        """
        # the hypotheses of one utterance begin alike: what is known of a beginning is kept
        for end in range(len(text)):
            self._reached(text[:end], change)
        return max(
            (
                Repaired(sentence, score + self._model.score(history, END))
                for score, sentence, history in self._reached(text, change)
            ),
            key=lambda repaired: repaired.score,
        )

    def _find_reached(self, text: str, change: float) -> list[_Path]:
        """The BEAM likeliest sentences for this text, not yet ended, in no order."""
        if not text:
            return [(0.0, "", START * (ORDER - 1))]
        before = sorted(self._reached(text[:-1], change), reverse=True)
        same, others = text[-1], self._others(text[-1])
        seen = DIGIT if same.isdecimal() else same
        score = self._model.score
        best = [
            (so_far + score(history, seen), sentence + same, history[1:] + seen)
            for so_far, sentence, history in before
        ]
        heapq.heapify(best)

        def offer(total: float, sentence: str, history: str) -> None:
            if len(best) < BEAM:
                heapq.heappush(best, (total, sentence, history))
            elif total > best[0][0]:
                heapq.heapreplace(best, (total, sentence, history))

        for so_far, sentence, history in before:
            followers = self._model.followers(history) & others.far.keys()
            for other in followers:
                total = so_far - change - others.far[other] + score(history, other)
                offer(total, sentence + other, history[1:] + other)
            unseen = so_far - change + self._model.unseen(history)
            for alone, other in others.ranked:
                if len(best) == BEAM and unseen + alone <= best[0][0]:
                    break
                if other not in followers:
                    offer(unseen + alone, sentence + other, history[1:] + other)
        return best

    def _find_others(self, character: str) -> _Others:
        if character in NUMERALS or not "\u3400" <= character <= "\u9fff":
            return _Others({}, [])
        apart: dict[str, float] = {}
        for sound in readings(character):
            for near, far in self._near(sound):
                for other in self._of_sound[near]:
                    apart[other] = min(far, apart.get(other, far))
        apart.pop(character, None)
        costs = {other: SOUND * apart[other] for other in apart}
        alone = [(self._model.score("", other) - cost, other) for other, cost in costs.items()]
        return _Others(costs, sorted(alone, reverse=True))

    def _find_near(self, sound: str) -> list[tuple[str, float]]:
        """The syllables that may stand for this one, and how far each is."""
        return [
            (other, far) for other in self._of_sound if (far := distance(sound, other)) <= FARTHEST
        ]


@functools.cache
def load() -> Repair:
    """The repair trained on what is on disk now; takes about half a second, once."""
    return Repair(LanguageModel(phrases(), general_words()))


def mend(text: str) -> str:
    """The text with its homophones put right."""
    return load()(text).text
