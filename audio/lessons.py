"""How Whisper learns: what was spoken over ever other lines, and what is to be written."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from line_torch import RATE, Sounds, log_mel, masked, over_a_line, padded
from numpy.typing import NDArray
from torch.nn import functional
from whisper_torch import DEVICE, Whisper

from assistant.channels.channel import Pcm

BATCH, RATE_OF_LEARNING, DECAY = 64, 8e-4, 0.05
WARM_UP = 60
"""Steps."""
TOLD = 0.6
"""The share of utterances before which the decoder is told the prompt that it has in calls."""
MARKS = 4
"""Tokens that a prompt ends with, always told: language, task and the like."""
GO_ON, SHORT_S = 0.3, 4.0
"""The share of short sentences after which another one is said: no text is learned by heart."""
HIDDEN = 0.6
"""The share of batches of which a part is hidden."""
NOTHING = -100


class Said(NamedTuple):
    """One utterance."""

    pcm: Pcm
    """At RATE."""
    prompt: list[int]
    """What the decoder is told before, as places in its vocabulary."""
    text: list[int]
    """What it is to write."""
    free: bool
    """Not an answer to a question for a number or the like."""


class Lessons:
    """Batches without end."""

    def __init__(
        self, said: Sequence[Said], end: int, filters: NDArray[np.float32], padding_s: float
    ) -> None:
        """`end` is the token that ends a text, `filters` are [80, 201], as log_mel() has them;
        `padding_s` of silence follow each utterance, as in calls."""
        self._said, self._end, self._padding_s = said, end, padding_s
        self._filters = torch.from_numpy(filters).float().to(DEVICE)
        self._sounds = Sounds([each.pcm for each in said])
        self._lengths = np.array([len(each.pcm) for each in said])
        free = np.array([each.free for each in said])
        self._short = np.flatnonzero(free & (self._lengths < SHORT_S * RATE))
        self._chance = np.random.default_rng(0)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Log-mel features [N, 80, T], tokens [N, L], and what is to follow each, or NOTHING.

        Every utterance once, those of one batch about as long as each other, and so on.
        """
        while True:
            order = np.argsort(self._lengths * self._chance.uniform(0.85, 1.15, len(self._said)))
            batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
            for place in self._chance.permutation(len(batches)):
                yield self._batch(batches[place])

    def _batch(self, first: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        goes_on = np.isin(first, self._short) & (self._chance.random(len(first)) < GO_ON)
        second = np.where(goes_on, self._chance.choice(self._short, len(first)), -1)
        told, wanted = [], []
        for one, other in zip(first, second, strict=True):
            before = self._said[one].prompt
            if self._chance.random() > TOLD:
                before = before[-MARKS:]
            text = self._said[one].text + (self._said[other].text if other >= 0 else [])
            told.append(before + text)
            wanted.append([NOTHING] * (len(before) - 1) + text + [self._end])
        numbers = (torch.from_numpy(each).to(DEVICE) for each in (first, second))
        features = log_mel(
            padded(over_a_line(self._sounds, *numbers), self._padding_s), self._filters
        )
        if self._chance.random() < HIDDEN:
            features = masked(features)
        return features, _filled(told, self._end), _filled(wanted, NOTHING)


def _filled(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows], device=DEVICE)


def train(model: Whisper, lessons: Lessons, steps: int) -> None:
    """Cross-entropy, AdamW, the rate of learning falling like a cosine.

    The next batch is made while one is learned from.
    """
    learned = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(learned, weight_decay=DECAY, betas=(0.9, 0.98))
    losses = []
    batches = iter(lessons)
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(next, batches)
        for step in range(1, steps + 1):
            features, tokens, wanted = coming.result()
            coming = ahead.submit(next, batches)
            falling = 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
            for group in optimizer.param_groups:
                group["lr"] = RATE_OF_LEARNING * min(1, step / WARM_UP) * falling
            said = model(features, tokens).flatten(0, 1).float()
            loss = functional.cross_entropy(said, wanted.flatten(), ignore_index=NOTHING)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            losses.append(loss.detach())
            if step % 100 == 0:
                print(f"step {step}: loss {torch.stack(losses[-100:]).mean():.3f}", flush=True)
