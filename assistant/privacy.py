"""What may be kept of what callers say: long numbers are masked, amounts and dates stay.

Callers give numbers as keys, as words and in groups (幺三八 零零零零…), so the mask looks at
runs of digits in any of these forms, across the pauses and fillers between them.
"""

import re
from typing import Literal

_DIGIT_CLASS = "0-9０-９零〇一二三四五六七八九十幺两洞拐勾壹贰叁肆伍陆柒捌玖"
# 十 counts as a digit: 十三五七九零 is a PIN said carelessly.
_DIGITS = re.compile(f"[{_DIGIT_CLASS}]+")

_BETWEEN = re.compile(
    r"(?:[\s.,:;/\\|_*#()\-·、，。；：（）—–－．]"
    r"|嗯|呃|额|啊|哦|那个|然后|就是|接着|后面|还有|再来|空格|杠|点|是)*"
)
"""What may stand between two groups of one number: punctuation that recognisers put in,
and what people say while they look at the card."""

_CHECK_X = re.compile(r"[\s\-，,]*(?:[XxＸｘ×叉]|艾克斯|埃克斯)")

_TIME_UNIT = re.compile(r"\s*(?:年|月|日|号|点|时|分|秒|岁|个|天|笔|次|周|%|％)")
_MONEY_UNIT = re.compile(r"\s*(?:元|块|角|毛|万)")

_ALONE_BEFORE, _ALONE_AFTER = r"(?<![\d.,-])(?<!\d\s)", r"(?![.,-]?\d|\s\d{3})"
"""No further group continues the number on either side."""

_AMOUNT = re.compile(
    rf"{_ALONE_BEFORE}(?:\d{{1,3}}(?:,\d{{3}})+|\d{{1,9}})(?:\.\d\d?)?(?=\s*(?:元|块))", re.ASCII
)
"""Only with its unit: 135,790 alone is how a recogniser may write a PIN."""

_ISO_DATE = re.compile(
    rf"{_ALONE_BEFORE}(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]){_ALONE_AFTER}",
    re.ASCII,
)

SHORTEST_SECRET = 6
"""Digits of a PIN. Shorter numbers (12333, a year, the tail of a card) stay readable."""

LONGEST_AMOUNT = 9
"""Digits; what is longer is an ID, a telephone or a card number, whatever follows it."""

_TAIL = 4


def mask(text: str) -> str:
    """`text` with every digit of a number of six digits or more replaced by *.

    The last four stay where the number has the length of a telephone, ID, card or case
    number; a PIN and anything of another length goes altogether.
    """
    masked = list(text)
    for groups, has_x in _numbers(text):
        places = [place for start, end in groups for place in range(start, end)]
        keep = _TAIL if _keeps_tail(len(places), has_x) else 0
        if has_x:
            keep -= 1  # the X is the last of the four
        for place in places[: len(places) - max(keep, 0)]:
            masked[place] = "*"
    return "".join(masked)


def mask_unfinished(text: str) -> str:
    """`text` without digits at its end: five of them may be a PIN but for its last, and eleven
    an ID number of which the wrong four would stay. What stands before them is left to mask().
    """
    groups = [found.span() for found in _DIGITS.finditer(text)]
    masked, end = list(text), len(text)
    while groups and _BETWEEN.fullmatch(text, groups[-1][1], end):
        start, stop = groups.pop()
        masked[start:stop] = "*" * (stop - start)
        end = start
    return "".join(masked)


def mask_caller(number: str, policy: Literal["masked", "plain", "none"]) -> str:
    """A caller's number as `privacy.caller_number` lets it be kept.

    masked keeps the last four digits of a telephone number; a name or an address has no
    such tail and goes altogether.
    """
    match policy:
        case "plain":
            return number
        case "none":
            return ""
        case "masked":
            digits = number.lstrip("+")
            if digits.isascii() and digits.isdigit():
                return "*" * (len(number) - _TAIL) + number[-_TAIL:]
            return "*" * len(number)


def _numbers(text: str) -> list[tuple[list[tuple[int, int]], bool]]:
    """Every number to be masked: its groups of digits, and whether an X closes it."""
    numbers = []
    groups: list[tuple[int, int]] = []
    for found in _DIGITS.finditer(text):
        group = found.span()
        joined = bool(groups) and _BETWEEN.fullmatch(text, groups[-1][1], group[0])
        if groups and not joined:
            numbers.append(groups)
            groups = []
        if _harmless(text, group):
            if groups:
                numbers.append(groups)
            groups = []
            continue
        groups.append(group)
    if groups:
        numbers.append(groups)
    long = [g for g in numbers if sum(end - start for start, end in g) >= SHORTEST_SECRET]
    return [(g, bool(_CHECK_X.match(text, g[-1][1]))) for g in long]


def _harmless(text: str, group: tuple[int, int]) -> bool:
    """Whether this group belongs to a date, an amount or a count."""
    start, end = group
    if end - start <= 4 and _TIME_UNIT.match(text, end):
        return True
    whole = text[start] not in "0０零〇"
    if whole and end - start <= LONGEST_AMOUNT and _MONEY_UNIT.match(text, end):
        return True
    return any(
        found.start() <= start and end <= found.end()
        for pattern in (_AMOUNT, _ISO_DATE)
        for found in pattern.finditer(text)
    )


def _keeps_tail(digits: int, has_x: bool) -> bool:
    """Telephone 11, ID 18 (17 and X), bank card 16 or 19, case number 12."""
    return digits + has_x in (11, 12, 16, 18, 19)
