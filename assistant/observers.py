"""Who is told of calls as they go: the records, the metrics, the traces."""

import logging
from collections.abc import Callable
from typing import Protocol

from assistant.records import CallRow, TurnRow

log = logging.getLogger(__name__)


class CallObserver(Protocol):
    """Told of every call, in rows that are masked already. No method may wait."""

    def started(self, call: CallRow) -> None:
        """A call has begun."""
        ...

    def turn(self, turn: TurnRow) -> None:
        """A turn is over; the row does not change any more."""
        ...

    def ended(self, call: CallRow) -> None:
        """A call is over; the same row as at its start, completed."""
        ...


class Observers:
    """Several observers as one; a fault of one is logged and reaches neither call nor others."""

    def __init__(self, *observers: CallObserver) -> None:
        self._observers = observers

    def started(self, call: CallRow) -> None:
        """See CallObserver."""
        self._tell(lambda each: each.started(call))

    def turn(self, turn: TurnRow) -> None:
        """See CallObserver."""
        self._tell(lambda each: each.turn(turn))

    def ended(self, call: CallRow) -> None:
        """See CallObserver."""
        self._tell(lambda each: each.ended(call))

    def _tell(self, what: Callable[[CallObserver], None]) -> None:
        for observer in self._observers:
            try:
                what(observer)
            except Exception:
                log.exception("%s failed; the call goes on", type(observer).__name__)
