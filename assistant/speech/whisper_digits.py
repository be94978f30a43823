"""Digits and nothing else: what the decoder may write when a number is awaited.

Left free, Whisper writes 幺 as 要, 有 or 雅, says a group of digits twice or takes a pause for the
end. Told that every syllable is a digit, it finds the likeliest ones.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "零": ("零", "洞"),
    "一": ("一", "幺", "要"),
    "二": ("二", "两"),
    "三": ("三",),
    "四": ("四",),
    "五": ("五",),
    "六": ("六",),
    "七": ("七", "拐"),
    "八": ("八",),
    "九": ("九",),
    "X": ("X", "艾克斯", "埃克斯"),
}
"""What is written for each digit. 幺 sounds as 要, which Whisper knows better."""


class DigitGrammar:
    """Which tokens may follow a beginning; made once for a vocabulary, shared by threads."""

    def __init__(
        self, spell: Callable[[str], Sequence[int]], size: int, end: int, longest: int
    ) -> None:
        """`spell` gives the places in a vocabulary of `size` that write a text, none where it
        cannot; `end` is the place that ends one. A number has `longest` digits at most."""
        self._longest = longest
        spelled = {
            tuple(spell(text)): digit for digit, texts in SPELLINGS.items() for text in texts
        }
        self._digits = {spelling: digit for spelling, digit in spelled.items() if spelling}
        self._size = size
        heads: dict[tuple[int, ...], set[int]] = {}
        for spelling in self._digits:
            for place in range(len(spelling)):
                heads.setdefault(spelling[:place], set()).add(spelling[place])
        self._full = self._mask({end})
        self._inside = {head: self._mask(following) for head, following in heads.items() if head}
        self._first = self._mask(heads[()])
        self._next = np.maximum(self._first, self._full)

    def allowed(self, sentence: Sequence[int]) -> NDArray[np.float32]:
        """[size]: added to the logarithms of what may follow; minus infinity for all else."""
        digits, rest = self._parsed(sentence)
        if rest:
            return self._inside[rest]
        if not digits:
            return self._first
        return self._full if len(digits) >= self._longest else self._next

    def read(self, sentence: Sequence[int]) -> str:
        """The digits, 幺 as 一; what is half written is left out."""
        return self._parsed(sentence)[0]

    def _parsed(self, sentence: Sequence[int]) -> tuple[str, tuple[int, ...]]:
        digits = ""
        rest: tuple[int, ...] = ()
        for place in sentence:
            rest = (*rest, place)
            if rest in self._digits:
                digits, rest = digits + self._digits[rest], ()
        return digits, rest

    def _mask(self, places: Iterable[int]) -> NDArray[np.float32]:
        mask = np.full(self._size, -np.inf, np.float32)
        mask[list(places)] = 0.0
        return mask
