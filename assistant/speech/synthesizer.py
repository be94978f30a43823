"""The seam between a call and speech synthesis."""

from collections.abc import AsyncIterator
from typing import Protocol

from assistant.channels.channel import Pcm


class Synthesizer(Protocol):
    """A loaded voice, shared by all calls."""

    name: str
    voice: str
    rate: int
    """Samples per second of what speak() yields, in Hz."""

    def speak(self, text: str, speed: float = 1.0) -> AsyncIterator[Pcm]:
        """Audio of `text` in order, the first chunk as early as possible.

        `speed` 1.0 is the voice's own pace, 0.8 slower. Closing the iterator stops the work.
        Raises SynthesisError when the engine gives nothing; what was yielded stands.
        """
        ...


class SynthesisError(RuntimeError):
    """The engine failed on this text; another engine may still speak it."""
