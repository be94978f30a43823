"""Whether one more call would be a call too many: a decision alone, fed with measurements."""

import statistics
from collections import deque

from assistant.settings import Load

ANSWERS = 9
"""The latest answers, whose median counts: one slow answer is no overload."""

FEWEST_ANSWERS = 3

WINDOW_S = 60.0
"""What was measured longer ago tells nothing of now."""

LATE_SECONDS = 3
"""The clock is late in as many of the last TICKS_S seconds before it counts: a single hiccup, as
when a call begins, does not."""

TICKS_S = 10.0

EASED = 0.7
"""Once beyond a limit all measures must fall below this part of it, or the line would flutter."""


class Admission:
    """Of one call server; all times are seconds of one monotonic clock."""

    def __init__(self, rules: Load) -> None:
        self._rules = rules
        self._answers: deque[tuple[float, float]] = deque(maxlen=ANSWERS)
        self._late: deque[tuple[float, float]] = deque(maxlen=int(TICKS_S) + 1)
        self._waits_ms = 0.0
        self._full = False

    def answered(self, ms: float, now: float) -> None:
        """An answer began `ms` after the caller's last word."""
        self._answers.append((now, ms))

    def measured(self, late_ms: float, waits_ms: float, now: float) -> None:
        """Once a second: how late the audio clock came, how long the oldest utterance waits."""
        self._late.append((now, late_ms))
        self._waits_ms = waits_ms

    def admits(self, calls: int, now: float) -> bool:
        """Whether a new caller is taken beside `calls` in progress; always when there are none."""
        if calls == 0:
            self._full = False
            self._answers.clear()
            self._late.clear()
            return True
        while self._late and now - self._late[0][0] > TICKS_S:
            self._late.popleft()
        part = EASED if self._full else 1.0
        self._full = (
            self._answer_ms(now) > self._rules.answer_ms * part
            or self._waits_ms > self._rules.answer_ms * part
            or self._is_late(self._rules.late_ms * part)
        )
        return not self._full

    def _answer_ms(self, now: float) -> float:
        recent = [ms for at, ms in self._answers if now - at <= WINDOW_S]
        return statistics.median(recent) if len(recent) >= FEWEST_ANSWERS else 0.0

    def _is_late(self, limit_ms: float) -> bool:
        return sum(ms > limit_ms for _, ms in self._late) >= LATE_SECONDS
