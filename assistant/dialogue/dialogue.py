"""The seam between a call and the dialogue: what was said goes in, replies come out."""

from dataclasses import dataclass, field
from typing import Protocol

from assistant.speech.recognizer import Expecting, Transcript


@dataclass(frozen=True, slots=True)
class Keys:
    """What the caller keyed, the closing # left out."""

    digits: str


@dataclass(frozen=True, slots=True)
class Silence:
    """The caller was expected to speak and did not; `times` in a row, counted from one."""

    times: int = 1


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The line is open: the dialogue greets."""


Said = Transcript | Keys | Silence | CallStarted


@dataclass(frozen=True, slots=True)
class ListenFor:
    """After this reply the caller's answer is awaited, of this kind."""

    expecting: Expecting = "free"


@dataclass(frozen=True, slots=True)
class Speed:
    """From here on speak at this pace; 1.0 is normal."""

    factor: float


@dataclass(frozen=True, slots=True)
class Volume:
    """From here on speak so much louder; 0 is normal."""

    db: float


@dataclass(frozen=True, slots=True)
class Transfer:
    """After this reply hand the caller to a person at `target`."""

    target: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """After this reply the call is over."""


Control = ListenFor | Speed | Volume | Transfer | HangUp


@dataclass(frozen=True, slots=True)
class Reply:
    """One thing to say, with at most one control that takes effect after it was said."""

    text: str
    control: Control | None = None
    protected: bool = False
    """What the law or safety wants heard: only a key stops it, not the caller's voice."""


@dataclass(frozen=True, slots=True)
class Told:
    """What became of the dialogue's last response: a caller who cuts in has not heard it all."""

    text: str
    """All that was to be said."""
    heard: int
    """How many characters of it were heard."""


@dataclass(frozen=True, slots=True)
class Response:
    """The dialogue's answer to one turn."""

    replies: list[Reply] = field(default_factory=list)
    intent: str | None = None
    confidence: float = 0.0
    said: str = ""
    """The hypothesis that was understood; it need not be the recogniser's first."""
    cards: list[str] = field(default_factory=list)
    """Ids of the policy cards that were answered."""
    sure: float | None = None
    """Probability that the caller was understood rightly; None where nothing was heard."""
    decision: str = ""
    """accepted, implied, confirmed, asked, keypad or person; empty where nothing was heard."""


class Dialogue(Protocol):
    """One conversation per call id, kept by the dialogue."""

    async def respond(
        self, call_id: str, said: Said, caller: str = "", told: Told | None = None
    ) -> Response:
        """The replies to what was said. Raises DialogueUnavailable when it cannot answer.

        `told`: how much of the last response was heard; None where all of it was.
        """
        ...

    def anticipate(self, call_id: str, said: Transcript) -> None:
        """The caller may have finished with this: understand it ahead, without any effect.

        Returns at once and never raises; the turn is taken by respond() alone.
        """
        ...

    async def forget(self, call_id: str) -> None:
        """The call is over: drop what is known of it. Never raises."""
        ...


class DialogueUnavailable(ConnectionError):
    """The dialogue model did not answer in time or not at all."""
