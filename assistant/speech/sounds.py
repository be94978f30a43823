"""How far two Mandarin syllables are from each other, as a telephone and a recogniser hear them."""

import functools
import re

from pypinyin import Style, pinyin

NEAR = 0.8
"""One feature that half the country does not keep apart either: zh/z, -n/-ng, n/l."""
APART = 2.2
"""One feature that the telephone band blurs: voicing, place, a medial."""
DIFFERENT = 9.0
"""Not the same sound; never a candidate."""

_SYLLABLE = re.compile(r"(zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw]?)(.*)")


def _pairs(text: str, cost: float) -> dict[frozenset[str], float]:
    return {frozenset(pair.split("/")): cost for pair in text.split()}


_INITIALS = _pairs("z/zh c/ch s/sh n/l", NEAR) | _pairs(
    "b/p d/t g/k z/c zh/ch j/q j/zh q/ch x/sh x/s z/j c/q q/x j/x zh/c z/ch sh/ch s/c f/h h/k"
    " h/g l/r m/n r/y w/h t/k p/t b/d y/l",
    APART,
)
_FINALS = _pairs("an/ang en/eng in/ing ian/iang uan/uang", NEAR) | _pairs(
    "uo/ou e/uo o/uo ao/ou ai/ei ui/ei i/v u/v i/ei ie/ian iao/ao ia/a ong/eng ou/iu e/en"
    " ai/an ie/i an/en ian/in uan/an un/en ou/u uo/u e/i ue/e ong/ou ua/a iao/iu ian/an a/an",
    APART,
)


@functools.cache
def readings(character: str) -> tuple[str, ...]:
    """The usual toneless readings of a Chinese character, at most two."""
    found = pinyin(character, style=Style.NORMAL, heteronym=True, v_to_u=False)[0]
    return tuple(dict.fromkeys(found[:2]))


@functools.cache
def distance(one: str, other: str) -> float:
    """From 0 for the same toneless syllable up to DIFFERENT; a sum over initial and final."""
    if one == other:
        return 0.0
    (initial, final), (initial2, final2) = _split(one), _split(other)
    return min(
        _cost(_INITIALS, initial, initial2) + _cost(_FINALS, final, final2),
        DIFFERENT,
    )


def _split(syllable: str) -> tuple[str, str]:
    match = _SYLLABLE.fullmatch(syllable)
    return (match[1], match[2]) if match else ("", syllable)


def _cost(pairs: dict[frozenset[str], float], one: str, other: str) -> float:
    return 0.0 if one == other else pairs.get(frozenset((one, other)), DIFFERENT)
