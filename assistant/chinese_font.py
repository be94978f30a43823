"""A font with Chinese characters for pictures, where this computer has one."""

import functools
from pathlib import Path

from matplotlib.font_manager import findSystemFonts
from matplotlib.ft2font import FT2Font

PROBE = "热线养老"
"""Simplified characters: a Japanese or Traditional font lacks some of them."""

REMEDY = "install one with Chinese characters, for example: apt install fonts-wqy-microhei"


@functools.cache
def find() -> Path | None:
    """The file of a font that has Simplified Chinese; None where there is none."""
    for path in sorted(findSystemFonts()):
        try:
            font = FT2Font(path)
        except (OSError, RuntimeError):  # a broken file, or a format that it does not know
            continue
        if all(font.get_char_index(ord(character)) for character in PROBE):
            return Path(path)
    return None
