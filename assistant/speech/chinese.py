"""The one normaliser of recognised text, whatever the engine wrote."""

import functools
import re
import unicodedata

from opencc import OpenCC

HAN = r"\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Chinese characters, 〇 among them, as the inside of a character class."""

_PUNCTUATION = re.compile(r"(?<!\d)[.:%]|[.:](?!\d)|[^\w\s.:%]|_")
_GAP = re.compile(rf"(?<=[{HAN}\d])\s+|\s+(?=[{HAN}\d])")


def normalise(text: str) -> str:
    """Simplified characters, half-width letters and digits, no punctuation, no gaps.

    A point or colon between digits and a per-cent sign after one stay; words in Latin letters
    keep one space between them. Nothing is rewritten: 四四零 stays 四四零, 440 stays 440.
    """
    text = _PUNCTUATION.sub(" ", unicodedata.normalize("NFKC", text))
    text = _GAP.sub("", " ".join(text.split()))
    simplified: str = _to_simplified().convert(text)
    return simplified


@functools.cache
def _to_simplified() -> OpenCC:
    return OpenCC("t2s")
