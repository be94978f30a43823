"""When has the caller finished, when do they interrupt: decisions only, fed with times.

Nothing here reads a clock or touches audio, so every rule is tested in virtual time.
All times are milliseconds since the call was answered.
"""

import math
from collections import deque
from dataclasses import dataclass

from assistant.completeness import DIGIT_ANSWERS, NUMBER_LENGTH, Completeness
from assistant.settings import Turns
from assistant.speech.recognizer import Expecting

START_PROBABILITY = 0.5
"""Silero's own threshold for speech."""

STAY_PROBABILITY = 0.35
"""Once speaking, softer syllables still count: a lower bar keeps word ends from splitting turns."""

START_MS = 96
"""This much voice starts a turn: three VAD chunks; a click is shorter, 「是」 is longer."""

PAUSE_MS = 96
"""After this much silence the utterance is decoded ahead, in case it is already over."""

THOUGHT_MS = 224
"""Who goes on after a pause of this length has paused for thought; a consonant is shorter."""

FADED_DB = 18.0
"""This far below the turn's voice nobody speaks any more. Silero takes a tenth of a second longer
to be sure; it decides alone where the room is louder than that."""

LOUDEST_MS = 96
"""A voice is as loud as it stays for so long: a knock against the phone is louder."""

LOUDEST_FADES_DB = 2.0
"""A second: who turns away from the phone is heard on."""


NOISY_TURN_S = 10.0
"""The limit on a turn's length where the last one may have been noise: the caller waits for it."""


@dataclass(frozen=True, slots=True)
class VoiceStarted:
    """The caller speaks; `at_ms` is when the voice began, a little before it was certain."""

    at_ms: float


@dataclass(frozen=True, slots=True)
class VoicePaused:
    """The caller may have finished."""


@dataclass(frozen=True, slots=True)
class VoiceResumed:
    """The caller had not finished."""


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The caller has finished."""

    started_ms: float
    voice_ended_ms: float
    cut: bool
    """True when the limit on the length of a turn ended it, not the caller."""


TurnEvent = VoiceStarted | VoicePaused | VoiceResumed | TurnEnded


class TurnDetector:
    """Turns a stream of speech probabilities into the caller's turns."""

    def __init__(self, rules: Turns) -> None:
        self._rules = rules
        self.expecting: Expecting = "free"
        self.playing = False
        """Whether the hotline is speaking: what is told as a voice then is one that interrupts."""
        self.noisy = False
        """Whether what sounds like a voice may be the room's noise."""
        self._now = 0.0
        self._voiced_ms = 0.0
        self._started_ms: float | None = None
        self._last_voice_ms = 0.0
        self._loudness = _Loudness()
        self.paused = False
        """Whether the caller may have finished, and may yet go on."""
        self._gone_on = False
        """Whether the caller has paused in this turn before, and had not finished."""
        self.words: Completeness | None = None
        """Told by the listener: how the words up to this pause look; None while they come."""
        self.awaits_words = False
        """Set by the listener while the words of this pause are being recognised."""

    @property
    def speaking(self) -> bool:
        """Whether a turn of the caller is under way."""
        return self._started_ms is not None

    def accept(self, probability: float, at_ms: float, level_db: float = 0.0) -> TurnEvent | None:
        """Take the speech probability and the level of the chunk that ended at `at_ms`."""
        step, self._now = max(0.0, at_ms - self._now), at_ms
        faded = self._loudness.faded(level_db, step, voice=probability >= START_PROBABILITY)
        if self._started_ms is None:
            return self._listen_for_start(probability, step)
        return self._listen_for_end(0.0 if faded else probability, self._started_ms)

    def _listen_for_start(self, probability: float, step: float) -> TurnEvent | None:
        voiced = probability >= START_PROBABILITY
        # A gap takes back what a voiced chunk gave: words have gaps, knocks have nothing else.
        self._voiced_ms = max(0.0, self._voiced_ms + (step if voiced else -step))
        if not self._voiced_ms:
            self._loudness = _Loudness()  # how loud a cough was says nothing of the voice
        if not voiced or (self._voiced_ms < START_MS and not self.playing):
            return None
        self._started_ms = self._now - self._voiced_ms
        self._last_voice_ms = self._now
        self._go_on()
        return VoiceStarted(self._started_ms)

    def _listen_for_end(self, probability: float, started_ms: float) -> TurnEvent | None:
        longest_s = self._rules.longest_turn_s
        if self.noisy:
            longest_s = min(longest_s, NOISY_TURN_S)
        if self._now - started_ms >= longest_s * 1000:
            return self._end(started_ms, cut=True)
        silence_ms = self._now - self._last_voice_ms
        if probability >= STAY_PROBABILITY:
            self._last_voice_ms = self._now
            if self.paused:
                self._go_on()
                self._gone_on = self._gone_on or silence_ms >= THOUGHT_MS
                return VoiceResumed()
            return None
        if silence_ms >= self._silence_limit_ms():
            return self._end(started_ms, cut=False)
        if silence_ms >= PAUSE_MS and not self.paused:
            self.paused = True
            return VoicePaused()
        return None

    def _silence_limit_ms(self) -> int:
        rules = self._rules
        longest = (
            rules.digits_silence_ms if self.expecting in DIGIT_ANSWERS else rules.open_silence_ms
        )
        match self.words:
            # Who has paused for thought may do so again; a number or a yes is none.
            case Completeness.COMPLETE if not (self._gone_on and self.expecting == "free"):
                return rules.complete_silence_ms
            case Completeness.COMPLETE | Completeness.ASKED:
                return rules.asked_silence_ms
            case Completeness.UNSURE:
                return rules.endpoint_silence_ms
            case Completeness.OPEN:
                return longest
        # The answer has to wait for the words anyway, and they may ask for more patience.
        known_later = self.awaits_words or self.expecting in DIGIT_ANSWERS
        return longest if known_later else rules.endpoint_silence_ms

    def _go_on(self) -> None:
        self.paused = False
        self.words = None
        self.awaits_words = False

    def _end(self, started_ms: float, *, cut: bool) -> TurnEnded:
        self._started_ms = None
        self._voiced_ms = 0.0
        self._loudness = _Loudness()
        self._gone_on = False
        return TurnEnded(started_ms, self._last_voice_ms, cut)


