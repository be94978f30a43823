"""When may a sentence start to play that is still being synthesised? Decided from times alone."""

SYLLABLE_MS = 220
"""A spoken character at normal speed, to guess the length of a sentence not yet synthesised."""

MARGIN = 1.2
"""Sentences turn out longer than guessed, and engines slow down under load."""


def expected_s(text: str, pace: float = 1.0) -> float:
    """Seconds that `text` will take to speak, about; `pace` 0.8 is slower."""
    return len(text) * SYLLABLE_MS / 1000 / pace


class SmoothStart:
    """One sentence's sound on its way from a synthesiser.

    Played as it comes, what is synthesised slower than it is spoken would break off word by word.
    So it starts once the rest, at the rate seen so far, will be there before it is due.
    """

    def __init__(self, expected_s: float, began_s: float) -> None:
        self._expected_s = expected_s
        self._began_s = began_s

    def ready(self, sound_s: float, now_s: float) -> bool:
        """Whether `sound_s` seconds of it, there at `now_s`, are enough to start with."""
        worked_s = now_s - self._began_s
        missing_s = self._expected_s - sound_s
        if sound_s <= 0:
            return False
        if missing_s <= 0 or sound_s >= worked_s * MARGIN:
            return True
        return missing_s * worked_s / sound_s * MARGIN <= self._expected_s
