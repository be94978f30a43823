"""Guards the picture of a call: voices, words and waits are where they were in time."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

from assistant import call_picture, chinese_font, cli, settings
from assistant.backend.call_tables import CallRecord, TurnRecord
from assistant.call_picture import DPI, HEAD_IN, MARGIN_IN, ROW_IN, ROW_S, WIDTH_IN, draw, listen
from assistant.call_strip import Utterance, Wait, strip
from assistant.records import CallRecords, CallRow, TurnRow
from assistant.settings import ROOT
from tests.database import Databases

STARTED = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
RATE = 8000
LENGTH_S = 65


def row(index: int, kind: str, start_ms: int, *marks: tuple[str, int], **values: object) -> TurnRow:
    """A turn with these marks in its timeline."""
    turn = TurnRow("call-1", index, kind, start_ms, end_ms=marks[-1][1] if marks else start_ms)
    turn.timeline = [{"mark": mark, "at_ms": at_ms} for mark, at_ms in marks]
    for name, value in values.items():
        setattr(turn, name, value)
    return turn


def records(*rows: TurnRow) -> list[TurnRecord]:
    """As they come out of the database."""
    return [TurnRecord(**{name: getattr(each, name) for name in TURN}) for each in rows]


TURN = TurnRow.__slots__  # type: ignore[attr-defined]

GREETED = row(0, "start", 0, ("first_audio", 200), ("barge_in", 4000), replies=["您好，请讲。"])
GREETED.heard = "您好"
ASKED = row(
    *(1, "speech", 8000),
    *[("speech_start", 5000), ("endpoint", 8600), ("first_audio", 9000), ("playback_end", 14000)],
    said="养老金查一下",
    replies=["请说密码。"],
    latencies={
        "endpoint_ms": 600, "recognised_ms": 620, "understood_ms": 700, "first_audio_ms": 1000,
    },
)  # fmt: skip
PIN = row(2, "speech", 40000, ("speech_start", 37000), ("first_audio", 41000), said="＊＊＊＊＊＊")


def test_a_turn_becomes_voices_waits_and_barge_ins() -> None:
    shown = strip(records(GREETED, ASKED))
    assert shown.hotline == [Utterance(0.2, 4.0, "您好——"), Utterance(9.0, 14.0, "请说密码。")]
    assert shown.caller == [Utterance(5.0, 8.0, "养老金查一下")]
    stages = (("endpoint", 8.6), ("recognised", 8.62), ("understood", 8.7), ("first_audio", 9.0))
    assert shown.waits == [Wait(8.0, stages)]
    assert shown.barge_ins == [4.0]
    assert shown.end == 14.0


def test_a_turn_from_before_timelines_is_drawn_by_its_latencies() -> None:
    old = row(1, "speech", 8000, said="好", replies=["再", "见"], end_ms=12000)
    old.latencies = {"first_audio_ms": 1000}
    shown = strip(records(old))
    assert shown.caller == [Utterance(8.0, 8.0, "好")]
    assert shown.hotline == [Utterance(9.0, 12.0, "再见")]


def test_a_reply_goes_on_after_a_cough() -> None:
    marks = [("first_audio", 200), ("barge_in", 900), ("first_audio", 2000), ("playback_end", 3000)]
    went_on = row(0, "start", 0, *marks, replies=["第一句。第二句。", "第二句。"], heard="第一")
    shown = strip(records(went_on))
    assert shown.hotline == [
        Utterance(0.2, 0.9, "第一句。第二句。"),
        Utterance(2.0, 3.0, "第二句。"),
    ]


def test_silence_and_words_that_were_not_heard_are_named() -> None:
    shown = strip(records(row(0, "silence", 6000), row(1, "speech", 9000), row(2, "keys", 9500)))
    assert [each.words for each in shown.caller] == ["（没有说话）", "（没听清）", "[]"]


def recording(folder: Path) -> Path:
    """65 s: the caller speaks from 5 s on and not where the PIN is, the hotline from 9 s on."""
    voice, rate = soundfile.read(ROOT / "audio/demo/1.wav", dtype="int16")
    assert rate == RATE
    pcm = np.zeros((LENGTH_S * RATE, 2), np.int16)
    for side, at in ((0, 5), (1, 9)):
        pcm[at * RATE : at * RATE + 3 * RATE, side] = voice[: 3 * RATE]
    file = folder / "call.wav"
    soundfile.write(file, pcm, RATE)
    return file


def call_record(file: str | None) -> CallRecord:
    return CallRecord(call_id="c", channel="sip", caller="", started_at=STARTED, recording=file)


class Picture:
    """The pixels of a PNG."""

    def __init__(self, file: Path) -> None:
        self.pixels = imread(file)[:, :, :3]

    def ink(self, lane: float, begin: float, end: float) -> float:
        """Share of dark pixels from `begin` to `end` (s), a little off the middle of a lane."""
        row, width = int(begin // ROW_S), WIDTH_IN - 2 * MARGIN_IN
        top = HEAD_IN + (row + 1) * ROW_IN - (ROW_IN - 0.3) * (0.5 + (lane + 0.1) / 4.6)
        left, right = (
            round((MARGIN_IN + (at - row * ROW_S) / ROW_S * width) * DPI) for at in (begin, end)
        )
        return float((self.pixels[round(top * DPI), left:right].mean(axis=1) < 0.7).mean())


CALLER, HOTLINE = 0.8, -0.8


def test_voices_are_drawn_where_they_are(tmp_path: Path) -> None:
    file, wav = tmp_path / "call.png", recording(tmp_path)
    draw(call_record(str(wav)), records(GREETED, ASKED, PIN), listen(wav), file)
    picture = Picture(file)
    height = round((HEAD_IN + 3 * ROW_IN + MARGIN_IN) * DPI)
    assert picture.pixels.shape == (height, WIDTH_IN * DPI, 3), "three rows for 65 s"
    assert picture.ink(CALLER, 5.2, 8.0) > 0.3
    assert picture.ink(HOTLINE, 9.2, 12.0) > 0.3
    assert picture.ink(CALLER, 12.0, 29.0) == picture.ink(HOTLINE, 14.5, 29.0) == 0
    assert picture.ink(CALLER, 37.0, 40.0) == 0, "a PIN that is not recorded is not drawn"


def test_without_a_recording_the_timeline_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "call.png"
    draw(call_record(None), records(GREETED, ASKED, PIN), None, file)
    picture = Picture(file)
    assert picture.ink(CALLER, 5.1, 7.9) == picture.ink(HOTLINE, 9.1, 13.9) == 1
    assert picture.ink(CALLER, 37.1, 39.9) == 1
    assert picture.ink(CALLER, 9.0, 29.0) == 0


def test_the_callers_voice_is_found(tmp_path: Path) -> None:
    voiced = listen(recording(tmp_path)).voiced
    assert 4.9 < voiced[0][0] < 5.5
    assert voiced[-1][1] < 8.6, "the hotline's side is not the caller's"


@pytest.mark.filterwarnings("error")  # matplotlib warns of a character that the font lacks
def test_without_a_chinese_font_words_are_in_pinyin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chinese_font, "find", lambda: None)
    written = call_picture._Writer().lines("养老金", 10.0)
    assert written == "yǎng lǎo jīn"
    draw(call_record(None), records(GREETED, ASKED), None, tmp_path / "call.png")


def test_long_words_end_in_an_ellipsis() -> None:
    written = call_picture._Writer().lines("长" * 200, 3.0).split("\n")
    assert len(written) == call_picture.LINES
    assert written[-1].endswith("…")


# The command


def kept(url: str, folder: Path, file: str | None) -> list[str]:
    """A call in the database; the arguments of the command that shows it."""

    async def write() -> None:
        chosen = settings.load(overrides=[f"backend.database='{url}'"])
        async with CallRecords(chosen, folder / "spool") as writer:
            writer.started(CallRow("call-1", "sip", "", STARTED, STARTED, recording=file))
            for turn in (GREETED, ASKED):
                writer.turn(turn)

    asyncio.run(write())
    return ["--set", f"backend.database='{url}'", "calls", "show", "call-1", "--picture"]


def test_the_command_draws_a_call(
    sqlite_databases: Databases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shows = kept(sqlite_databases.empty(), tmp_path, str(recording(tmp_path)))
    file = tmp_path / "pictures" / "one.png"
    assert cli.main([*shows, str(file)]) == 0
    assert Picture(file).ink(CALLER, 5.2, 8.0) > 0.3
    told = capsys.readouterr()
    assert "养老金查一下" in told.out
    assert f"picture: {file}" in told.err


def test_a_lost_recording_is_said_and_the_rest_is_drawn(
    sqlite_databases: Databases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shows = kept(sqlite_databases.empty(), tmp_path, str(tmp_path / "lost.wav"))
    file = tmp_path / "one.png"
    assert cli.main([*shows, str(file)]) == 0
    assert Picture(file).ink(CALLER, 5.1, 7.9) == 1
    assert "hotline: drawn without its recording: " in capsys.readouterr().err
    (tmp_path / "blocked").touch()
    assert cli.main([*shows, str(tmp_path / "blocked" / "one.png")]) == 1
    assert "one.png cannot be written: " in capsys.readouterr().err
