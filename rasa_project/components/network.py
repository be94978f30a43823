"""A small neural network from a sentence's words, sounds and sense to what is meant."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.sparse import csr_matrix

_RUN_WIDTH = 256
"""Numbers that stand for a run of words, characters or syllables."""
_HIDDEN = 512

_EPOCHS = 8
_BATCH = 256

_RUNS_DROPPED, _SENSE_DROPPED, _UNITS_DROPPED = 0.4, 0.6, 0.3
"""Shares left out by chance in training, so that none is leant on alone: single runs, the whole
sense of a sentence, and units between the layers."""

_RUN_RATE, _RATE = 0.1, 2e-3
"""Learning rates at the start, of Adagrad for the runs and of Adam for the rest."""


@dataclass(frozen=True)
class Network:
    """Sums up the vectors of a sentence's runs, puts its sense beside them; one hidden layer.

    The sum is that of Joulin et al., Bag of Tricks for Efficient Text Classification (2016).
    """

    runs: np.ndarray
    """A vector of each run, in steps of its own size: there are fifty million numbers."""
    steps: np.ndarray
    inner: np.ndarray
    inner_bias: np.ndarray
    outer: np.ndarray
    outer_bias: np.ndarray

    @classmethod
    def fit(
        cls,
        versions: Sequence[csr_matrix],
        senses: np.ndarray,
        goals: np.ndarray,
        labels: int,
        seed: int,
    ) -> "Network":
        """Learn which of so many labels each sentence has: `goals`, their places.

        The first of `versions` holds the sentences as they were meant, a row each; each other one
        the same sentences misheard. Every epoch sees the first and one of the others. `senses`
        are the embeddings of what was meant, whatever was heard.
        """
        import tensorflow as tf

        tf.keras.utils.set_random_seed(seed)
        random = np.random.default_rng(seed)
        first = random.normal(0, 0.1, (versions[0].shape[1], _RUN_WIDTH))
        runs = tf.Variable(first.astype(np.float32))
        layers = tf.keras.Sequential(
            [
                tf.keras.layers.Dropout(_UNITS_DROPPED),
                tf.keras.layers.Dense(_HIDDEN, "relu"),
                tf.keras.layers.Dropout(_UNITS_DROPPED),
                tf.keras.layers.Dense(labels),
            ]
        )
        layers.build((None, _RUN_WIDTH + senses.shape[1]))
        batches = _EPOCHS * 2 * len(goals) // _BATCH
        falling = tf.keras.optimizers.schedules.PolynomialDecay
        # A step touches few of the runs: Adagrad leaves all others alone, Adam would not.
        of_runs = tf.keras.optimizers.legacy.Adagrad(
            falling(_RUN_RATE, batches, _RUN_RATE / 20), initial_accumulator_value=0, epsilon=1e-10
        )
        of_layers = tf.keras.optimizers.legacy.Adam(falling(_RATE, batches, _RATE / 50))
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

        @tf.function(autograph=False, reduce_retracing=True)
        def learn(
            found: tf.SparseTensor, weights: tf.SparseTensor, sense: tf.Tensor, goal: tf.Tensor
        ) -> None:
            with tf.GradientTape() as tape:
                # A sentence without a known run gets zeros; the plain lookup would drop it.
                heard = tf.nn.safe_embedding_lookup_sparse(runs, found, weights, combiner="sum")
                wrong = loss(goal, layers(tf.concat([heard, sense], 1), training=True))
            slopes = tape.gradient(wrong, [runs, *layers.trainable_variables])
            of_runs.apply_gradients([(slopes[0], runs)])
            of_layers.apply_gradients(zip(slopes[1:], layers.trainable_variables, strict=True))

        for rows, places in _batches(versions, random):
            kept = random.random(len(rows.data)) >= _RUNS_DROPPED
            weights = (rows.data * kept / (1 - _RUNS_DROPPED)).astype(np.float32)
            lengths = np.diff(rows.indptr)
            shape = len(lengths), int(lengths.max())
            cells = np.argwhere(np.arange(shape[1]) < lengths[:, None])
            sense = senses[places] * (random.random((len(places), 1)) >= _SENSE_DROPPED)
            learn(
                tf.SparseTensor(cells, rows.indices.astype(np.int64), shape),
                tf.SparseTensor(cells, weights, shape),
                sense.astype(np.float32),
                goals[places],
            )
        learned = [variable.numpy() for variable in layers.trainable_variables]
        sizes = np.abs(runs.numpy()).max(axis=1) / np.iinfo(np.int8).max
        whole = np.rint(runs.numpy() / sizes[:, None]).astype(np.int8)
        return cls(whole, sizes, *learned)

    def scores(self, row: csr_matrix, sense: np.ndarray) -> np.ndarray:
        """Log probability of every label, for one sentence: only its own runs are touched."""
        weights = row.data.astype(np.float32) * self.steps[row.indices]
        heard = weights @ self.runs[row.indices].astype(np.float32)
        hidden = np.concatenate([heard, sense]) @ self.inner + self.inner_bias
        scores = np.maximum(hidden, 0) @ self.outer + self.outer_bias
        scores -= scores.max()
        return scores - np.log(np.exp(scores).sum())

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """For a file."""
        return {f"{name}_{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, arrays: "np.lib.npyio.NpzFile", name: str) -> "Network":
        """From a file with those arrays."""
        return cls(*(arrays[f"{name}_{field.name}"] for field in fields(cls)))


def _batches(
    versions: Sequence[csr_matrix], random: np.random.Generator
) -> Iterator[tuple[csr_matrix, np.ndarray]]:
    """Rows with the places of their sentences, each epoch in another order."""
    from scipy.sparse import vstack

    meant, *misheard = versions
    sentences = meant.shape[0]
    for epoch in range(_EPOCHS):
        rows = vstack([meant, misheard[epoch % len(misheard)]]).tocsr()
        order = random.permutation(rows.shape[0])
        for start in range(0, len(order) - _BATCH + 1, _BATCH):
            chosen = order[start : start + _BATCH]
            yield rows[chosen], chosen % sentences
