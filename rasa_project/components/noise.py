"""Teaches the classifier to lean on the sound: training text with characters misheard."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import jieba
from pypinyin import lazy_pinyin

from components.pinyin import syllables

SHARES = (0.08, 0.15, 0.3)
"""Of the characters, one of these for each example: from a good telephone line to a bad one."""

NEARLY = 0.35
"""Share of the exchanged characters that get a sound nearly the same, not the very same."""

COMMON = 6
"""A recogniser writes one of the most frequent characters of a sound."""

OWN = 30
"""What a character in the examples counts more than its frequency's root in general text: the
recogniser's language model knows the examples."""


class Mishearing:
    """What a recogniser makes of sentences: other characters, the same sound or nearly."""

    def __init__(self, texts: Sequence[str], seed: int = 0) -> None:
        jieba.initialize()
        general: Counter[str] = Counter()
        for word, count in jieba.dt.FREQ.items():
            for char in word:
                general[char] += count
        own = Counter("".join(texts))
        self._counts = {char: general[char] ** 0.5 + OWN * own[char] for char in general | own}
        self._of_sound: dict[str, list[str]] = defaultdict(list)
        self._alike: dict[str, list[str]] = defaultdict(list)
        for char in sorted(self._counts, key=lambda char: (-self._counts[char], char)):
            if "\u4e00" <= char <= "\u9fff":
                (sound,), (folded,) = lazy_pinyin(char), syllables(char)
                if sound not in self._of_sound:
                    self._alike[folded].append(sound)
                if len(self._of_sound[sound]) < COMMON:
                    self._of_sound[sound].append(char)
        self._random = random.Random(seed)

    def __call__(self, text: str) -> str:
        """The text as it might be written down; as long as before."""
        share = self._random.choice(SHARES)
        sounds = zip(text, lazy_pinyin(list(text)), syllables(list(text)), strict=False)
        return "".join(
            self._other(char, sound, folded) if self._random.random() < share else char
            for char, sound, folded in sounds
        )

    def _other(self, char: str, sound: str, folded: str) -> str:
        """A character of this sound, or nearly; the same one where there is no other."""
        nearly = [other for other in self._alike.get(folded, []) if other != sound]
        if nearly and self._random.random() < NEARLY:
            sound = self._random.choice(nearly)
        others = [other for other in self._of_sound.get(sound, []) if other != char] or [char]
        return self._random.choices(others, [self._counts.get(other, 1) for other in others])[0]
