"""Guards how speech reaches the wire when its synthesis is slow, stuck or broken.

Synthesisers and wire are scripted, in virtual time; the real ones have their own tests.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import numpy as np
import pytest

from assistant.channels.channel import Audio, Key, Pcm
from assistant.playback import BRIDGE_AGAIN_S, HOLD_BACK_S, NO_SOUND_S, Bridges, Playback
from assistant.smooth_start import SmoothStart, expected_s
from assistant.speech.synthesizer import SynthesisError
from tests import virtual_time

RATE = 8000
FRAME = RATE // 50
SENTENCE = "灵活就业人员可以在户籍地参加养老保险。"


@dataclass(eq=False)
class Voice:
    """Yields 200 ms at a time, each after `rate` times as long; `pitch` marks whose it is."""

    slowness: float
    pitch: int
    breaks_after: int = 99
    name = "scripted"
    voice = "scripted"
    rate = RATE

    async def speak(self, text: str, speed: float = 1.0) -> AsyncIterator[Pcm]:
        for number in range(len(text)):
            if number == self.breaks_after:
                raise SynthesisError("broken")
            await asyncio.sleep(0.2 * self.slowness)
            yield np.full(RATE // 5, self.pitch, np.int16)


class Wire:
    """Plays 20 ms every 20 ms; `played` is what a caller hears, silence included."""

    kind, caller, rate = "sip", "", RATE
    held = False
    tap: Callable[[Pcm, Pcm], None] | None = None

    def __init__(self) -> None:
        self.queue: list[Pcm] = []
        self.played: list[int] = []

    async def run(self) -> None:
        while True:
            self.played.append(int(self.queue.pop(0)[0]) if self.queue else 0)
            await asyncio.sleep(0.02)

    async def frames(self) -> AsyncIterator[Audio | Key]:
        yield Audio(np.zeros(FRAME, np.int16))

    async def play(self, pcm: Pcm) -> None:
        while len(self.queue) >= 3:
            await asyncio.sleep(0.005)
        self.queue.append(pcm)

    async def drain(self) -> None:
        while self.queue:
            await asyncio.sleep(0.005)

    def clear(self) -> int:
        return 0

    async def transfer(self, target: str) -> None: ...

    async def hangup(self) -> None: ...


def heard(*voices: Voice, text: str = SENTENCE) -> list[int]:
    """The pitch of each 20 ms that a caller hears, 0 for silence, up to the last sound."""

    async def main() -> list[int]:
        wire = Wire()
        running = asyncio.create_task(wire.run())
        await Playback(wire, voices).say(text)
        running.cancel()
        return wire.played

    played = virtual_time.run(main())
    while played and not played[-1]:
        played.pop()
    return played


def gaps(frames: list[int]) -> int:
    """Silent frames between the first sound and the last."""
    first = next(n for n, pitch in enumerate(frames) if pitch)
    return frames[first:].count(0)


def silence_before(frames: list[int]) -> float:
    """Seconds until the first sound."""
    return next(n for n, pitch in enumerate(frames) if pitch) * 0.02


def test_a_fast_voice_is_heard_as_soon_as_it_speaks() -> None:
    frames = heard(Voice(0.5, 1))
    assert silence_before(frames) == pytest.approx(0.1, abs=0.04)
    assert gaps(frames) == 0


@pytest.mark.parametrize("slowness", [1.2, 1.5])
def test_a_slow_voice_starts_late_and_does_not_stutter(slowness: float) -> None:
    frames = heard(Voice(slowness, 1))
    assert gaps(frames) == 0
    assert 0.2 <= silence_before(frames) <= HOLD_BACK_S + 0.5


def test_a_voice_too_slow_to_wait_for_gives_way_to_the_next() -> None:
    frames = heard(Voice(4.0, 1), Voice(0.1, 2))
    assert set(frames) == {0, 2}
    assert gaps(frames) == 0
    assert silence_before(frames) <= HOLD_BACK_S + 1.0


def test_the_only_voice_is_heard_however_slow() -> None:
    frames = heard(Voice(4.0, 1))
    assert frames.count(1) == len(SENTENCE) * 10
    assert silence_before(frames) <= HOLD_BACK_S + 1.0


def test_a_voice_that_hangs_gives_way_to_the_next() -> None:
    frames = heard(Voice(1000.0, 1), Voice(0.1, 2))
    assert set(frames) == {0, 2}
    assert silence_before(frames) == pytest.approx(NO_SOUND_S, abs=0.1)


def test_a_voice_that_hangs_is_not_waited_for_again_at_once() -> None:
    frames = heard(Voice(1000.0, 1), Voice(0.1, 2), text=SENTENCE * 3)
    assert gaps(frames) <= 2 * 160 / 20 + 2, "the pauses between sentences"


def test_a_sentence_that_is_synthesised_while_another_plays_may_take_its_time() -> None:
    """Nobody waits for it yet: the slow voice is not given up."""
    frames = heard(Voice(1.15, 1), Voice(0.1, 2), text=SENTENCE * 3)
    assert set(frames) == {0, 1}


@pytest.mark.parametrize(
    ("sound_s", "worked_s", "ready"),
    [(0.0, 0.0, False), (1.0, 0.0, True), (0.0, 2.0, False), (1.0, 0.5, True), (0.2, 0.4, False),
     (3.0, 4.0, True), (4.0, 400.0, True), (1.0, 20.0, False)],
)  # fmt: skip
def test_when_a_sentence_of_four_seconds_may_start(
    sound_s: float, worked_s: float, ready: bool
) -> None:
    assert SmoothStart(4.0, began_s=7.0).ready(sound_s, 7.0 + worked_s) == ready


def test_slow_speech_takes_longer() -> None:
    assert expected_s("十个字的一句话在这里", 0.5) == 2 * expected_s("十个字的一句话在这里")


BRIDGE, AGAIN, VOICE = 11, 12, 5
BRIDGES = Bridges([np.full(RATE, BRIDGE, np.int16)], [np.full(RATE, AGAIN, np.int16)], RATE)


def bridged(voice: Voice, text: str = SENTENCE, *, bridge: bool = True) -> list[int]:
    """The pitches of all that a caller hears, one after the other, silences included."""

    async def listen() -> list[int]:
        wire = Wire()
        running = asyncio.create_task(wire.run())
        await Playback(wire, [voice], bridges=BRIDGES).say(text, bridge=bridge)
        running.cancel()
        return [pitch for pitch, _ in itertools.groupby(wire.played)]

    return virtual_time.run(listen())


def test_what_is_there_at_once_needs_no_bridge() -> None:
    assert BRIDGE not in bridged(Voice(0.1, VOICE))


def test_a_slow_first_sentence_is_bridged() -> None:
    heard = bridged(Voice(0.9, VOICE))
    assert [pitch for pitch in heard if pitch] == [BRIDGE, VOICE]


def test_nothing_to_say_is_not_bridged() -> None:
    assert BRIDGE not in bridged(Voice(0.9, VOICE), "")


def test_only_what_asks_for_a_bridge_gets_one() -> None:
    assert BRIDGE not in bridged(Voice(0.9, VOICE), bridge=False)


def test_a_caller_who_waits_long_is_asked_for_patience_once() -> None:
    slow = Voice((1 + BRIDGE_AGAIN_S + 0.5) / 0.2, VOICE)
    heard = bridged(slow)
    assert [pitch for pitch in heard if pitch][:2] == [BRIDGE, AGAIN]
    assert heard.count(AGAIN) == 1


def test_a_bridge_is_none_of_the_words_that_were_heard() -> None:
    async def interrupt() -> str:
        wire = Wire()
        running = asyncio.create_task(wire.run())
        playback = Playback(wire, [Voice(5, VOICE)], bridges=BRIDGES)
        saying = asyncio.create_task(playback.say(SENTENCE, bridge=True))
        await asyncio.sleep(0.5)
        saying.cancel()
        heard = playback.stop()
        running.cancel()
        return heard

    assert virtual_time.run(interrupt()) == ""
