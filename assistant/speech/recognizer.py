"""The seam between a call and speech recognition."""

from dataclasses import dataclass
from typing import Literal, Protocol

from assistant.channels.channel import Pcm

Expecting = Literal[
    "free", "digits", "id_number", "pin", "case_number", "yes_no", "date", "amount", "choice"
]
"""The kind of answer that is awaited from the caller."""

LIMIT_S = 10.0
"""A recogniser that has not answered by then hangs; the caller is asked again instead."""


@dataclass(frozen=True, slots=True)
class Partial:
    """What the recogniser believes so far, while the caller still speaks."""

    text: str


@dataclass(frozen=True, slots=True)
class Alternative:
    """One hypothesis; confidence from 0 to 1, comparable within one transcript only."""

    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """A finished utterance in Simplified Chinese; text is empty when no words were heard."""

    text: str
    confidence: float = 0.0
    alternatives: tuple[Alternative, ...] = ()
    """n-best, best first; the first one is `text` itself."""
    heard: str = ""
    """The likeliest words before any repair; empty where the engine repairs nothing."""


class RecognizerStream(Protocol):
    """One utterance. Used by one thread at a time, never by the event loop's, but for abandon()."""

    def accept(self, pcm: Pcm) -> Partial | None:
        """Take the next audio, any length, at the rate given to open()."""
        ...

    def finish(self) -> Transcript:
        """The utterance is over: decode what is left. Called once."""
        ...

    def abandon(self) -> None:
        """Nobody wants the words any more: finish() may return at once, with any. Never waits."""
        ...


class Recognizer(Protocol):
    """A loaded engine, shared by all calls; open() is cheap and thread-safe."""

    name: str
    streaming: bool
    """True: accept() decodes as it goes. False: finish() decodes all, so start it early."""

    def open(self, rate: int, expecting: Expecting = "free") -> RecognizerStream:
        """A stream for one utterance of audio at `rate` Hz."""
        ...


def transcribe(
    recognizer: Recognizer, pcm: Pcm, rate: int, expecting: Expecting = "free"
) -> Transcript:
    """The words of a whole utterance that is there already, mono at `rate` Hz."""
    stream = recognizer.open(rate, expecting)
    stream.accept(pcm)
    return stream.finish()
