"""Guards the arithmetic: what a caller is told about age, months and money is exact.

tests/data/retirement.csv holds 408 months of birth, computed independently; the statute's own
words are walked through month by month in `_by_the_statute`.
"""

import csv
import random
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest

from assistant.backend import formulas
from assistant.backend.formulas import Category
from assistant.backend.months import shift

TABLE = Path(__file__).parent / "data" / "retirement.csv"
CATEGORIES: dict[str, Category] = {"男": "men", "女55": "women_55", "女50": "women_50"}


def _rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_every_row_of_the_table() -> None:
    rows = _rows()
    assert len(rows) == 408
    for row in rows:
        found = formulas.retirement(row["出生年月"], CATEGORIES[row["类别"]])
        years, months = divmod(found.age, 12)
        age = f"{years}岁" + (f"{months}个月" if months else "")
        assert (str(found.delay), age, found.month, found.earliest, found.latest) == (
            row["延迟月数"],
            row["法定退休年龄"],
            row["退休年月"],
            row["弹性最早退休年月"],
            row["弹性最晚退休年月"],
        ), row


def _by_the_statute(born: str, category: Category) -> tuple[str, str | None, str | None]:
    """From 2025 on, each 4 (or 2) months of former retirement dates add one month of delay."""
    former, step, cap = {
        "men": (60 * 12, 4, 63 * 12),
        "women_55": (55 * 12, 4, 58 * 12),
        "women_50": (50 * 12, 2, 55 * 12),
    }[category]
    due = shift(born, former)
    if due < "2025-01":
        return due, None, None
    age, walked, group = former, "2025-01", 0
    while True:
        if group % step == 0 and age < cap:
            age += 1
        if walked == due:
            break
        walked, group = shift(walked, 1), group + 1
    statutory = shift(born, age)
    earliest = statutory
    for _ in range(36):  # at most three years earlier, never below the former age
        if earliest == due:
            break
        earliest = shift(earliest, -1)
    return statutory, earliest, shift(statutory, 36)


def test_a_thousand_dates_against_the_statutes_words() -> None:
    dice = random.Random(2025)
    for _ in range(1000):
        born = f"{dice.randint(1940, 2009)}-{dice.randint(1, 12):02d}"
        category = dice.choice(get_args(Category))
        found = formulas.retirement(born, category)
        assert (found.month, found.earliest, found.latest) == _by_the_statute(born, category), (
            born,
            category,
        )


@pytest.mark.parametrize(
    ("born", "category", "month", "earliest", "latest"),
    [
        ("1966-05", "men", "2026-10", "2026-05", "2029-10"),
        ("1972-11", "women_55", "2028-08", "2027-11", "2031-08"),
        ("1978-06", "women_50", "2030-03", "2028-06", "2033-03"),
        ("1964-12", "men", "2024-12", None, None),
        ("1990-03", "women_50", "2045-03", "2042-03", "2048-03"),
    ],
)
def test_retirement_examples(
    born: str, category: Category, month: str, earliest: str | None, latest: str | None
) -> None:
    found = formulas.retirement(born, category)
    assert (found.month, found.earliest, found.latest) == (month, earliest, latest)


@pytest.mark.parametrize(
    ("year", "months"),
    [
        *((2025, 180), (2029, 180), (2030, 186), (2031, 192), (2032, 198), (2033, 204)),
        *((2034, 210), (2035, 216), (2036, 222), (2037, 228), (2038, 234), (2039, 240)),
        (2060, 240),
    ],
)
def test_minimum_years(year: int, months: int) -> None:
    assert formulas.minimum_months(year) == months


@pytest.mark.parametrize(
    ("years", "months", "divisor"),
    [
        (60, 0, "139"),
        (60, 1, "138.4"),
        (50, 1, "194.6"),
        (60, 5, "136.1"),
        (63, 0, "117"),
        (55, 0, "170"),
        (47, 0, "208"),
        (70, 0, "56"),
        (40, 0, "233"),
    ],
)
def test_divisor(years: int, months: int, divisor: str) -> None:
    assert formulas.divisor(years * 12 + months) == Decimal(divisor)


