"""Guards the calculators' talk: what is asked next, what is refused, what is said at the end."""

from datetime import date
from pathlib import Path

import pytest

from assistant import parameters
from assistant.backend import calculators
from assistant.backend.calculators import Calculators
from assistant.backend.contract import ApiError, Ask, Calculated, Unfit
from assistant.settings import ConfigError

TODAY = date(2026, 11, 24)


def _calculate(name: str, province: str | None = None, **inputs: str) -> Ask | Unfit | Calculated:
    return Calculators().calculate(name, inputs, province, TODAY)


def _asked(name: str, **inputs: str) -> str:
    answer = _calculate(name, **inputs)
    assert isinstance(answer, Ask)
    return answer.input


def _result(name: str, province: str | None = None, **inputs: str) -> Calculated:
    answer = _calculate(name, province, **inputs)
    assert isinstance(answer, Calculated), answer
    assert "{" not in answer.spoken
    return answer


def test_one_missing_value_is_asked_at_a_time() -> None:
    assert _asked("retirement") == "born"
    assert _asked("retirement", born="1972-03") == "gender"
    assert _asked("retirement", born="1972-03", gender="female") == "post"
    assert _asked("retirement", gender="female") == "born"
    assert _asked("pension", months="180", age="720") == "balance"


def test_retirement_of_a_woman_in_an_office() -> None:
    found = _result("retirement", born="1972-03", gender="female", post="management")
    # From 1970-01: 26 months later, 26 // 4 + 1 = 7 months of delay on 55 years.
    assert found.values["month"] == "2027-10"
    assert "2027年10月退休，那时55岁7个月" in found.spoken


def test_a_man_has_no_post_to_tell() -> None:
    found = _result("retirement", born="1966-05", gender="male")
    assert "1966年5月出生的男职工" not in found.spoken.replace("您是1966年5月出生的男职工", "")
    assert found.values["month"] == "2026-10"
    assert found.reply == "reached", "October 2026 is over"


def test_who_does_not_know_the_post_hears_both() -> None:
    found = _result("retirement", born="1978-06", gender="female", post="unknown")
    assert "2030年3月" in found.spoken
    assert "管理技术岗" in found.spoken


def test_born_before_the_reform() -> None:
    found = _result("retirement", born="1964-12", gender="male")
    assert found.reply == "unaffected"
    assert "2024年12月" in found.spoken


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("retirement", {"born": "1850-05"}),
        ("retirement", {"born": "1972-13"}),
        ("retirement", {"born": "2020-01"}),
        ("retirement", {"born": "1972"}),
        ("retirement", {"gender": "other"}),
        ("unemployment", {"months": "960"}),
        ("unemployment", {"months": "-3"}),
        ("unemployment", {"months": "12.5"}),
        ("unemployment", {"months": "１２"}),
        ("unemployment", {"months": "unknown"}),
        ("injury", {"grade": "11"}),
        ("injury", {"grade": "0"}),
        ("pension", {"age": "300"}),
        ("pension", {"index": "5"}),
        ("pension", {"balance": "1e9"}),
        ("minimum_years", {"year": "1999"}),
    ],
)
def test_what_cannot_be_true_is_asked_again(name: str, inputs: dict[str, str]) -> None:
    answer = _calculate(name, **inputs)
    assert isinstance(answer, Unfit)
    assert answer.input in inputs
    assert answer.spoken.endswith(("？", "。"))


def test_minimum_years_from_a_year_or_from_a_birth() -> None:
    assert "15年6个月" in _result("minimum_years", year="2030").spoken
    assert "19年" in _result("minimum_years", year="2037").spoken
    by_birth = _result("minimum_years", born="1978-06", gender="female", post="worker")
    assert "2030年到退休年龄的，最低要缴满15年6个月" in by_birth.spoken


def test_pension_names_its_assumptions() -> None:
    inputs = {"months": "180", "balance": "60000", "age": "720"}
    guessed = _result("pension", **inputs, index="unknown", base="unknown")
    assert "1631.65元" in guessed.spoken
    assert "只是举例" in guessed.spoken
    assert "没说的按1" in guessed.spoken
    told = _result("pension", **inputs, index="1", base="8000")
    assert "1631.65元" in told.spoken
    assert "举例" not in told.spoken


