"""Which card is a text about, when the classifier does not know: BM25 over words and syllables."""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterable

import jieba
from pypinyin import lazy_pinyin

from actions.cards import Card, cards

K1, B = 1.2, 0.6
"""BM25's saturation of repeated terms, and weight of a text's length."""

_NO_CONTENT = frozenset(
    "的了吗呢啊我你他她是在有和就都也还要不到去给能会想问那这个什么怎么多少可以一下"
)


def terms(text: str) -> list[str]:
    """Words, and pairs of syllables: what was misheard keeps its sound."""
    sounds = lazy_pinyin(text)
    pairs = [f"{first} {second}" for first, second in itertools.pairwise(sounds)]
    return [word for word in jieba.cut(text) if word not in _NO_CONTENT] + pairs


class Index:
    """BM25 (Robertson and Zaragoza 2009) over the cards' titles and answers."""

    def __init__(self, documents: Iterable[tuple[Card, str]]) -> None:
        self._documents = [(card, Counter(terms(text))) for card, text in documents]
        lengths = [sum(counts.values()) for _, counts in self._documents]
        self._mean = sum(lengths) / max(len(lengths), 1)
        seen = Counter(term for _, counts in self._documents for term in counts)
        total = len(self._documents)
        self._rarity = {
            term: math.log(1 + (total - count + 0.5) / (count + 0.5))
            for term, count in seen.items()
        }

    def rank(self, text: str) -> list[tuple[Card, float]]:
        """Cards with their share of the best possible score, best first."""
        asked = Counter(terms(text))
        best = sum(self._rarity.get(term, max(self._rarity.values())) for term in asked) or 1.0
        scored = [(card, self._score(asked, counts) / best) for card, counts in self._documents]
        return sorted(scored, key=lambda each: -each[1])

    def _score(self, asked: "Counter[str]", counts: "Counter[str]") -> float:
        length = sum(counts.values()) / self._mean
        return sum(
            self._rarity[term]
            * counts[term]
            * (K1 + 1)
            / (counts[term] + K1 * (1 - B + B * length))
            for term in asked
            if term in counts
        )


@functools.cache
def index() -> Index:
    """Of all cards; built once."""
    return Index(
        # The title three times: it says what the card is about in the fewest words.
        (card, card.title * 3 + card.subject + card.answer + card.more)
        for card in cards()
    )
