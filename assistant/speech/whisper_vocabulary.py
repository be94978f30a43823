"""The part of Whisper's vocabulary that a Mandarin hotline needs: a twentieth of it.

Whisper spells by bytes, in any language and either script. What cannot be part of a character of
GB 2312, a digit or a single letter is left out, full-width punctuation too: the decoder spends no
time on it, and its hypotheses differ by what was said and not by how it could be spelled.
"""

import functools
from collections.abc import Iterable

import numpy as np
import tokenizers
from numpy.typing import NDArray

_OTHERS = "0123456789%.，。？！、：,?! " + "".join(chr(c) for c in range(ord("A"), ord("z") + 1))
_LONGEST_LATIN = 2
"""Bytes of a token of Latin letters: a space and a letter. Words are not ours to write."""


def vocabulary(
    tokenizer: tokenizers.Tokenizer, told: Iterable[int], suppressed: Iterable[int]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The token numbers kept, and what is added to their logits: minus infinity where a token is
    only told (`told`: prompts and marks) or `suppressed`, else nothing."""
    said = {
        token
        for text, token in tokenizer.get_vocab().items()
        if (spelled := _bytes(text)) and _is_ours(spelled)
    } - set(suppressed)
    kept = np.array(sorted(said | set(told)), np.int64)
    silent = np.array([0.0 if token in said else -np.inf for token in kept], np.float32)
    return kept, silent


def _is_ours(spelled: bytes) -> bool:
    """Whether the bytes can stand in our text: whole characters, and parts of one at the ends."""
    characters, heads, tails = _characters()
    if spelled in heads or spelled in tails:
        return True
    for head in range(3):
        for tail in range(3):
            middle = spelled[head : len(spelled) - tail]
            if head + tail >= len(spelled):
                continue
            if head and spelled[:head] not in tails:
                continue
            if tail and spelled[-tail:] not in heads:
                continue
            try:
                text = middle.decode()
            except UnicodeDecodeError:
                continue
            latin = sum(c.isascii() and c.isalpha() for c in text)
            if all(c in characters for c in text) and (not latin or len(spelled) <= _LONGEST_LATIN):
                return True
    return False


@functools.cache
def _characters() -> tuple[frozenset[str], frozenset[bytes], frozenset[bytes]]:
    """The characters of GB 2312 and a few more; how their UTF-8 begins, how it goes on."""
    hanzi = [
        bytes([row, column]).decode("gb2312", "ignore")
        for row in range(0xB0, 0xF8)
        for column in range(0xA1, 0xFF)
    ]
    spelled = [character.encode() for character in hanzi if character]
    heads = {part[:length] for part in spelled for length in (1, 2)}
    tails = {part[start:stop] for part in spelled for start, stop in ((1, 3), (2, 3), (1, 2))}
    return frozenset("".join(hanzi) + _OTHERS), frozenset(heads), frozenset(tails)


@functools.cache
def _byte_of() -> dict[str, int]:
    """Byte-level BPE writes each byte as a printable character (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + place): byte for place, byte in enumerate(others)
    }


def _bytes(text: str) -> bytes:
    """What a token of the vocabulary spells; nothing for a mark such as <|zh|>."""
    table = _byte_of()
    if text.startswith("<|") or any(character not in table for character in text):
        return b""
    return bytes(table[character] for character in text)
