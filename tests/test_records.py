"""Guards the records of calls: nothing is lost while the database is away, nothing private is
kept, and no failure of the records reaches a call.
"""

import asyncio
import dataclasses
import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assistant import cli, records, settings
from assistant.backend.call_tables import CallRecord, TurnRecord
from assistant.backend.database import Database
from assistant.privacy import mask, mask_caller, mask_unfinished
from assistant.records import CallRecords, CallRow, Spool, TurnRow
from assistant.settings import Settings
from tests.database import Databases

STARTED = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


def configured(url: str) -> Settings:
    """Settings with this database."""
    return settings.load(overrides=[f"backend.database='{url}'"])


def call_row(**changes: object) -> CallRow:
    """A call that has just been answered."""
    row = CallRow("call-1", "sip", "*******8000", STARTED, STARTED, recording="var/x.wav")
    for name, value in changes.items():
        setattr(row, name, value)
    return row


def turn_row(index: int = 0, said: str = "养老金查一下") -> TurnRow:
    """A turn with everything in it."""
    return TurnRow(
        *("call-1", index, "speech", 1000, 4000, said),
        alternatives=[{"text": said, "confidence": 0.9}],
        intent="q_pension_payment",
        confidence=0.97,
        replies=["查到了。"],
        heard="查到",
        latencies={"endpoint_ms": 610, "first_audio_ms": 1100},
        sure=0.64,
        decision="implied",
        timeline=[{"mark": "speech_start", "at_ms": 1000}],
    )


def files(folder: Path) -> list[Path]:
    """What lies in a folder."""
    return list(folder.iterdir())


async def kept(url: str) -> tuple[list[CallRecord], list[TurnRecord]]:
    """What the database holds of calls."""
    database = Database(url)
    async with database.reading() as session:
        found = await records.calls(session, 10), await records.turns(session, "call-1")
    await database.close()
    return found


async def write_one_call(url: str, spool: Path) -> None:
    """A call of one turn."""
    async with CallRecords(configured(url), spool) as writer:
        row = call_row()
        writer.started(row)
        writer.turn(turn_row())
        row.ended_at, row.outcome = STARTED.replace(minute=5), "completed"
        writer.ended(row)


async def test_a_call_and_its_turns_are_kept(databases: Databases, tmp_path: Path) -> None:
    url = databases.empty()
    await write_one_call(url, tmp_path)
    [call], [turn] = await kept(url)
    assert (call.caller, call.channel, call.outcome) == ("*******8000", "sip", "completed")
    assert (call.started_at, call.ended_at) == (STARTED, STARTED.replace(minute=5))
    assert {name: getattr(turn, name) for name in dataclasses.asdict(turn_row())} == (
        dataclasses.asdict(turn_row())
    )
    assert files(tmp_path) == []


async def test_rows_wait_in_the_spool_until_the_database_is_back(
    databases: Databases, tmp_path: Path
) -> None:
    await write_one_call(databases.unreachable(), tmp_path / "spool")
    [waiting] = files(tmp_path / "spool")
    with waiting.open("a", encoding="utf-8") as file:
        file.write('{"turn": {"call_id": "cut o')  # by a disk that was full
    url = databases.empty()
    async with CallRecords(configured(url), tmp_path / "spool"):
        pass
    [call], [turn] = await kept(url)
    assert (call.outcome, turn.said) == ("completed", "养老金查一下")
    assert files(tmp_path / "spool") == []


async def test_a_read_only_database_costs_no_row(databases: Databases, tmp_path: Path) -> None:
    url = databases.copy()
    await write_one_call(databases.read_only(url), tmp_path)
    [waiting] = files(tmp_path)
    kinds = [next(iter(json.loads(line))) for line in waiting.read_text().splitlines()]
    assert kinds == ["call", "turn", "call"]


async def test_a_late_start_does_not_undo_an_end(databases: Databases, tmp_path: Path) -> None:
    url = databases.empty()
    spool = Spool(tmp_path)
    spool.add(call_row())
    spool.close()
    ended = call_row(ended_at=STARTED, outcome="completed")
    async with CallRecords(configured(url), tmp_path / "none") as writer:
        writer.ended(ended)
    async with CallRecords(configured(url), tmp_path):
        pass
    assert (await kept(url))[0][0].outcome == "completed"


async def test_the_spool_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    living = Spool(tmp_path)
    living.add(call_row())
    assert Spool(tmp_path).left_behind() == []
    living.close()
    assert len(Spool(tmp_path).left_behind()) == 1


async def test_a_full_disk_under_the_spool_hurts_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    url = f"sqlite+aiosqlite:///{blocked}/hotline.db"
    await write_one_call(url, blocked / "spool")
    assert "a row of call call-1 is lost" in caplog.text


