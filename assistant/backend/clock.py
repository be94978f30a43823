"""What time it is, and which day the records are read as of."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from assistant.settings import ConfigError

CHINA = ZoneInfo("Asia/Shanghai")
"""China keeps one time zone; every time that is spoken or served is in it."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The time of locks and tokens is always the real one; the business day can be pinned."""

    business_day: date | None = None
    """The day that counts for records and case numbers; None: today."""

    def now(self) -> datetime:
        """This second, in China's time zone."""
        return datetime.now(CHINA).replace(microsecond=0)

    def today(self) -> date:
        """The business day."""
        return self.business_day or self.now().date()


def clock_from(environment: Mapping[str, str] = os.environ) -> Clock:
    """A clock whose business day is HOTLINE_TODAY (YYYY-MM-DD) where that is set.

    Raises ConfigError that names the variable when it holds no date.
    """
    text = environment.get("HOTLINE_TODAY", "")
    if not text:
        return Clock()
    try:
        return Clock(date.fromisoformat(text))
    except ValueError:
        raise ConfigError(
            f"HOTLINE_TODAY={text}: write a date as YYYY-MM-DD, or unset it"
        ) from None
