"""When is a signalled digit a new key press? Decided without I/O, times are arguments.

A phone may signal a press in RTP (RFC 4733), by SIP INFO, or by both at once.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal

Method = Literal["rtp", "info"]

ECHO_MS = 1000
"""A phone that signals both ways sends INFO at the end of the press, the RTP event at its start; a
long press lasts about a second. The same digit by the *other* way within this is the same press."""

PRESSES_PER_S = 64
"""No finger presses this fast, and a softphone pasting an ID number and a PIN stays below it: more
is a flood and is dropped, so that it can neither fill the memory nor push out the voice."""


@dataclass(frozen=True, slots=True)
class _Press:
    digit: str
    method: Method
    at_ms: float


class KeyPresses:
    """Tells new presses from echoes and floods, for one call."""

    def __init__(self) -> None:
        self._recent: deque[_Press] = deque()
        self._unpaired: deque[_Press] = deque()
        self.flooded = False
        """Whether presses were dropped as a flood."""

    def accept(self, digit: str, method: Method, now_ms: float) -> bool:
        """Whether this signal is a new press."""
        while self._recent and now_ms - self._recent[0].at_ms >= 1000:
            self._recent.popleft()
        while self._unpaired and now_ms - self._unpaired[0].at_ms >= ECHO_MS:
            self._unpaired.popleft()
        for press in self._unpaired:
            if press.digit == digit and press.method != method:
                self._unpaired.remove(press)
                return False
        if len(self._recent) >= PRESSES_PER_S:
            self.flooded = True
            return False
        press = _Press(digit, method, now_ms)
        self._recent.append(press)
        self._unpaired.append(press)
        return True
