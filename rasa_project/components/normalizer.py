"""One spelling for live text, training text and test text."""

import re
import unicodedata
from typing import Any

from opencc import OpenCC
from rasa.engine.graph import ExecutionContext, GraphComponent
from rasa.engine.recipes.default_recipe import DefaultV1Recipe
from rasa.engine.storage.resource import Resource
from rasa.engine.storage.storage import ModelStorage
from rasa.shared.constants import INTENT_MESSAGE_PREFIX
from rasa.shared.nlu.constants import TEXT
from rasa.shared.nlu.training_data.message import Message
from rasa.shared.nlu.training_data.training_data import TrainingData

_SIMPLIFY = OpenCC("t2s")

_NOT_SPOKEN = re.compile(r"[^0-9a-z\u4e00-\u9fff]+")
"""Spaces (Vosk separates words by them), punctuation, emoji, control characters."""

_OPENING = re.compile(
    r"^(?:喂+|嗯+|呃+|额|啊+|哎+|诶|唉|那个|这个|就是说?|你好|您好|请问一?下?|麻烦您?|同志|师傅|姑娘|小姐"
    r"|我?想?(?:问|咨询|打听)(?:一下|下)?)+(?=.{2})"
)
"""What people say before they come to the point; kept when nothing comes after it."""

_FILLERS = re.compile(r"嗯+|呃+|哎呀|那个啥|就是说|的话")

NOTHING = "无声"
"""Stands for a text in which nothing was said: the classifier cannot take an empty one."""


def normalize(text: str) -> str:
    """Simplified characters, half width, lower case; no spaces, punctuation and fillers."""
    text = _SIMPLIFY.convert(unicodedata.normalize("NFKC", text)).lower()
    text = _NOT_SPOKEN.sub("", text)
    shorter = _FILLERS.sub("", _OPENING.sub("", text))
    return shorter or text or NOTHING


# It changes the text in training and in service alike, as Rasa's recipe has only featurizers do.
@DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.MESSAGE_FEATURIZER, is_trainable=False)
class TextNormalizer(GraphComponent):
    """Replaces each message's text by its normal form; /intent messages pass untouched."""

    @classmethod
    def create(
        cls,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
    ) -> "TextNormalizer":
        """Rasa's constructor of components."""
        return cls()

    def process_training_data(self, training_data: TrainingData) -> TrainingData:
        """Normalise the examples."""
        self.process(training_data.training_examples)
        return training_data

    def process(self, messages: list[Message]) -> list[Message]:
        """Normalise what was said."""
        for message in messages:
            text = message.get(TEXT)
            if text and not text.startswith(INTENT_MESSAGE_PREFIX):
                message.set(TEXT, normalize(text))
        return messages