def test_too_few_years_are_not_estimated() -> None:
    found = _result("pension", months="96", balance="1", age="720", index="1", base="8000")
    assert found.reply == "too_short"
    assert "8年" in found.spoken


@pytest.mark.parametrize(
    ("months", "said"), [("36", "12个月"), ("100", "18个月"), ("8", "不满一年")]
)
def test_unemployment(months: str, said: str) -> None:
    assert said in _result("unemployment", months=months).spoken


def test_unemployment_carried_over() -> None:
    found = _result("unemployment", months="100", carried="4")
    assert "22个月" in found.spoken
    assert "没领完的4个月" in found.spoken
    assert "没领完" not in _result("unemployment", months="100").spoken


def test_injury_with_and_without_the_local_average() -> None:
    low = _result("injury", grade="5", wage="3000", average="8000", minimum="2200")
    assert "86400元" in low.spoken
    assert "难以安排工作的，伤残津贴每月3360元，由单位按月发" in low.spoken
    plain = _result("injury", grade="10", wage="5000", average="unknown")
    assert "35000元" in plain.spoken
    assert "没有按月的伤残津贴" in plain.spoken
    assert "津贴每月" not in plain.spoken


def test_flexible_refuses_what_the_limits_exclude() -> None:
    found = _calculate("flexible", base="4000", average="8000")
    assert isinstance(found, Unfit)
    assert found.input == "base"
    assert "4800元到24000元" in found.spoken
    assert "每月交960元" in _result("flexible", base="unknown").spoken


def test_a_provinces_own_number_needs_no_question(tmp_path: Path) -> None:
    file = tmp_path / "parameters.yaml"
    text = parameters.FILE.read_text("utf-8")
    file.write_text(
        text.replace(
            "example: 8000\n  provinces: {}", "example: 8000\n  provinces: {山东: 7831}", 1
        ),
        encoding="utf-8",
    )
    known = Calculators(places=parameters.load(file))
    inputs = {"months": "180", "balance": "60000", "age": "720", "index": "1"}
    at_home = known.calculate("pension", inputs, "山东", TODAY)
    assert isinstance(at_home, Calculated)
    assert "计发基数7831元" in at_home.spoken
    assert "举例" not in at_home.spoken
    assert isinstance(known.calculate("pension", inputs, "河北", TODAY), Ask)


def test_unknown_names_are_problems() -> None:
    with pytest.raises(ApiError):
        _calculate("lottery")
    with pytest.raises(ApiError):
        _calculate("retirement", colour="red")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("    born: {ask", "    birth: {ask", "inputs: needs exactly"),
        ("    reached: >-", "    arrived: >-", "replies: needs exactly"),
        ("unemployment:\n", "joblessness:\n", "no words for the calculator unemployment"),
        ("unfit: 伤残等级", "wrong: 伤残等级", "injury.inputs.grade"),
    ],
)
def test_broken_wording_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    file = tmp_path / "calculators.yaml"
    text = calculators.FILE.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        calculators.load_wording(file)


def test_every_placeholder_is_filled() -> None:
    samples: list[tuple[str, dict[str, str]]] = [
        ("retirement", {"born": "1990-03", "gender": "female", "post": "worker"}),
        ("retirement", {"born": "1990-03", "gender": "female", "post": "unknown"}),
        ("resident_pension", {"balance": "30000", "basic": "163"}),
    ]
    for name, inputs in samples:
        assert _result(name, **inputs).spoken


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("a: {title: 甲}", "either national"),
        ("a: {title: 甲, national: 乙, example: 3}", "either national"),
        ("a: {title: 甲, national: 乙, provinces: {火星: 丙}}", "no province"),
        ("a: {title: 甲, example: 3, provinces: {山东: 多}}", "provinces"),
        ("[]", "valid dictionary"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_broken_parameter_is_named(tmp_path: Path, broken: str, told: str) -> None:
    file = tmp_path / "parameters.yaml"
    file.write_text(broken, encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        parameters.load(file)
