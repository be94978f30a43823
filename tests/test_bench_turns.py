"""Guards the benchmarks of turn-taking: where their pauses and sounds lie, and what they count."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from assistant import models
from assistant.asr_corpus import Utterance
from assistant.bench_endpoint import PAUSE_MS, Ended, listen, report, table, with_pause
from assistant.bench_interrupt import LOUDNESS, Interrupter, Kind, cough, draw, from_onset
from assistant.bench_interrupt import report as interrupt_report
from assistant.bench_interrupt import table as interrupt_table
from assistant.channels.channel import Pcm
from assistant.settings import ROOT, Turns
from assistant.speech.recognizer import Expecting, Transcript

RATE = 8000


def two_clauses(gap_ms: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    tone = np.sin(np.arange(RATE) * 0.6) * 0.3
    return np.concatenate([tone, np.zeros(RATE * gap_ms // 1000), tone])


@pytest.mark.parametrize("gap_ms", [0, 100, 160])
@pytest.mark.parametrize("seed", ["a 0", "b 0", "b 1"])
def test_a_pause_counts_the_silence_that_was_there(gap_ms: int, seed: str) -> None:
    speech = two_clauses(gap_ms)
    paused, pause_ms = with_pause(speech, RATE, seed)
    added_ms = (len(paused) - len(speech)) * 1000 / RATE
    assert PAUSE_MS[0] <= pause_ms < PAUSE_MS[1]
    assert added_ms + gap_ms == pytest.approx(pause_ms, abs=25)
    middle = paused[len(paused) // 4 : -len(paused) // 4]
    assert (np.abs(middle) < 1e-9).sum() >= 0.9 * pause_ms * RATE / 1000


def test_pauses_differ_from_seed_to_seed_and_stay_the_same() -> None:
    found = [with_pause(two_clauses(0), RATE, f"x {number}")[1] for number in range(5)]
    assert len(set(found)) > 1
    assert found == [with_pause(two_clauses(0), RATE, f"x {number}")[1] for number in range(5)]


class Ears:
    """A recogniser that hears the same words in everything."""

    name = "whisper"
    streaming = False

    def __init__(self, text: str) -> None:
        self._text = text

    def open(self, rate: int, expecting: Expecting = "free") -> "Ears":
        return self

    def accept(self, pcm: Pcm) -> None:
        return None

    def finish(self) -> Transcript:
        return Transcript(self._text, 0.9)

    def abandon(self) -> None:
        pass


@pytest.mark.skipif(not models.present("silero-vad"), reason="needs `hotline models pull`")
@pytest.mark.parametrize(
    ("heard", "cut", "waits_ms"), [("失业金怎么领", True, 360), ("我想问一下那个", False, 1400)]
)
def test_a_turn_that_ends_at_its_pause_is_counted(heard: str, cut: bool, waits_ms: int) -> None:
    text = "我今年五十八了，社保只交了十二年，还能领养老金吗"
    said = Utterance("01", text, ROOT / "audio" / "callers" / "01.wav")
    ended = listen(Ears(heard), Turns(), said, "long pause")
    assert ended.pause_ms > 400
    assert ended.cut is cut
    assert ended.endpoint_ms == pytest.approx(waits_ms, abs=60)
    assert json.loads(json.dumps(report([ended])))["cut"] == int(cut)


def test_the_report_of_endpoints() -> None:
    ended = [
        Ended("甲", 300, "甲", False, 450.0),
        Ended("乙", 650, "", True, 400.0),
        Ended("丙", 500, "丙", False, 900.0),
        Ended("丁", 500, "丁", False, math.nan),
    ]
    found = report(ended)
    assert (found["n"], found["cut"], found["cut_share"], found["never_ended"]) == (4, 1, 0.25, 1)
    assert found["endpoint"] == {"p50_ms": 675, "p95_ms": 900, "n": 2}
    assert "25.0%" in table(found)


@pytest.mark.parametrize("seed", range(4))
def test_a_cough_is_short_and_loud(seed: int) -> None:
    burst = cough(seed)
    assert 0.15 * RATE <= len(burst) <= RATE
    assert 0.4 * LOUDNESS <= np.abs(burst.astype(np.int32)).max() <= 1.6 * LOUDNESS
    assert (burst == cough(seed)).all()


def test_a_sound_begins_where_it_is_heard() -> None:
    faint, loud = np.full(100, 20, np.int16), np.full(50, 5000, np.int16)
    assert len(from_onset(np.concatenate([faint, loud]))) == 50


def test_the_report_of_interruptions(tmp_path: Path) -> None:
    found = Interrupter("sip:12333@127.0.0.1:1", lambda line: None)
    found.kinds = {
        "speech": Kind(True, 4, [180.0, 220.0, 240.0]),
        "cough": Kind(False, 5, []),
        "嗯": Kind(False, 5, [300.0]),
    }
    told = interrupt_report(found)
    assert told["false_stops"] == {"n": 10, "stopped": 1, "share": 0.1}
    assert told["kinds"]["speech"]["p50_ms"] == 220
    assert "p50_ms" not in told["kinds"]["cough"]
    assert "10.0%" in interrupt_table(told)
    draw(found, tmp_path / "reactions.png")
    assert (tmp_path / "reactions.png").read_bytes().startswith(b"\x89PNG")