class _Loudness:
    """How loud the voice of a turn is."""

    def __init__(self) -> None:
        self._lately: deque[tuple[float, float]] = deque()
        self._loudest_db = -math.inf

    def faded(self, level_db: float, step_ms: float, *, voice: bool) -> bool:
        """Whether a chunk of `step_ms` at this level is too soft to be this voice."""
        self._loudest_db -= LOUDEST_FADES_DB * step_ms / 1000
        self._lately.append((level_db, step_ms))
        while sum(ms for _, ms in self._lately) - self._lately[0][1] >= LOUDEST_MS:
            self._lately.popleft()
        if voice and sum(ms for _, ms in self._lately) >= LOUDEST_MS:
            self._loudest_db = max(self._loudest_db, min(level for level, _ in self._lately))
        return level_db < self._loudest_db - FADED_DB


LONGEST_KEYED = 32
"""More keys than any number has: a stuck key or a flood; the rest is dropped."""


class KeyCollector:
    """Gathers keyed digits until #, the known length, or a pause."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_ms = timeout_s * 1000
        self._digits = ""
        self._last_ms = 0.0
        self.expecting: Expecting = "free"

    @property
    def pending(self) -> bool:
        """Whether a number is being keyed."""
        return bool(self._digits)

    def key(self, digit: str, at_ms: float) -> str | None:
        """Take one key; returns the whole number once it is complete (empty for a bare #)."""
        self._last_ms = at_ms
        if digit == "#":
            return self._complete()
        if len(self._digits) < LONGEST_KEYED:
            self._digits += digit
        if len(self._digits) == NUMBER_LENGTH.get(self.expecting, 0):
            return self._complete()
        # A single key answers a yes/no question or a choice at once.
        if self.expecting in ("yes_no", "choice"):
            return self._complete()
        return None

    def tick(self, at_ms: float) -> str | None:
        """The time is `at_ms`; returns the number when its pause has lasted long enough."""
        if self._digits and at_ms - self._last_ms >= self._timeout_ms:
            return self._complete()
        return None

    def _complete(self) -> str:
        digits, self._digits = self._digits, ""
        return digits
