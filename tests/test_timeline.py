"""Guards the timeline of a turn: every moment between the caller's voice and ours is kept."""

import json
from typing import Any

import pytest

from assistant.backend.database import Database
from assistant.backend.migrations import at_head, upgrade
from assistant.dialogue.dialogue import CallStarted, Keys, ListenFor, Reply
from assistant.records import CallRow, TurnRow, turns
from assistant.speech.recognizer import Expecting, Partial
from assistant.turns import PAUSE_MS
from tests import test_call
from tests.database import Databases
from tests.test_call import GOODBYE, GREETING, LONG, Ears, Script, Wire, hold, speech


class Rows:
    """Keeps the turns."""

    def __init__(self) -> None:
        self.turns: list[TurnRow] = []

    def started(self, call: CallRow) -> None: ...
    def turn(self, turn: TurnRow) -> None:
        self.turns.append(turn)

    def ended(self, call: CallRow) -> None: ...


def held(wire: Wire, dialogue: Script, ears: list[str]) -> list[TurnRow]:
    """The turns of a call in virtual time."""
    rows = Rows()
    hold(wire, dialogue, ears, records=rows)
    return rows.turns


def names(turn: TurnRow) -> list[str]:
    return [mark["mark"] for mark in turn.timeline]


def at(turn: TurnRow, name: str) -> int:
    """When it happened, the first time."""
    return next(int(mark["at_ms"]) for mark in turn.timeline if mark["mark"] == name)


ONE_BREATH = 0.7
"""Seconds of the recorded voice until its first pause."""

ANSWER = ["final", "understood", "first_audio", "playback_end"]


def test_every_moment_of_a_spoken_turn() -> None:
    dialogue = Script({CallStarted(): GREETING, "再见": GOODBYE}, delay_s=0.1)
    greeted, spoken = held(Wire({2.0: speech(ONE_BREATH)}), dialogue, ["再见"])
    assert names(greeted) == ["understood", "first_audio", "playback_end"]
    assert names(spoken) == ["speech_start", "pause", "partial", "endpoint", *ANSWER]
    assert [mark.get("text") for mark in spoken.timeline if mark["mark"] == "partial"] == ["再见"]
    assert 2000 <= at(spoken, "speech_start") <= 2150
    silence = at(spoken, "pause") - spoken.start_ms
    assert PAUSE_MS - 20 <= silence < PAUSE_MS + 32, "to a frame of the wire and a chunk of the VAD"
    for mark, latency in [
        ("endpoint", "endpoint_ms"),
        ("final", "recognised_ms"),
        ("understood", "understood_ms"),
        ("first_audio", "first_audio_ms"),
    ]:
        assert at(spoken, mark) == pytest.approx(spoken.start_ms + spoken.latencies[latency], abs=1)
    assert at(spoken, "understood") - at(spoken, "final") == pytest.approx(100, abs=1)
    length = at(spoken, "playback_end") - at(spoken, "first_audio")
    assert 300 <= length <= 560, "three characters and the gap behind them"


def test_a_pause_in_which_the_caller_goes_on() -> None:
    dialogue = Script({CallStarted(): GREETING, "我想问一下": GOODBYE})
    wire = Wire({2.0: speech(ONE_BREATH), 3.5: speech(ONE_BREATH)})
    _, spoken = held(wire, dialogue, ["我想问一下"])
    gone_on = ["pause", "partial", "resumed"]
    assert names(spoken)[:4] == ["speech_start", *gone_on]
    assert names(spoken)[-7:] == ["pause", "partial", "endpoint", *ANSWER]
    assert at(spoken, "resumed") >= 3500


def test_a_barge_in_ends_the_reply_that_it_cut_off() -> None:
    dialogue = Script({CallStarted(): LONG, "再见": GOODBYE})
    greeted, spoken = held(Wire({1.0: speech(1.0)}), dialogue, ["再见"])
    assert names(greeted) == ["understood", "first_audio", "barge_in"]
    assert at(spoken, "speech_start") < at(greeted, "barge_in") < at(spoken, "endpoint")


def test_keys_have_no_voice() -> None:
    dialogue = Script({CallStarted(): GREETING, Keys("1"): GOODBYE})
    _, keyed = held(Wire({2.0: "1#"}), dialogue, ["-"])
    assert names(keyed) == ANSWER


@pytest.mark.parametrize("said", ["一三五七九零", "一三五"])
def test_a_pin_is_in_no_partial(said: str) -> None:
    asked = [Reply("请说密码。", ListenFor("pin"))]
    rows = held(Wire({3.0: speech(1.0)}), Script({CallStarted(): asked, said: GOODBYE}), [said])
    partials = [mark["text"] for row in rows for mark in row.timeline if mark["mark"] == "partial"]
    assert set(partials) == {"＊" * 6}
    assert said not in json.dumps([row.timeline for row in rows], ensure_ascii=False)


def test_a_failure_of_the_recogniser_is_marked() -> None:
    dialogue = Script({CallStarted(): GREETING, "": GOODBYE})
    _, spoken = held(Wire({2.0: speech(ONE_BREATH)}), dialogue, ["broken"])
    assert names(spoken) == ["speech_start", "pause", "endpoint", "recognizer_failed", *ANSWER]


class StreamingEars(Ears):
    """Says the same words after every frame, as a streaming recogniser does in a pause."""

    streaming = True

    def open(self, rate: int, expecting: Expecting = "free") -> "StreamingEars":
        return self

    def accept(self, pcm: Any) -> Partial | None:
        return Partial(self.texts[0])


def test_a_streaming_recogniser_that_repeats_itself_makes_one_partial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(test_call, "Ears", StreamingEars)
    dialogue = Script({CallStarted(): GREETING, "再见": GOODBYE})
    _, spoken = held(Wire({2.0: speech(1.0)}), dialogue, ["再见"])
    assert names(spoken).count("partial") == names(spoken).count("pause")


async def test_turns_from_before_the_timeline_have_an_empty_one(databases: Databases) -> None:
    url = databases.empty()
    database = Database(url)
    async with database.engine.begin() as connection:
        await connection.run_sync(upgrade, "0001")
        await connection.exec_driver_sql(
            """INSERT INTO turn (call_id, "index", start_ms, end_ms, kind, said, alternatives,
            confidence, replies, latencies) VALUES ('c', 0, 0, 1, 'start', '', '[]', 0, '[]', '{}')
            """
        )
    await database.migrate()
    async with database.engine.connect() as connection:
        assert await connection.run_sync(at_head)
    async with database.reading() as session:
        [turn] = await turns(session, "c")
    assert turn.timeline == []
    await database.close()
