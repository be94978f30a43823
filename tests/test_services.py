"""Guards the service items: who gets an answer, in which words, and what a wrong file is told.

Who succeeds and who is refused with which code is the expectation of each item for the twelve
demo persons; money and dates must come out as they are on record.
"""

import shutil
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from assistant.backend.app import make_app
from assistant.backend.clock import Clock, clock_from
from assistant.backend.database import Database
from assistant.backend.id_number import check_digit, is_id_number
from assistant.backend.items import SERVICES_FOLDER, load_items
from assistant.backend.months import shift, span
from assistant.backend.persons import PERSONS_FILE, load_persons
from assistant.backend.wording import Value, render, served, written
from assistant.settings import ConfigError
from tests.api import PERSONS, Api, HeldClock

REFUSED = {
    "q_pension_account": {"P02": "EMP_BALANCE", "P10": "ALIVE", "P12": "EMP_BALANCE"},
    "q_contribution_detail": {"P02": "HAS_CONTRIB", "P10": "ALIVE", "P12": "HAS_CONTRIB"},
    "q_pension_payment": {key: "PEN_EMP" for key in PERSONS if key not in ("P01", "P10")}
    | {"P10": "ALIVE"},
    "q_case_progress": {"P10": "ALIVE", "P11": "HAS_CASE"},
    "card_lost": {
        "P02": "CARD_LOSABLE",
        "P05": "CARD_LOSABLE",
        "P06": "CARD_LOSABLE",
        "P08": "CARD_NOT_LOST_YET",
        "P10": "ALIVE",
        "P12": "CARD_LOSABLE",
    },
}


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    """The service on 2026-11-23."""
    async with TestClient(TestServer(make_app(database, load_items(), HeldClock()))) as client:
        yield Api(client)


@pytest.mark.parametrize("item", REFUSED)
async def test_each_demo_person_gets_what_the_record_says(api: Api, item: str) -> None:
    for key in PERSONS:
        token = await api.token(key, f"call-{key}")
        answer = await api.run(item, token, confirmed=True, request_id=f"{item}-{key}")
        assert answer.get("code") == REFUSED[item].get(key), key
        assert "{" not in answer["spoken"]
        if answer["outcome"] == "done":
            assert answer["spoken"].startswith(("查到了。", "办好了。"))


@pytest.mark.parametrize(
    ("key", "item", "slots", "spoken"),
    [
        (
            *("P01", "q_pension_account", {}),
            "查到了。您职工养老个人账户一共有58214.36元。其中本金34462.9元，利息23751.46元。"
            "累计缴费372个月，数据截至2026年11月23日。",
        ),
        (
            *("P01", "q_pension_payment", {}),
            "查到了。您每月养老金4186.5元。最近一笔是2026年11月的4186.5元，2026年11月15日到账，"
            "发到示范银行尾号0018的账户。今年调整每月加了79.4元。",
        ),
        (
            *("P01", "q_pension_payment", {"month_from": "2025-12", "month_to": "2026-01"}),
            "查到了。您每月养老金4186.5元。2025年12月到2026年1月一共发了2笔，合计8293.6元。"
            "最近一笔是2026年1月的4186.5元，2026年1月15日到账，发到示范银行尾号0018的账户。"
            "今年调整每月加了79.4元。",
        ),
        (
            *("P01", "q_pension_payment", {"month_from": "2020-01", "month_to": "2020-02"}),
            "查到了。您每月养老金4186.5元。您问的这段时间没有发放记录。今年调整每月加了79.4元。",
        ),
        (
            *("P01", "q_pension_payment", {"month_from": "2026-12"}),
            "起始的月份要在终止的月份之前，也不能晚于这个月。请您再说一遍从哪个月到哪个月。",
        ),
        (
            *("P08", "q_contribution_detail", {}),
            "查到了。您的养老保险累计缴了186个月，最近一次是2026年10月。"
            "2025年11月到2026年10月缴了9个月，您个人一共缴9814元，平均基数5452.22元。"
            "这段时间还有3个月欠缴。",
        ),
        (
            *("P03", "q_contribution_detail", {"insurance_kind": "工伤", "month_from": "2026-10"}),
            "查到了。您的工伤保险累计缴了146个月，最近一次是2026年10月。"
            "2026年10月到2026年10月缴了1个月，单位一共缴19.6元，平均基数9800元。",
        ),
        (
            *("P11", "q_contribution_detail", {"month_from": "2026-01", "month_to": "2026-06"}),
            "查到了。您的养老保险累计缴了26个月，最近一次是1996年4月。"
            "2026年1月到2026年6月没有缴费记录。",
        ),
        (
            *("P04", "q_case_progress", {}),
            "查到了。您2024年4月2日报的失业保险关系转移接续，现在是没通过，受理号尾号0007。"
            "原因是转出地查无失业保险缴费记录。",
        ),
        (
            *("P06", "q_case_progress", {"case_no": "GD202609150044"}),
            "查到了。您2026年9月15日报的工伤医疗费用申报，现在是没通过，受理号尾号0044。"
            "原因是缺少住院费用明细清单。",
        ),
        (
            *("P06", "q_case_progress", {"case_no": "GD202611220061"}),
            "您名下没有这个受理号。您可以再报一遍，或者说“没有”，我帮您查最近一笔。",
        ),
        (
            *("P02", "card_lost", {}),
            "您的社保卡现在是已到期，没有可以挂失的卡。",
        ),
    ],
)
async def test_what_is_said(
    api: Api, key: str, item: str, slots: dict[str, str], spoken: str
) -> None:
    answer = await api.run(item, await api.token(key), confirmed=True, **slots)
    assert answer["spoken"] == spoken


