"""The timeline of a turn: what happened when, from the caller's first sound to our last."""

from dataclasses import dataclass
from typing import Literal

MarkName = Literal[
    "speech_start",
    "pause",
    "resumed",
    "partial",
    "endpoint",
    "recognizer_failed",
    "recognizer_timeout",
    "final",
    "understood",
    "first_audio",
    "playback_end",
    "barge_in",
]
"""In the order of an ordinary turn. A pause is noticed 192 ms after the voice; a partial is what
was decoded in a pause. Each reply that sounds has a first_audio, and after it a playback_end, or
a barge_in where the caller cut it off; a barge_in alone is a reply that never began."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One moment of a turn."""

    name: MarkName
    at: float
    """Seconds of the event loop's clock."""
    text: str = ""
    """The words of a partial, not yet masked."""
