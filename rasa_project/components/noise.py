"""Teaches the classifier to lean on the sound: training text with characters misheard."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import jieba
from pypinyin import lazy_pinyin
from rasa.engine.graph import ExecutionContext, GraphComponent
from rasa.engine.recipes.default_recipe import DefaultV1Recipe
from rasa.engine.storage.resource import Resource
from rasa.engine.storage.storage import ModelStorage
from rasa.shared.nlu.constants import INTENT, INTENT_RESPONSE_KEY, TEXT
from rasa.shared.nlu.training_data.message import Message
from rasa.shared.nlu.training_data.training_data import TrainingData

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


_MISHEARD_MARK = "misheard"


def is_misheard(example: Message) -> bool:
    """Whether an example is a copy made by MisheardExamples."""
    return bool(example.get(_MISHEARD_MARK))


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


# No featurizer, but Rasa's recipe knows no other kind that may stand before a tokenizer.
@DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.MESSAGE_FEATURIZER, is_trainable=False)
class MisheardExamples(GraphComponent):
    """Adds to each example `copies` of it with characters misheard; in training only."""

    @staticmethod
    def get_default_config() -> dict[str, Any]:
        """One misheard copy of each example."""
        return {"copies": 1}

    @classmethod
    def create(
        cls,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
    ) -> "MisheardExamples":
        """Rasa's constructor of components."""
        return cls(config["copies"])

    def __init__(self, copies: int) -> None:
        self._copies = copies

    def process_training_data(self, training_data: TrainingData) -> TrainingData:
        """Add the misheard copies."""
        examples = [each for each in training_data.intent_examples if each.get(TEXT)]
        mishear = Mishearing([each.get(TEXT) for each in examples])
        misheard = [
            Message(
                {
                    TEXT: mishear(example.get(TEXT)),
                    INTENT: example.get(INTENT),
                    INTENT_RESPONSE_KEY: example.get(INTENT_RESPONSE_KEY),
                    _MISHEARD_MARK: True,
                }
            )
            for example in examples
            for _ in range(self._copies)
        ]
        return training_data.merge(TrainingData(misheard))

    def process(self, messages: list[Message]) -> list[Message]:
        """What callers say stays as it is."""
        return messages
