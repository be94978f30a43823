"""How sure the hotline is of what it heard, and what it does about that: pure rules, no I/O.

The client tells with each message how probable it is that the turn was understood rightly (see
`assistant.dialogue.surety`). What is done depends on that and on what a mistake would cost the
caller: an answer to another question costs its length, so the matter is named first where that is
not quite certain; a hang-up costs the call, a wrong report the use of a card. Uses the standard
library only.
"""

import functools
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Decision(str, Enum):
    """What becomes of a turn; the values stand in the records of calls."""

    ACCEPT = "accepted"
    """Done as understood."""
    IMPLY = "implied"
    """Done, and the matter named at the beginning, so that the caller can interrupt."""
    CONFIRM = "confirmed"
    """Asked first: 您是想问…，对吗？"""
    ASK = "asked"
    """Not acted on: asked again, in other words."""


class Cost(str, Enum):
    """What is lost when the turn meant something else."""

    LITTLE = "little"
    """Small talk, repeating, a yes or no to an offer: some seconds."""
    ANSWER = "answer"
    """A policy answer, or an identity asked for in vain."""
    LEAVE = "leave"
    """The call ends, or goes to a person."""
    EFFECT = "effect"
    """Something is changed at the bureau. Asked explicitly before; this is the yes to it."""


@dataclass(frozen=True)
class Thresholds:
    """From which probability on; the section [confidence] of configs/hotline.toml."""

    accept: float = 0.85
    imply: float = 0.6
    confirm: float = 0.25
    leave: float = 0.6
    effect: float = 0.75
    digits: float = 0.5


@functools.cache
def thresholds() -> Thresholds:
    """As configured."""
    return Thresholds(**json.loads(os.environ.get("HOTLINE_CONFIDENCE", "{}")))


@functools.cache
def patience() -> int:
    """Failed turns in a row after which the caller is offered a person."""
    return int(os.environ.get("HOTLINE_PATIENCE", "3"))


def decide(sure: float, cost: Cost, limits: Thresholds) -> Decision:
    """What to do with a turn that was understood rightly with probability `sure`."""
    if cost is Cost.EFFECT:
        return Decision.ACCEPT if sure >= limits.effect else Decision.ASK
    if sure < limits.confirm:
        return Decision.ASK
    if cost is Cost.LITTLE or sure >= (limits.leave if cost is Cost.LEAVE else limits.accept):
        return Decision.ACCEPT
    if cost is Cost.ANSWER and sure >= limits.imply:
        return Decision.IMPLY
    return Decision.CONFIRM


class Rung(str, Enum):
    """How to ask after a miss; no rung is followed by itself."""

    GUESSES = "guesses"
    EXAMPLE = "example"
    KEYS = "keys"
    OFFER_PERSON = "offer_person"
    HAND_OVER = "hand_over"
    GIVE_UP = "give_up"


def rung(misses: int, patience: int) -> Rung:
    """For the so-many-th miss in a row, counted from one: other words, keys, a person, the end.

    Keys come last before the person. With more patience examples and keys alternate before.
    """
    left = patience - misses
    if left < 0:
        return Rung.HAND_OVER if left == -1 else Rung.GIVE_UP
    if left == 0:
        return Rung.OFFER_PERSON
    if misses == 1 and left > 1:
        return Rung.GUESSES
    return Rung.KEYS if left % 2 else Rung.EXAMPLE


LEAVING = frozenset(("goodbye", "human", "cancel", "no_more"))
"""Intents that end a form or the call."""

JUDGED_LATER = frozenset(("policy", "inform_value", "inform_digits"))
"""The actions see more: the last answer, the value awaited, the check digit."""


@dataclass(frozen=True)
class Turn:
    """What the client tells of a turn beside its words."""

    sure: float = 1.0
    """Probability that it was understood rightly."""
    awaited: str = "free"
    """The kind of answer that the hotline was waiting for."""
    words: float = math.inf
    """The log odds of that, what the classifier says left out."""
    by_confidence: float = 0.0
    by_margin: float = 0.0
    """Weights of the classifier's confidence and of its distance from the next meaning."""

    @classmethod
    def of(cls, metadata: Mapping[str, Any] | None) -> "Turn":
        """From a message's metadata; keys and what is typed are certain, and come without."""
        known = (metadata or {}).get("surety") or {}
        return cls(**known)

    def given(self, confidence: float, second: float = 0.0) -> float:
        """How sure, where the conversation gives another confidence than the words alone."""
        if math.isinf(self.words):
            return self.sure
        odds = self.words + self.by_confidence * log_odds(confidence)
        return 1 / (1 + math.exp(-odds - self.by_margin * margin(confidence, second)))

    @property
    def heard(self) -> float:
        """How sure, were the words understood beyond doubt."""
        return self.given(1.0)

    def is_doubtful(self, intent: str, limits: Thresholds) -> bool:
        """Whether the intent is not to be acted on, whatever the rules say."""
        if intent in JUDGED_LATER:
            return False
        in_form = self.awaited != "free"
        return self.sure < (limits.leave if in_form and intent in LEAVING else limits.confirm)


def log_odds(probability: float) -> float:
    """Of a probability, which is never quite 0 or 1."""
    clipped = min(max(probability, 0.01), 0.99)
    return math.log(clipped / (1 - clipped))


def margin(first: float, second: float) -> float:
    """How many times likelier than the next one, as a logarithm of at most 4."""
    return min(math.log(max(first, 0.01) / max(second, 0.01)), 4.0)