@pytest.mark.parametrize("age", [39 * 12 + 11, 70 * 12 + 1])
def test_no_divisor_outside_the_table(age: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        formulas.divisor(age)


@pytest.mark.parametrize(
    ("base", "index", "months", "balance", "age", "basic", "account", "total"),
    [
        (8000, "1.0", 180, 60000, 720, "1200.00", "431.65", "1631.65"),
        (8000, "0.6", 240, 72000, 756, "1280.00", "615.38", "1895.38"),
        (9500, "1.2", 366, 180000, 725, "3187.25", "1322.56", "4509.81"),
    ],
)
def test_pension_examples(
    base: int,
    index: str,
    months: int,
    balance: int,
    age: int,
    basic: str,
    account: str,
    total: str,
) -> None:
    found = formulas.pension(Decimal(base), Decimal(index), months, Decimal(balance), age)
    assert (found.basic, found.account, found.total) == tuple(map(Decimal, (basic, account, total)))


def test_resident_pension_example() -> None:
    assert formulas.resident_pension(Decimal(163), Decimal(30000)) == Decimal("378.83")


@pytest.mark.parametrize(
    ("months", "carried", "longest"),
    [
        *((36, 0, 12), (100, 4, 22), (150, 6, 24), (8, 0, 0), (11, 12, 0), (12, 0, 12)),
        *((59, 0, 12), (60, 0, 18), (119, 0, 18), (120, 0, 24)),
    ],
)
def test_unemployment_examples(months: int, carried: int, longest: int) -> None:
    assert formulas.unemployment_months(months, carried) == longest


@pytest.mark.parametrize(
    ("grade", "wage", "average", "counted", "lump", "allowance", "employer"),
    [
        (1, 5000, 8000, "5000", "135000", "4500", False),
        (5, 3000, 8000, "4800", "86400", "3360", True),
        (10, 30000, 9000, "27000", "189000", None, False),
        (6, 3000, 5500, "3300", "52800", "2200", True),
    ],
)
def test_injury_examples(
    grade: int,
    wage: int,
    average: int,
    counted: str,
    lump: str,
    allowance: str | None,
    employer: bool,
) -> None:
    found = formulas.injury(grade, Decimal(wage), Decimal(average), Decimal(2200))
    assert (found.wage, found.lump) == (Decimal(counted), Decimal(lump))
    assert found.allowance == (None if allowance is None else Decimal(allowance))
    assert found.paid_by_employer is employer


def test_every_grade_has_its_months() -> None:
    lumps = [formulas.injury(grade, Decimal(1)).lump_months for grade in range(1, 11)]
    assert lumps == [27, 25, 23, 21, 18, 16, 13, 11, 9, 7]


@pytest.mark.parametrize(
    ("year", "amount"), [(2024, 1036420), (2025, 1083760), (2026, 1130040), (2030, None)]
)
def test_death_at_work(year: int, amount: int | None) -> None:
    assert formulas.death_at_work(year) == (None if amount is None else Decimal(amount))


@pytest.mark.parametrize(
    ("base", "monthly", "account", "pool", "yearly"),
    [
        (4800, 960, 384, 576, 11520),
        (8000, 1600, 640, 960, 19200),
        (24000, 4800, 1920, 2880, 57600),
    ],
)
def test_flexible_examples(base: int, monthly: int, account: int, pool: int, yearly: int) -> None:
    found = formulas.flexible(Decimal(base))
    parts = [found.monthly, found.to_account, found.to_pool, found.yearly]
    assert parts == [Decimal(part) for part in (monthly, account, pool, yearly)]


def test_flexible_limits() -> None:
    assert formulas.flexible_limits(Decimal(8000)) == (Decimal(4800), Decimal(24000))
