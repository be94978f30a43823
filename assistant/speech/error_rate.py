"""How wrong is recognised text: character error rate and syllable error rate.

Both are the edit distance to the reference over its length. A syllable is toneless pinyin: a
homophone is a character error and no syllable error, and what the dialogue understands on is
the sound.
"""

import re
from collections.abc import Sequence

from pypinyin import lazy_pinyin

from assistant.speech.chinese import normalise

_DIGITS = {c: d for d, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "幺": 1, "两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10000}
_NUMBER = re.compile(f"[{''.join(_DIGITS)}{''.join(_UNITS)}]+")


def errors(reference: Sequence[str], heard: Sequence[str]) -> int:
    """The least insertions, deletions and substitutions between them (Levenshtein 1966)."""
    row = list(range(len(heard) + 1))
    for i, wanted in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, got in enumerate(heard, 1):
            substituted = diagonal + (wanted != got)
            diagonal, row[j] = row[j], min(substituted, row[j] + 1, row[j - 1] + 1)
    return row[-1]


def characters(text: str) -> list[str]:
    """The characters that are compared: 1963 for 1963 and 一九六三, 58 for 58 and 五十八."""
    return list(_NUMBER.sub(_in_digits, normalise(text)).replace(" ", "").lower())


def syllables(text: str) -> list[str]:
    """The same as toneless pinyin; a digit is a syllable."""
    parts = lazy_pinyin("".join(characters(text)))
    return [unit for part in parts for unit in ([part] if part.isalpha() else part)]


def character_error_rate(pairs: Sequence[tuple[str, str]]) -> float:
    """Errors in all the pairs of (reference, heard) over the references' length."""
    return _rate([(characters(reference), characters(heard)) for reference, heard in pairs])


def syllable_error_rate(pairs: Sequence[tuple[str, str]]) -> float:
    """Errors in all the pairs of (reference, heard) over the references' length."""
    return _rate([(syllables(reference), syllables(heard)) for reference, heard in pairs])


def _rate(pairs: list[tuple[list[str], list[str]]]) -> float:
    wrong = sum(errors(reference, heard) for reference, heard in pairs)
    return wrong / max(sum(len(reference) for reference, _ in pairs), 1)


def _in_digits(number: re.Match[str]) -> str:
    spoken = number[0]
    if not any(character in _UNITS for character in spoken):
        return "".join(str(_DIGITS[character]) for character in spoken)
    value = section = digit = 0
    for character in spoken:
        if character in _DIGITS:
            digit = _DIGITS[character]
        elif character == "万":
            value, section, digit = (section + digit) * 10000, 0, 0
        else:
            section, digit = section + (digit or 1) * _UNITS[character], 0
    return str(value + section + digit)
