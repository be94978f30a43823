"""Cutting a sentence for synthesis, so that its first words are heard early."""

import re
from collections.abc import Iterator

import jieba

CLAUSE = re.compile(r".+?(?:[，、：,:—…]+|$)", re.DOTALL)

FIRST_SYLLABLES = 8
"""Longest first chunk. Kokoro computes about 0.33 s a second of sound on two cores, and each
chunk has a second of padding: eight syllables come out after 0.8 s, fourteen after 1.3 s."""

SLACK = 3
"""A clause barely too long is better spoken whole than cut into a stump."""

GROWTH = 2
"""The next chunk may be this much longer: it is computed while the one before it plays."""

LONGEST_SYLLABLES = 40
"""About 8 s of speech: keeps one chunk of a long text from delaying other calls."""

SENTENCE_PAUSE_MS = 280
"""Silence between two sentences, as a reader breathes."""


def chunks(sentence: str) -> Iterator[str]:
    """Cut a sentence at its clauses: a short first chunk, then longer ones."""
    limit = FIRST_SYLLABLES
    chunk = ""
    for clause in _clauses(sentence):
        if chunk and len(chunk) + len(clause) > limit:
            yield chunk
            chunk = ""
            limit = min(GROWTH * limit, LONGEST_SYLLABLES)
        chunk += clause
    if chunk:
        yield chunk


def _clauses(sentence: str) -> Iterator[str]:
    """Clauses; one that is too long for its place is cut between words."""
    limit = FIRST_SYLLABLES
    for clause in CLAUSE.findall(sentence):
        while len(clause) > limit + SLACK:
            end = _word_end(clause, limit)
            yield clause[:end]
            clause = clause[end:]
            limit = LONGEST_SYLLABLES
        yield clause
        limit = LONGEST_SYLLABLES


def _word_end(clause: str, limit: int) -> int:
    """Where the last word ends that fits."""
    end = 0
    for word in jieba.cut(clause):
        if end and end + len(word) > limit:
            break
        end += len(word)
    return min(end, limit + SLACK)
