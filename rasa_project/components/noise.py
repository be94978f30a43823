"""Teaches the classifier to lean on the sound: training text with characters misheard."""

import random
from collections import defaultdict
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

MISHEARD = 0.4
"""Share of the characters exchanged: twice what the recogniser does over a telephone line."""

COMMON = 6
"""A recogniser writes one of the most frequent characters of a sound."""


_MISHEARD_MARK = "misheard"


def is_misheard(example: Message) -> bool:
    """Whether an example is a copy made by MisheardExamples."""
    return bool(example.get(_MISHEARD_MARK))


class Homophones:
    """Characters of the same toneless sound, the frequent ones only."""

    def __init__(self, seed: int = 0) -> None:
        jieba.initialize()
        frequencies = {
            char: count for char, count in jieba.dt.FREQ.items() if len(char) == 1 and count
        }
        self._of_sound: dict[str, list[str]] = defaultdict(list)
        for char in sorted(frequencies, key=frequencies.__getitem__, reverse=True):
            same = self._of_sound[lazy_pinyin(char)[0]]
            if len(same) < COMMON:
                same.append(char)
        self._random = random.Random(seed)

    def mishear(self, text: str) -> str:
        """The text with some characters exchanged for others of the same sound."""
        heard = []
        for char, sound in zip(text, lazy_pinyin(list(text)), strict=False):
            others = [other for other in self._of_sound[sound] if other != char]
            if others and self._random.random() < MISHEARD:
                char = self._random.choice(others)
            heard.append(char)
        return "".join(heard)


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
        homophones = Homophones()
        misheard = [
            Message(
                {
                    TEXT: homophones.mishear(example.get(TEXT)),
                    INTENT: example.get(INTENT),
                    INTENT_RESPONSE_KEY: example.get(INTENT_RESPONSE_KEY),
                    _MISHEARD_MARK: True,
                }
            )
            for example in training_data.intent_examples
            if example.get(TEXT)
            for _ in range(self._copies)
        ]
        return training_data.merge(TrainingData(misheard))

    def process(self, messages: list[Message]) -> list[Message]:
        """What callers say stays as it is."""
        return messages
