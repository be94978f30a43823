"""Which of the recogniser's hypotheses was meant: decided from both confidences, without I/O."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.completeness import NUMBER_LENGTH, is_whole
from assistant.speech.recognizer import Alternative, Expecting, Transcript

MOST_HYPOTHESES = 3
"""Each costs a parse; beyond the third one the right answer is rare."""

LONGEST_TEXT = 300
"""Characters; at five a second nobody says more in the longest turn of 30 s, twice over."""

SOUND_WEIGHT = 0.5
"""Exponent of the recogniser's confidence: it is less reliable than the classifier's."""

NOT_UNDERSTOOD = "nlu_fallback"
OUT_OF_SCOPE = "out_of_scope"

OUT_OF_SCOPE_WEIGHT = 0.85
"""Misheard words mean nothing that is ours: another hypothesis that does is the likelier one."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What might have been said, and what it would mean."""

    text: str
    heard: float
    """The recogniser's confidence, from 0 to 1."""
    intent: str | None
    understood: float
    """The classifier's confidence, from 0 to 1."""
    digits: str = ""
    """What the text is when read as a number."""
    second: float = 0.0
    """The classifier's confidence in the next meaning."""


def candidates(transcript: Transcript) -> list[Alternative]:
    """The best alternatives, cleaned for the dialogue model; none when nothing was said."""
    alternatives = transcript.alternatives or (Alternative(transcript.text, transcript.confidence),)
    cleaned: dict[str, Alternative] = {}
    for alternative in alternatives:
        text = clean(alternative.text)
        if text:
            cleaned.setdefault(text, Alternative(text, alternative.confidence))
    return list(cleaned.values())[:MOST_HYPOTHESES]


def clean(text: str) -> str:
    """What can be said aloud, at most LONGEST_TEXT characters.

    Controls, emoji and lone surrogates are dropped, and a leading slash: to Rasa it would be a
    command ("/intent").
    """
    # The first cut bounds the work on absurd input; the second is the real limit.
    normal = unicodedata.normalize("NFKC", text[: 10 * LONGEST_TEXT])
    spoken = "".join(char for char in normal if unicodedata.category(char)[0] in "LNPZ")
    return " ".join(spoken.split()).lstrip("/ ")[:LONGEST_TEXT]


def choose(hypotheses: Sequence[Hypothesis], expecting: Expecting = "free") -> Hypothesis:
    """The most probable one of at least one; where a number is awaited, one that can be it."""
    awaited = NUMBER_LENGTH.get(expecting)
    whole = [each for each in hypotheses if is_whole(each.digits, expecting)]
    fitting = whole or [each for each in hypotheses if len(each.digits) == awaited] or hypotheses
    loudest = max(each.heard for each in fitting) or 1.0
    # max() keeps the first of equals, and they come best heard first.
    return max(fitting, key=lambda each: joint(each, loudest))


def joint(hypothesis: Hypothesis, loudest: float) -> float:
    """How probable it is beside one that was heard with confidence `loudest`, from 0 to 1."""
    heard = (hypothesis.heard / loudest) ** SOUND_WEIGHT if hypothesis.heard else 1.0
    if hypothesis.intent == NOT_UNDERSTOOD:
        return 0.0
    weight = OUT_OF_SCOPE_WEIGHT if hypothesis.intent == OUT_OF_SCOPE else 1.0
    return heard * hypothesis.understood * weight
