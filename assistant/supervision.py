"""When a dead service is started again, and when not: the decision alone, fed with times."""

from dataclasses import dataclass

UNUSABLE = 2
"""Exit code of a child that has stated why it cannot serve: a missing model, a wrong key."""

FIRST_DELAY_S = 0.5
"""Short enough that one crash costs a caller one apology, not a conversation."""

LONGEST_DELAY_S = 30.0
"""A service that dies at once, over and over, must not eat the CPU that calls need."""

HEALTHY_S = 60.0
"""After this much service a death is news, not one more of a series."""

FIRST_START_ATTEMPTS = 3
"""A service that was never ready is not worth more tries than this: tell the operator."""


class StartError(RuntimeError):
    """The hotline cannot be started; the message is one line that names the thing and a remedy."""


@dataclass
class RestartPolicy:
    """Exponential back-off for one service; all times are seconds of one monotonic clock."""

    _deaths_in_a_row: int = 0
    _ready_at: float | None = None
    _was_ever_ready: bool = False

    def ready(self, now: float) -> None:
        """The service answers."""
        self._ready_at = now
        self._was_ever_ready = True

    def died(self, now: float, exit_code: int | None) -> float | None:
        """Seconds to wait before the next start; None: give up and say why.

        `exit_code` is None for a service that had to be killed because it never became ready.
        """
        if self._ready_at is not None and now - self._ready_at >= HEALTHY_S:
            self._deaths_in_a_row = 0
        self._ready_at = None
        self._deaths_in_a_row += 1
        if not self._was_ever_ready and (
            exit_code == UNUSABLE or self._deaths_in_a_row >= FIRST_START_ATTEMPTS
        ):
            return None
        doublings = min(self._deaths_in_a_row - 1, 16)
        return min(FIRST_DELAY_S * 2.0**doublings, LONGEST_DELAY_S)
