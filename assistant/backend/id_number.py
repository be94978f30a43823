"""The 18-digit citizen number (GB 11643)."""

import hashlib
import re
from datetime import date

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK = "10X98765432"
_SHAPE = re.compile(r"[1-9]\d{16}[\dX]", re.ASCII)


def check_digit(first17: str) -> str:
    """The character that must follow: ISO 7064 MOD 11-2 over the first 17 digits."""
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, first17, strict=True))
    return _CHECK[total % 11]


def is_id_number(text: str) -> bool:
    """Whether the shape, the birth date and the check digit are right."""
    if not _SHAPE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text[6:14])
    except ValueError:
        return False
    return check_digit(text[:17]) == text[17]


def id_hash(id_number: str) -> str:
    """The key under which wrong tries are counted, for numbers we know and do not know alike."""
    return hashlib.sha256(id_number.encode()).hexdigest()
