"""Calendar months as text, "2026-11": they sort and compare as they are."""

import re
from datetime import date

MONTH = re.compile(r"(19|20)\d\d-(0[1-9]|1[0-2])")


def month_of(day: date) -> str:
    """The month a day lies in."""
    return f"{day:%Y-%m}"


def shift(month: str, by: int) -> str:
    """The month `by` months later, or earlier when negative."""
    count = int(month[:4]) * 12 + int(month[5:]) - 1 + by
    return f"{count // 12:04d}-{count % 12 + 1:02d}"


def span(first: str, last: str) -> list[str]:
    """Every month from `first` to `last`, both included."""
    months = []
    while first <= last:
        months.append(first)
        first = shift(first, 1)
    return months
