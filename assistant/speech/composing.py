"""Clauses that are numbers between fixed words: 其中本金 | 五万八千二百元."""

from collections.abc import Iterable
from dataclasses import dataclass

from assistant.speech.chunks import CLAUSE
from assistant.speech.number_units import NUMBER

SHORTEST = 2
"""Syllables of fixed words that sound like speech when rendered alone; a 到 alone does not."""

_MARKS = "，、：,:—…。！？；!?;"


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a clause, as it is spoken."""

    text: str
    number: bool


def clauses(sentence: str) -> list[str]:
    """The clauses of a spoken sentence, each with the mark that ends it."""
    return CLAUSE.findall(sentence)


def parts(clause: str) -> list[Part]:
    """Numbers and the words between them, in order; empty where it cannot be put together."""
    body = clause.rstrip(_MARKS)
    found: list[Part] = []
    end = 0
    for match in NUMBER.finditer(body):
        if match.start() > end:
            found.append(Part(body[end : match.start()], False))
        found.append(Part(match[0], True))
        end = match.end()
    if body[end:]:
        found.append(Part(body[end:], False))
    fixed = [part.text for part in found if not part.number]
    if len(fixed) == len(found) or any(len(text) < SHORTEST for text in fixed):
        return []
    return found


def fixed_words(sentences: Iterable[str]) -> list[str]:
    """What such sentences hold besides numbers, each once: to be rendered ahead."""
    found = (
        part.text
        for sentence in sentences
        for clause in clauses(sentence)
        for part in parts(clause)
        if not part.number
    )
    return list(dict.fromkeys(found))
