"""Beam search over Whisper's decoder: encoded audio and a prompt in, n-best tokens out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from assistant.speech.whisper_graph import Decoder, Weights

HOPELESS = 0.7
"""Nats a token: when what is under way is this far behind a finished sentence, it is given up."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One hypothesis."""

    tokens: list[int]
    """Without the prompt and without the end."""
    log_probability: float
    """Sum over the tokens and the end, natural logarithm."""
    ended: bool
    """False: the limit on its length cut it off."""

    @property
    def certainty(self) -> float:
        """Logarithm of the probability of a token, in the mean."""
        return self.log_probability / (len(self.tokens) + 1)


class Grammar(Protocol):
    """What may be written at all."""

    def allowed(self, sentence: Sequence[int]) -> NDArray[np.float32]:
        """Added to the logarithms of what may follow; `sentence` are places in the vocabulary."""
        ...


@dataclass(slots=True)
class _Beam:
    """The sentences under way, best first; places in the vocabulary, not token numbers."""

    sentences: list[list[int]]
    scores: NDArray[np.float32]


class BeamSearch:
    """The loaded decoder. Threads share it: a search keeps its state to itself."""

    def __init__(
        self,
        weights: Weights,
        vocabulary: NDArray[np.int64],
        silent: NDArray[np.float32],
        end: int,
        never_first: Sequence[int],
        threads: int,
    ) -> None:
        """`silent` is added to the logits of `vocabulary`; `end` is the token that ends a text,
        `never_first` are tokens that cannot begin one."""
        graphs = Decoder(weights, vocabulary)
        self._layers = graphs.layers
        self._vocabulary = vocabulary
        self.place = {int(token): place for place, token in enumerate(vocabulary)}
        """Where each token number is in the vocabulary."""
        self.end = self.place[end]
        self._silent = silent.copy()
        self._silent[self.end] = 0.0
        self._first = self._silent.copy()
        self._first[[self.place[token] for token in never_first if token in self.place]] = -np.inf
        self._opening = _session(graphs.opening(), threads)
        # A step is too small for a second thread; so two callers are decoded side by side.
        self._step = _session(graphs.step(), 1)
        self._kept = [output.name for output in self._opening.get_outputs()][1:]
        self._said = [output.name.replace("now", "said") for output in self._step.get_outputs()][1:]
        heads, _, width = self._opening.get_outputs()[1].shape
        self._nothing = np.zeros((1, heads, 0, width), np.float32)

    def __call__(
        self,
        encoded: NDArray[np.float32],
        prompt: Sequence[int],
        most: int,
        beam: int,
        abandoned: Callable[[], bool] = lambda: False,
        grammar: Grammar | None = None,
    ) -> list[Decoded]:
        """The best hypotheses, best first: at most `beam` of at most `most` tokens each.

        `encoded` is [1, S, D]; `prompt` are token numbers that are in the vocabulary. Once it is
        `abandoned` it returns what it has. A `grammar` leaves the probabilities as they are: how
        well its sentences fit can be told beside free ones.
        """
        told = np.array([self.place[token] for token in prompt], np.int64)
        length = len(told)
        mask = np.triu(np.full((length, length), -np.inf, np.float32), 1)
        logits, *kept = self._opening.run(
            None,
            {"encoded": encoded, "tokens": told, "positions": np.arange(length), "mask": mask},
        )
        memory = dict(zip(self._kept, kept, strict=True))
        said = dict.fromkeys(self._said, self._nothing)
        finished: list[tuple[list[int], float]] = []
        under_way = _Beam([[]], np.zeros(1, np.float32))
        parents = np.zeros(1, np.int64)
        for step in range(most + 1):
            following = _log_softmax(logits + (self._first if step == 0 else self._silent))
            if grammar:
                following += np.stack([grammar.allowed(each) for each in under_way.sentences])
            parents = self._extend(under_way, following, beam, finished)
            if step == most or not under_way.sentences or self._decided(under_way, finished, beam):
                break
            if abandoned():
                break
            logits, *now = self._step.run(
                None,
                {
                    "tokens": np.array([each[-1] for each in under_way.sentences], np.int64),
                    "positions": np.array([length + step], np.int64),
                    "parents": parents,
                    **said,
                    **memory,
                },
            )
            said = dict(zip(self._said, now, strict=True))
        found = [self._decoded(*each, ended=True) for each in finished]
        if not found:
            cut = zip(under_way.sentences, under_way.scores.tolist(), strict=True)
            found = [self._decoded(*each, ended=False) for each in cut]
        # By token, as the search of CTranslate2 has it: else half a sentence beats a whole one.
        return sorted(found, key=lambda each: -each.certainty)[:beam]

    def _extend(
        self,
        under_way: _Beam,
        following: NDArray[np.float32],
        beam: int,
        finished: list[tuple[list[int], float]],
    ) -> NDArray[np.int64]:
        """One more token for each sentence; returns which sentence each new one continues."""
        totals = (under_way.scores[:, None] + following).ravel()
        most = min(2 * beam, totals.size)
        best = np.argpartition(-totals, most - 1)[:most]
        parents: list[int] = []
        sentences: list[list[int]] = []
        scores: list[float] = []
        for rank, flat in enumerate(best[np.argsort(-totals[best])]):
            parent, place = divmod(int(flat), following.shape[1])
            score = float(totals[flat])
            if score == -np.inf:
                break
            if place == self.end:
                if rank < beam:  # further down it is the beginning of a better sentence
                    finished.append((under_way.sentences[parent], score))
            elif len(sentences) < beam:
                parents.append(parent)
                sentences.append([*under_way.sentences[parent], place])
                scores.append(score)
        under_way.sentences, under_way.scores = sentences, np.array(scores, np.float32)
        return np.array(parents, np.int64)

    def _decided(
        self, under_way: _Beam, finished: list[tuple[list[int], float]], beam: int
    ) -> bool:
        """Whether the search is over: enough sentences, or the others are too far behind."""
        if len(finished) >= beam:
            return True
        best = max((score / (len(places) + 1) for places, score in finished), default=-np.inf)
        ahead = float(under_way.scores[0]) / len(under_way.sentences[0])
        return ahead < best - HOPELESS

    def _decoded(self, places: list[int], score: float, *, ended: bool) -> Decoded:
        return Decoded([int(self._vocabulary[place]) for place in places], score, ended)


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    top = logits.max(axis=1, keepdims=True)
    result: NDArray[np.float32] = logits - top
    result -= np.log(np.exp(result).sum(axis=1, keepdims=True))
    return result


def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # each step asks for a little more than the one before, and an arena would keep them all
    options.enable_cpu_mem_arena = False
    # waiting threads would otherwise burn the core that the other caller needs
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
