"""Does the hotline let people finish? Utterances with pauses in them, heard in virtual time.

Each utterance of several clauses in the recognition corpus gets a pause of 200 to 700 ms at its
quietest place, where a clause ends and people think on. The real detector and recogniser hear it;
only the clock is virtual, so that what is found does not depend on the machine.
"""

import hashlib
import math
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assistant.asr_corpus import Utterance
from assistant.bench import Distribution
from assistant.completeness import completeness
from assistant.settings import Turns
from assistant.speech.recognizer import Recognizer, Transcript, transcribe
from assistant.speech.vad import CHUNK_MS, Vad
from assistant.telephone_line import Samples, carried
from assistant.turns import TurnDetector, TurnEnded, VoicePaused, VoiceResumed

RATE = 8000
FRAME = RATE // 50
PAUSE_MS = (200, 700)
PAUSED = re.compile("[，。？！；]")
DECODE_MS = 300
"""How long the recogniser is taken to need: about what it takes on two cores."""

AFTER_S = 2.5
"""Silence after the utterance: longer than any limit."""

NEAR_MS = 150
"""The voice of a turn that is whole ends this near to where the sound does."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one utterance was heard."""

    text: str
    pause_ms: int
    heard: str
    cut: bool
    """Whether its turn ended at the pause, or anywhere before its end."""
    endpoint_ms: float
    """From the last voice to the end of the turn, the recogniser's work included."""


def with_pause(speech: Samples, rate: int, seed: str) -> tuple[Samples, int]:
    """The speech with the quietest place of its middle third made a pause; its length in ms."""
    chance = random.Random(hashlib.sha256(seed.encode()).digest())
    pause_ms = chance.randrange(*PAUSE_MS)
    size = rate // 50
    frames = speech[: len(speech) // size * size].reshape(-1, size)
    power = (frames**2).sum(axis=1)
    third = len(frames) // 3
    quietest = third + int(np.argmin(power[third : 2 * third]))
    gap_ms = 20 * _run(power < power.max() / 1000, quietest)
    silence = np.zeros(rate * max(0, pause_ms - gap_ms) // 1000)
    place = quietest * size + size // 2
    return np.concatenate([speech[:place], silence, speech[place:]]), max(pause_ms, gap_ms)


def _run(quiet: NDArray[np.bool_], place: int) -> int:
    """How many frames around `place` are quiet without a break."""
    if not quiet[place]:
        return 0
    before = np.flatnonzero(~quiet[:place])
    after = np.flatnonzero(~quiet[place:])
    first = int(before[-1]) + 1 if before.size else 0
    return (place + int(after[0]) if after.size else len(quiet)) - first


def listen_to_all(
    recognizer: Recognizer, rules: Turns, utterances: Sequence[Utterance], most: int
) -> Iterator[Ended]:
    """Hear `most` of those in which one pauses, some more than once with another pause."""
    paused = [each for each in utterances if PAUSED.search(each.text.rstrip("，。？！"))]
    for number in range(most):
        again, place = divmod(number, len(paused))
        yield listen(recognizer, rules, paused[place], f"{paused[place].name} {again}")


def listen(recognizer: Recognizer, rules: Turns, utterance: Utterance, seed: str) -> Ended:
    """Hear one utterance over a clean G.711 line until its turn ends."""
    speech, pause_ms = with_pause(utterance.samples(RATE), RATE, seed)
    whole = np.concatenate([np.zeros(RATE // 2), speech, np.zeros(int(RATE * AFTER_S))])
    pcm = carried(whole, RATE, "alaw")
    vad, turns = Vad(RATE), TurnDetector(rules)
    turns.expecting = utterance.expecting
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > np.abs(pcm.astype(np.int32)).max() / 20)
    speech_ends_ms = loud[-1] * 1000 / RATE
    now_ms, said = 0.0, Transcript("")
    words_at_ms: float | None = None
    for start in range(0, len(pcm) - FRAME + 1, FRAME):
        for probability, level_db in vad.decide(pcm[start : start + FRAME]):
            now_ms += CHUNK_MS
            if words_at_ms is not None and now_ms >= words_at_ms:
                turns.words = completeness(said.text, turns.expecting, said.confidence)
                words_at_ms = None
            match turns.accept(probability, now_ms, level_db):
                case VoicePaused():
                    said = transcribe(recognizer, pcm[: start + FRAME], RATE, utterance.expecting)
                    turns.awaits_words, words_at_ms = True, now_ms + DECODE_MS
                case VoiceResumed():
                    words_at_ms = None
                case TurnEnded() as turn:
                    cut = bool(turn.voice_ended_ms < speech_ends_ms - NEAR_MS)
                    known_ms = max(now_ms, words_at_ms or 0.0)
                    waited_ms = known_ms - turn.voice_ended_ms
                    return Ended(utterance.text, pause_ms, said.text, cut, waited_ms)
    return Ended(utterance.text, pause_ms, said.text, False, float("nan"))


def report(found: Iterable[Ended]) -> dict[str, Any]:
    """What `--json` prints."""
    ended = list(found)
    whole = [each.endpoint_ms for each in ended if not each.cut and each.endpoint_ms > 0]
    endpoints = Distribution(tuple(whole))
    return {
        "n": len(ended),
        "cut": sum(each.cut for each in ended),
        "cut_share": round(sum(each.cut for each in ended) / max(1, len(ended)), 4),
        "never_ended": sum(math.isnan(each.endpoint_ms) for each in ended),
        "endpoint": endpoints.as_json(),
    }


def table(found: dict[str, Any]) -> str:
    """The figures for a person."""
    endpoint = found["endpoint"]
    return (
        f"{found['n']} utterances with a pause of {PAUSE_MS[0]} to {PAUSE_MS[1]} ms\n"
        f"cut off          {found['cut']} ({found['cut_share']:.1%})\n"
        f"never ended      {found['never_ended']}\n"
        f"endpoint after   p50 {endpoint['p50_ms']} ms, p95 {endpoint['p95_ms']} ms"
    )
