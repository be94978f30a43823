"""Numbers as units that can be joined: money, dates and counts, as spoken() writes them.

A unit is a digit with the measure it stands before: 三万 两千 五百 六十 八元 四角. Its carrier is a
short phrase in which a voice says it, so that what stood on its left is always of the same sound.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_DIGIT = "一二三四五六七八九"
_MEASURES = ("元", "个月", "笔")
_ANY_MEASURE = "|".join(_MEASURES)
_YEAR = r"(?:二零|一九)[零一二三四五六七八九]{2}年"
_MONTH = f"(?:十[一二]?|[{_DIGIT}])月"
_DAY = f"(?:[二三]?十[{_DIGIT}]?|[{_DIGIT}])日"
_UNIT = re.compile(
    rf"{_YEAR}|{_MONTH}|{_DAY}|零?[{_DIGIT}两](?:[万千百十角分]|{_ANY_MEASURE})|"
    rf"[十万]|{_ANY_MEASURE}"
)
_WHOLE = rf"[零{_DIGIT}两十百千万]*[{_DIGIT}两十百千万]"
NUMBER = re.compile(
    rf"{_YEAR}{_MONTH}(?:{_DAY})?"
    rf"|{_WHOLE}元(?:[{_DIGIT}]角)?(?:零?[{_DIGIT}]分)?"
    rf"|{_WHOLE}(?:个月|笔)"
    rf"|[{_DIGIT}两]角(?:[{_DIGIT}]分)?|[{_DIGIT}两]分"
)
"""A number that is said as one: with its measure word, or a date."""

_RHYMES = {"万": "n", "千": "n", "元": "n", "年": "n"}
"""Left neighbours that end alike: in the same nasal one unit fits after each of them."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit and what its sound depends on."""

    text: str
    left: str
    """The rhyme that comes before; empty after a pause."""
    last: bool
    """Whether a pause follows."""


def units(number: str) -> list[Unit]:
    """The units of one number; empty where it is not made of units alone."""
    texts = _UNIT.findall(number)
    if "".join(texts) != number:
        return []
    lefts = ["", *(_RHYMES.get(text[-1], text[-1]) for text in texts[:-1])]
    lasts = [False] * (len(texts) - 1) + [True]
    return [Unit(*each) for each in zip(texts, lefts, lasts, strict=True)]


def carriers() -> list[str]:
    """The phrases to be rendered; together they hold each unit of every amount below ten million,
    of dates from 1950 to 2040, and of counts below a thousand. The most frequent come first.
    """
    return list(dict.fromkeys([*_amounts(), *_counts(), *_dates(), *_rare_amounts()]))


def setup_carriers() -> list[str]:
    """Those that set-up renders: amounts, which are what callers ask for."""
    return list(dict.fromkeys(_amounts()))


def _each_digit(shape: str, step: int = 1) -> Iterator[str]:
    """Nine phrases in which each # of the shape is every digit once."""
    for first in range(9):
        said, place = "", 0
        for position, character in enumerate(shape):
            if character != "#":
                said += character
                continue
            digit = _DIGIT[(first + step * place) % 9]
            after = shape[position + 1]
            pair = after in "千百" or (position == 0 and after != "十")
            said += "两" if digit == "二" and pair else digit
            place += 1
        yield said + "。"


def _amounts() -> Iterator[str]:
    # two neighbours for each unit: of the two the better join is taken
    yield from _each_digit("#万#千#百#十#元#角#分")
    yield from _each_digit("#万#千#百#十#元#角#分", step=4)
    for shape in ("#千#百#十#元", "#百#十#元#角", "#十#元零#分", "#千零#十#元", "#万零#百元"):
        yield from _each_digit(shape)
    for shape in ("#千零#元#角", "#百零#元#角", "#十#万#千元"):
        yield from _each_digit(shape)
    for whole in ("三十", "三百", "三千", "三万", "三十万", "十"):
        yield f"{whole}元。"
        yield f"{whole}元五角。"
    yield from ("十三元。", "十三万三千元。", "三千零一十元五角。")


def _rare_amounts() -> Iterator[str]:
    for shape in ("#元", "#元#角", "#角#分", "#角", "#分", "#百零#元", "#千零#元"):
        yield from _each_digit(shape)
    for shape in ("#百#十#万元", "#百零#万元", "#百万零#千元"):
        yield from _each_digit(shape)
    yield from ("三百万五千元。", "三百一十万五千元。")


def _counts() -> Iterator[str]:
    for measure in _MEASURES[1:]:
        for shape in ("#十#", "#", "#百零#"):
            yield from _each_digit(shape + measure)
        for whole in ("十", "三十", "三百", "三百一十"):
            yield f"{whole}{measure}。"
        yield f"十三{measure}。"


def _dates() -> Iterator[str]:
    days = [f"{tens}{ones}" for tens in ("", "十", "二十") for ones in f" {_DIGIT}"]
    days = [day.strip() for day in days if day.strip()] + ["三十", "三十一"]
    months = [*_DIGIT, "十", "十一", "十二"]
    numerals = "零" + _DIGIT
    for number, year in enumerate([*range(2010, 2041), *range(2000, 2010), *range(1950, 2000)]):
        named = "".join(numerals[int(digit)] for digit in str(year))
        yield f"{named}年{months[number % 12]}月{days[number % 31]}日。"
        if 2020 <= year < 2032:
            yield f"{named}年{months[number % 12]}月。"
