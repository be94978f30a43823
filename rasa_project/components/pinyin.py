"""Sound as a feature: recognisers confuse characters that sound alike (挂失 heard as 挂式)."""

import json
from typing import Any

from pypinyin import lazy_pinyin
from rasa.engine.graph import ExecutionContext, GraphComponent
from rasa.engine.recipes.default_recipe import DefaultV1Recipe
from rasa.engine.storage.resource import Resource
from rasa.engine.storage.storage import ModelStorage
from rasa.nlu.featurizers.sparse_featurizer.sparse_featurizer import SparseFeaturizer
from rasa.shared.nlu.constants import FEATURE_TYPE_SENTENCE, TEXT
from rasa.shared.nlu.training_data.features import Features
from rasa.shared.nlu.training_data.message import Message
from rasa.shared.nlu.training_data.training_data import TrainingData
from sklearn.feature_extraction.text import CountVectorizer

_INITIALS = (("zh", "z"), ("ch", "c"), ("sh", "s"), ("n", "l"))
_FINALS = (("ang", "an"), ("eng", "en"), ("ing", "in"))


def syllables(text: str) -> list[str]:
    """Toneless pinyin, with the sounds that many speakers do not tell apart made one.

    zh/z, ch/c, sh/s, n/l at the beginning; -ang/-an, -eng/-en, -ing/-in at the end.
    """
    return [_fold(syllable) for syllable in lazy_pinyin(text)]


def bounded_syllables(text: str) -> list[str]:
    """The syllables between marks of beginning and end.

    By the marks a short answer (不是) is told from the same syllables inside a long sentence.
    """
    return ["^", *syllables(text), "$"]


def _fold(syllable: str) -> str:
    for sound, same in _INITIALS:
        if syllable.startswith(sound):
            syllable = same + syllable[len(sound) :]
            break
    for sound, same in _FINALS:
        if syllable.endswith(sound):
            return syllable[: -len(sound)] + same
    return syllable


@DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.MESSAGE_FEATURIZER, is_trainable=True)
class PinyinFeaturizer(SparseFeaturizer, GraphComponent):
    """Sentence features: which runs of one to `max_ngram` syllables or marks occur."""

    @staticmethod
    def get_default_config() -> dict[str, Any]:
        """Rasa's defaults of a featurizer, and ours."""
        return {**SparseFeaturizer.get_default_config(), "max_ngram": 3}

    @classmethod
    def validate_config(cls, config: dict[str, Any]) -> None:
        """Nothing to check."""

    @classmethod
    def create(
        cls,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
    ) -> "PinyinFeaturizer":
        """Rasa's constructor of an untrained component."""
        return cls(execution_context.node_name, config, model_storage, resource)

    def __init__(
        self,
        name: str,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
    ) -> None:
        super().__init__(name, config)
        self._model_storage = model_storage
        self._resource = resource
        self._vectorizer = CountVectorizer(
            analyzer="word",
            tokenizer=bounded_syllables,
            token_pattern=None,
            lowercase=False,
            ngram_range=(1, config["max_ngram"]),
            binary=True,
        )

    def train(self, training_data: TrainingData) -> Resource:
        """Learn which runs of syllables exist."""
        self._vectorizer.fit(
            [example.get(TEXT) for example in training_data.nlu_examples if example.get(TEXT)]
        )
        with self._model_storage.write_to(self._resource) as folder:
            (folder / "vocabulary.json").write_text(
                json.dumps(
                    {run: int(column) for run, column in self._vectorizer.vocabulary_.items()}
                )
            )
        return self._resource

    @classmethod
    def load(
        cls,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
        **kwargs: Any,
    ) -> "PinyinFeaturizer":
        """Rasa's constructor of a trained component."""
        featurizer = cls.create(config, model_storage, resource, execution_context)
        with model_storage.read_from(resource) as folder:
            vocabulary = json.loads((folder / "vocabulary.json").read_text())
        featurizer._vectorizer.vocabulary_ = vocabulary
        return featurizer

    def process_training_data(self, training_data: TrainingData) -> TrainingData:
        """Add the features to the examples."""
        self.process(training_data.training_examples)
        return training_data

    def process(self, messages: list[Message]) -> list[Message]:
        """Add the features to what was said."""
        for message in messages:
            text = message.get(TEXT)
            if text:
                message.add_features(
                    Features(
                        self._vectorizer.transform([text]),
                        FEATURE_TYPE_SENTENCE,
                        TEXT,
                        self._identifier,
                    )
                )
        return messages