async def test_values_are_exact_money_and_iso_dates(api: Api) -> None:
    answer = await api.run("q_pension_account", await api.token("P01"))
    assert answer["values"] == {
        "as_of": "2026-11-23",
        "balance": "58214.36",
        "principal": "34462.90",
        "interest": "23751.46",
        "emp_months": 372,
    }


async def test_a_formal_report_of_loss_needs_the_counter(api: Api) -> None:
    answer = await api.check("card_lost", await api.token("P01"), lost_kind="正式挂失")
    assert answer["code"] == "LOSS_BY_PHONE"
    assert "身份证" in answer["spoken"]


async def test_no_reply_tells_how_many_days_a_temporary_loss_lasts() -> None:
    item = load_items()["card_lost"]
    for text in (item.reply, item.confirm or "", *item.failures.values()):
        assert "七天" not in text
        assert "7天" not in text


# Item files


def test_a_new_query_is_a_file_and_nothing_else(tmp_path: Path) -> None:
    written_by_an_operator = """
id: q_interest
name: 利息查询
kind: query
auth: id_plus_pin
preconditions: [{code: EMP_BALANCE, rule: 有储存额}]
answer: pension_account
reply: 查到了。利息{interest}元。
failures: {EMP_BALANCE: 没有查到。}
basis: 示例
"""
    (tmp_path / "q_interest.yaml").write_text(written_by_an_operator, encoding="utf-8")
    assert list(load_items(tmp_path)) == ["q_interest"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("code: ALIVE", "code: ALIFE", "no rule ALIFE"),
        ("  ALIVE: ", "  DEAD: ", "failures: need one text for each code"),
        ("{balance}", "{ballance}", "reply: no value {ballance}"),
        ("answer: pension_account", "answer: pension", "answer: no pension"),
        ("kind: query", "kind: handle", "needs effect and confirm"),
        ("kind: query", "kind: ask", "kind: Input should be 'query'"),
        ("auth: id_plus_pin", "auth: none", "auth: Input should be 'id_plus_pin'"),
        ("basis: ", "bases: ", "basis: Field required"),
        ("id: q_pension_account", "id: q_other", "name the file q_other.yaml"),
        ("preconditions:", "preconditions: [", "cannot be read"),
    ],
)
def test_a_wrong_item_file_is_named_with_its_field(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    file = tmp_path / "q_pension_account.yaml"
    text = (SERVICES_FOLDER / file.name).read_text(encoding="utf-8")
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_items(tmp_path)
    assert str(file) in str(caught.value)
    assert told in str(caught.value)


def test_a_folder_without_items_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no service items"):
        load_items(tmp_path)


def test_a_wrong_person_is_named_with_the_field(tmp_path: Path) -> None:
    file = tmp_path / "persons.yaml"
    shutil.copy(PERSONS_FILE, file)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("440103196305129977", "440103196305129978"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"persons\.0\.id_number: .*check digit"):
        load_persons(file)


# Words and numbers


@pytest.mark.parametrize(
    ("template", "values", "said"),
    [
        ("一共{a}元，其中{b}元。再见。", {"a": Decimal("5.00"), "b": None}, "一共5元。再见。"),
        ("一共{a}元。原因是{b}。", {"a": Decimal("0.50"), "b": ""}, "一共0.5元。"),
        ("{a}，{b}。", {"a": None, "b": "好"}, "好。"),
        ("{a}对吗？", {"a": "好，真的。"}, "好，真的。对吗？"),
        ("{a}", {"a": "{b}"}, "{b}"),
    ],
)
def test_an_empty_value_drops_its_clause(
    template: str, values: dict[str, Value], said: str
) -> None:
    assert render(template, values) == said


def test_values_are_written_and_served() -> None:
    assert written(Decimal("1200.00")) == "1200"
    assert served(Decimal("1200")) == "1200.00"
    assert written(date(2026, 1, 5)) == "2026年1月5日"
    assert written("2026-01") == "2026年1月"
    assert written("2026-13") == "2026-13"


def test_months_count_over_the_turn_of_the_year() -> None:
    assert shift("2026-01", -1) == "2025-12"
    assert shift("2025-12", 13) == "2027-01"
    assert span("2025-11", "2026-02") == ["2025-11", "2025-12", "2026-01", "2026-02"]
    assert span("2026-02", "2026-01") == []


def test_the_check_digit_of_an_id_number() -> None:
    # The worked example of GB 11643-1999, annex A.
    assert check_digit("11010519491231002") == "X"
    assert is_id_number("11010519491231002X")
    for wrong in ("110105194912310021", "11010519490231002X", "1101051949123100 X", ""):
        assert not is_id_number(wrong)


def test_the_business_day_can_be_pinned() -> None:
    assert clock_from({"HOTLINE_TODAY": "2026-11-23"}).today() == date(2026, 11, 23)
    assert clock_from({}) == Clock()
    with pytest.raises(ConfigError, match="HOTLINE_TODAY=soon"):
        clock_from({"HOTLINE_TODAY": "soon"})
