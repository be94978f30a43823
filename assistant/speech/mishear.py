"""What a recogniser does to a sentence over a telephone line: other characters, the same sound."""

import random
from collections import defaultdict

import jieba
from pypinyin import lazy_pinyin

COMMON = 6
"""A recogniser writes one of the most frequent characters of a sound."""


class Misheard:
    """Exchanges a share of the characters for others of the same toneless syllable."""

    def __init__(self, share: float, seed: int = 0) -> None:
        jieba.initialize()
        counts = {char: count for char, count in jieba.dt.FREQ.items() if len(char) == 1 and count}
        self._of_sound: dict[str, list[str]] = defaultdict(list)
        for char in sorted(counts, key=counts.__getitem__, reverse=True):
            same = self._of_sound[lazy_pinyin(char)[0]]
            if len(same) < COMMON:
                same.append(char)
        self._share = share
        self._random = random.Random(seed)

    def __call__(self, text: str) -> str:
        """The text as it might be written down; as long as before."""
        heard = []
        for char in text:
            others = [same for same in self._of_sound[lazy_pinyin(char)[0]] if same != char]
            if others and self._random.random() < self._share:
                char = self._random.choice(others)
            heard.append(char)
        return "".join(heard)