@pytest.mark.parametrize("said", ["a\0b", "\ud83d", "👵🏻" * 5000, "\x1b[2J", ""])
async def test_whatever_was_said_can_be_kept(
    databases: Databases, tmp_path: Path, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = databases.empty()
    caplog.set_level(logging.ERROR)
    async with CallRecords(configured(url), tmp_path) as writer:
        writer.started(call_row(caller="sip:" + "1" * 200))
        writer.turn(turn_row(said=said))
    calls, turns = await kept(url)
    assert (len(calls), len(turns)) == (1, 1)
    assert caplog.text == ""


# The command


def test_past_calls_are_listed_and_shown(
    sqlite_databases: Databases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = sqlite_databases.empty()
    asyncio.run(write_one_call(url, tmp_path))
    chosen = ["--set", f"backend.database='{url}'", "calls"]
    assert cli.main([*chosen, "list"]) == 0
    assert "call-1" in capsys.readouterr().out
    assert cli.main([*chosen, "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "completed"
    assert cli.main([*chosen, "show", "call-1"]) == 0
    out = capsys.readouterr().out
    assert "养老金查一下" in out
    assert "implied, sure 0.64 · q_pension_payment 0.97" in out
    assert cli.main([*chosen, "show", "call-1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["started_at"].startswith("2026-11-23T")
    assert shown["turns"][0]["latencies"]["first_audio_ms"] == 1100
    assert cli.main([*chosen, "show", "call-2"]) == 1
    assert capsys.readouterr().err == "hotline: no call call-2; see hotline calls list\n"


# What may be kept of what was said


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("440103196305129977", "**************9977"),
        ("43012119660520997X", "**************997X"),
        ("我的号是4301211966 0520 997X", "我的号是********** **** 997X"),
        ("四四零一零三 一九六三零五一二 九九七七", "****** ******** 九九七七"),
        ("四三零一二一一九六六零五二零九九七叉", "**************九九七叉"),
        ("440103，嗯，19630512，那个9977", "******，嗯，********，那个9977"),
        ("幺三八零零一三八零零零", "*******八零零零"),
        ("138-0013-8000", "***-****-8000"),
        ("1三8零0一3八00零", "*******八00零"),
        ("受理号GD202611230001", "受理号GD********0001"),
        ("6230999000000000018", "***************0018"),
        ("密码一三五七九零", "密码******"),
        ("密码是一三，五七，嗯九零", "密码是**，**，嗯**"),
        ("1 3 5 7 9 0", "* * * * * *"),
        ("135,790", "***,***"),
        ("135.790", "***.***"),
        ("13:57:90", "**:**:**"),
        ("１３５７９０", "******"),
        ("十三五七九零", "******"),
        ("135790。", "******。"),
        ("440103196305129977 135790", "****************** ******"),
        ("密码一三五七九零，3个月", "密码******，3个月"),
        ("1963-05-12 9977", "****-**-** 9977"),
    ],
)
def test_numbers_of_persons_are_masked(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert mask(masked) == masked


@pytest.mark.parametrize(
    ("partial", "masked"),
    [
        ("密码是13579", "密码是*****"),
        ("一三五 七九 嗯", "*** ** 嗯"),
        ("44010319630", "***********"),
        ("440103196305129977", "******************"),
        ("查一下2025年的", "查一下2025年的"),
        ("", ""),
    ],
)
def test_a_number_that_may_go_on_is_masked_from_its_first_digit(partial: str, masked: str) -> None:
    assert mask(mask_unfinished(partial)) == masked


@pytest.mark.parametrize(
    "text",
    [
        "58214.36元",
        "123456.78元",
        "合计12,559.50元",
        "您职工养老个人账户一共有58214.36元。其中本金34462.9元，利息23751.46元。",
        "我五万八千二百一十四块三",
        "2026年11月23日",
        "二零二六年十一月二十三日",
        "2026-11-23",
        "2026年9月到2026年11月一共发了3笔，合计12559.5元",
        "查一下二零二五年一月到二零二六年三月",
        "12333",
        "拨打12333，每周五天，一天8小时",
        "尾号0018的账户",
        "账户余额58214。2026年的",
        "372个月",
        "百分之八，三百六十五天",
        "",
    ],
)
def test_amounts_dates_and_short_numbers_stay_readable(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("13800138000", "*******8000"),
        ("+8613800138000", "**********8000"),
        ("alice", "*****"),
        ("13800138000@pbx.example", "*" * 23),
        ("", ""),
    ],
)
def test_a_callers_number_is_kept_as_configured(number: str, masked: str) -> None:
    assert mask_caller(number, "masked") == masked
    assert mask_caller(number, "plain") == number
    assert mask_caller(number, "none") == ""
