"""Guards the timing of turns: when one starts, when it has ended, when a number is complete.

All in virtual time: probabilities and milliseconds in, events out.
"""

from collections.abc import Iterable

import pytest

from assistant.completeness import Completeness
from assistant.settings import Turns
from assistant.speech.recognizer import Expecting
from assistant.turns import (
    KeyCollector,
    TurnDetector,
    TurnEnded,
    TurnEvent,
    VoicePaused,
    VoiceResumed,
    VoiceStarted,
)

CHUNK_MS = 32


def play(detector: TurnDetector, *spans: tuple[float, int]) -> list[tuple[float, TurnEvent]]:
    """Feed spans of (probability, milliseconds); returns each event with its time."""
    now = getattr(detector, "_now")  # noqa: B009 - go on where the last call stopped
    events: list[tuple[float, TurnEvent]] = []
    for probability, length in spans:
        for _ in range(length // CHUNK_MS):
            now += CHUNK_MS
            if event := detector.accept(probability, now):
                events.append((now, event))
    return events


def kinds(events: Iterable[tuple[float, TurnEvent]]) -> list[type[TurnEvent]]:
    return [type(event) for _, event in events]


def test_a_turn_ends_after_the_trailing_silence() -> None:
    events = play(TurnDetector(Turns()), (0.0, 320), (0.9, 960), (0.0, 960))
    assert kinds(events) == [VoiceStarted, VoicePaused, TurnEnded]
    started, _, ended = (event for _, event in events)
    assert started == VoiceStarted(320)
    assert ended == TurnEnded(320, 1280, cut=False)
    assert events[-1][0] == pytest.approx(1280 + 800, abs=CHUNK_MS)


def test_a_pause_inside_a_sentence_does_not_end_it() -> None:
    events = play(TurnDetector(Turns()), (0.9, 960), (0.0, 480), (0.9, 640), (0.0, 960))
    assert kinds(events) == [VoiceStarted, VoicePaused, VoiceResumed, VoicePaused, TurnEnded]


@pytest.mark.parametrize(("milliseconds", "starts"), [(64, False), (96, True), (224, True)])
def test_a_short_yes_starts_a_turn_and_a_click_does_not(milliseconds: int, starts: bool) -> None:
    events = play(TurnDetector(Turns()), (0.0, 320), (0.9, milliseconds), (0.0, 960))
    assert bool(events) == starts


@pytest.mark.parametrize(
    ("probability", "milliseconds", "interrupts"), [(1.0, 32, True), (0.0, 960, False)]
)
def test_while_playing_who_interrupts_begins_a_turn_at_once(
    probability: float, milliseconds: int, interrupts: bool
) -> None:
    detector = TurnDetector(Turns())
    detector.playing = True
    events = play(detector, (0.0, 320), (probability, milliseconds), (0.0, 32))
    assert bool(events) == interrupts


def test_scattered_knocks_never_add_up_to_a_turn() -> None:
    assert play(TurnDetector(Turns()), *[(0.9, 32), (0.0, 96)] * 50) == []


@pytest.mark.parametrize(("expecting", "ended"), [("free", True), ("id_number", False)])
def test_a_number_may_pause_between_its_groups(expecting: Expecting, ended: bool) -> None:
    detector = TurnDetector(Turns())
    detector.expecting = expecting
    events = play(detector, (0.9, 960), (0.0, 1024))
    assert (TurnEnded in kinds(events)) == ended


@pytest.mark.parametrize(
    ("expecting", "words", "silence"),
    [
        ("free", Completeness.COMPLETE, 360),
        ("free", Completeness.ASKED, 640),
        ("free", Completeness.UNSURE, 800),
        ("free", Completeness.OPEN, 1400),
        ("pin", Completeness.COMPLETE, 360),
        ("pin", Completeness.UNSURE, 800),
        ("pin", Completeness.OPEN, 1500),
    ],
)
def test_the_words_decide_how_long_is_waited(
    expecting: Expecting, words: Completeness, silence: int
) -> None:
    detector = TurnDetector(Turns())
    detector.expecting = expecting
    play(detector, (0.9, 960), (0.0, 320))
    detector.words = words
    events = play(detector, (0.0, 1600))
    assert events[0][0] == pytest.approx(960 + silence, abs=CHUNK_MS)


@pytest.mark.parametrize(("expecting", "silence"), [("free", 640), ("yes_no", 360), ("pin", 360)])
def test_who_has_paused_before_may_ask_another_question(expecting: Expecting, silence: int) -> None:
    detector = TurnDetector(Turns())
    detector.expecting = expecting
    play(detector, (0.9, 960), (0.0, 320), (0.9, 960), (0.0, 320))
    detector.words = Completeness.COMPLETE
    events = play(detector, (0.0, 1600))
    assert events[0][0] == pytest.approx(2240 + silence, abs=CHUNK_MS)


@pytest.mark.parametrize(("level_db", "ended"), [(60.0, False), (45.0, False), (30.0, True)])
def test_a_voice_ends_when_it_has_faded(level_db: float, ended: bool) -> None:
    detector = TurnDetector(Turns())
    now = 0.0
    for _ in range(30):
        now += CHUNK_MS
        detector.accept(0.9, now, 60.0)
    events = []
    for _ in range(30):
        now += CHUNK_MS
        events.append(detector.accept(0.9, now, level_db))
    assert any(isinstance(event, TurnEnded) for event in events) == ended


def test_a_knock_does_not_make_the_voice_after_it_too_soft() -> None:
    detector = TurnDetector(Turns())
    levels = [60.0] * 10 + [95.0] * 2 + [60.0] * 20
    events = [
        detector.accept(0.9, (place + 1) * CHUNK_MS, level) for place, level in enumerate(levels)
    ]
    assert [type(event) for event in events if event] == [VoiceStarted]


def test_who_turns_away_from_the_phone_is_heard_on() -> None:
    detector = TurnDetector(Turns())
    levels = [70.0] * 30 + [60 - place / 10 for place in range(200)]
    events = [
        detector.accept(0.9, (place + 1) * CHUNK_MS, level) for place, level in enumerate(levels)
    ]
    assert [type(event) for event in events if event] == [VoiceStarted]


def test_words_that_are_still_to_come_are_waited_for() -> None:
    detector = TurnDetector(Turns())
    play(detector, (0.9, 960), (0.0, 320))
    detector.awaits_words = True
    assert not play(detector, (0.0, 480)), "800 ms, and what was said is not yet known"
    detector.words = Completeness.COMPLETE
    assert kinds(play(detector, (0.0, 32))) == [TurnEnded]


def test_words_that_never_come_hold_no_turn_open() -> None:
    detector = TurnDetector(Turns())
    play(detector, (0.9, 960), (0.0, 320))
    detector.awaits_words = True
    events = play(detector, (0.0, 1600))
    assert events[0][0] == pytest.approx(960 + 1400, abs=CHUNK_MS)


def test_a_caller_who_goes_on_is_judged_anew() -> None:
    detector = TurnDetector(Turns())
    play(detector, (0.9, 960), (0.0, 320))
    detector.words = Completeness.COMPLETE
    events = play(detector, (0.9, 320), (0.0, 544))
    assert kinds(events) == [VoiceResumed, VoicePaused]


def test_a_caller_who_never_stops_is_cut() -> None:
    events = play(TurnDetector(Turns(longest_turn_s=5)), (0.9, 6400))
    ended = events[1][1]
    assert isinstance(ended, TurnEnded)
    assert ended.cut
    assert kinds(events) == [VoiceStarted, TurnEnded, VoiceStarted], "the rest is a new turn"


@pytest.mark.parametrize(
    ("expecting", "keys", "number"),
    [
        ("free", "135#", "135"),
        ("pin", "135790", "135790"),
        ("id_number", "44010319630512997*", "44010319630512997*"),
        ("yes_no", "1", "1"),
        ("free", "#", ""),
    ],
)
def test_a_keyed_number_is_complete(expecting: Expecting, keys: str, number: str) -> None:
    collector = KeyCollector(timeout_s=4)
    collector.expecting = expecting
    results = [collector.key(key, at_ms=100.0 * i) for i, key in enumerate(keys)]
    assert results[:-1] == [None] * (len(keys) - 1)
    assert results[-1] == number
    assert not collector.pending


def test_a_keyed_number_is_complete_after_a_pause() -> None:
    collector = KeyCollector(timeout_s=4)
    collector.key("1", 0)
    collector.key("2", 3000)
    assert collector.tick(6900) is None
    assert collector.tick(7000) == "12"
    assert collector.tick(20000) is None


def test_a_flood_of_keys_stays_bounded() -> None:
    collector = KeyCollector(timeout_s=4)
    for i in range(1000):
        assert collector.key("5", float(i)) is None
    number = collector.tick(10_000)
    assert number == "5" * 32
