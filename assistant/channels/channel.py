"""The seam between a call and the way it came in."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]
"""Mono signed 16-bit samples; the rate is the owner's."""

FRAME_MS = 20
"""Length of a frame on the wire, in milliseconds (the usual ptime of G.711 and G.722)."""


@dataclass(frozen=True, slots=True)
class Audio:
    """One frame of the caller's voice, at the channel's rate."""

    pcm: Pcm
    sent: Pcm = field(default_factory=lambda: np.zeros(0, np.int16))
    """What left for the caller meanwhile, by which an echo is known; empty where that is not."""


@dataclass(frozen=True, slots=True)
class Key:
    """One keyed digit: 0-9, *, # or A-D."""

    digit: str


class Channel(Protocol):
    """One call's wire. All methods belong to the event loop's thread."""

    kind: str
    """"sip", "microphone" or "console": how it is named in the records."""
    caller: str
    """The caller's number as signalled, or an empty string."""
    rate: int
    """Samples per second, both ways, in Hz."""
    tap: Callable[[Pcm, Pcm], None] | None
    """Given each 20 ms of both directions, (caller, hotline), of one length and one moment; set by
    whoever records. It must not block."""

    @property
    def held(self) -> bool:
        """Whether the caller has put us on hold: what is played waits, what is heard is silence."""
        ...

    def frames(self) -> AsyncIterator[Audio | Key]:
        """The caller's 20 ms frames and keyed digits in order; ends when the line drops."""
        ...

    async def play(self, pcm: Pcm) -> None:
        """Queue audio for the wire; waits while more than a few frames are queued already.

        Raises ChannelClosed when the caller has hung up.
        """
        ...

    async def drain(self) -> None:
        """Wait until everything queued has left for the wire, or was cleared."""
        ...

    def clear(self) -> int:
        """Drop what is queued; returns how many samples were dropped unheard."""
        ...

    async def transfer(self, target: str) -> None:
        """Hand the caller to `target`.

        Raises NotImplementedError where the channel cannot, ChannelError where it failed.
        """
        ...

    async def hangup(self) -> None:
        """End the call; safe to call twice."""
        ...


class ChannelClosed(ConnectionError):
    """The caller has hung up; nothing more can be played."""


class ChannelError(RuntimeError):
    """The channel cannot be opened, or cannot do what was asked; the message names the remedy."""
