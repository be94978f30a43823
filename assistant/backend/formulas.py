"""The formulas of social insurance: one function a rule, each with its source. No I/O, no words.

Months are text ("1972-03"), lengths of time are counted in months, money is Decimal yuan rounded
to the fen (ROUND_HALF_UP). Callers check their input first: outside the stated ranges the
functions raise ValueError.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

from assistant.backend.columns import FEN
from assistant.backend.months import shift

Category = Literal["men", "women_55", "women_50"]
"""Men; women whose age was 55 (management and technical posts); women whose age was 50."""


@dataclass(frozen=True, slots=True)
class _Delay:
    """How one category's retirement age rises."""

    base: int
    """Age before the reform, in months."""
    first_month: str
    """The first month of birth that is concerned."""
    step: int
    """One more month of delay for so many months of birth."""
    most: int
    """Months of delay at the end."""


_DELAYS: dict[Category, _Delay] = {
    "men": _Delay(720, "1965-01", 4, 36),
    "women_55": _Delay(660, "1970-01", 4, 36),
    "women_50": _Delay(600, "1975-01", 2, 60),
}
"""全国人大常委会 2024-09-13 决定 一; 国务院关于渐进式延迟法定退休年龄的办法 1条."""

FLEXIBLE_MONTHS = 36
"""Earlier or later at one's own wish, at most (国务院办法 3条)."""


@dataclass(frozen=True, slots=True)
class Retirement:
    """When a person reaches the statutory retirement age."""

    delay: int
    """Months later than before the reform; 0: not concerned by it."""
    age: int
    """Months."""
    month: str
    earliest: str | None
    """The choice of an earlier month; None where the reform does not apply."""
    latest: str | None


def retirement(born: str, category: Category) -> Retirement:
    """The statutory retirement month of a person born in the month `born`."""
    rule = _DELAYS[category]
    later = _months_between(rule.first_month, born)
    delay = 0 if later < 0 else min(later // rule.step + 1, rule.most)
    age = rule.base + delay
    if not delay:
        return Retirement(0, age, shift(born, age), None, None)
    return Retirement(
        delay,
        age,
        shift(born, age),
        # Never before the age that held without the reform.
        shift(born, max(rule.base, age - FLEXIBLE_MONTHS)),
        shift(born, age + FLEXIBLE_MONTHS),
    )


def minimum_months(year: int) -> int:
    """Months of contributions needed by who reaches retirement age in `year` (办法 2条).

    15 years until 2029, then half a year more each year, 20 years from 2039.
    """
    return min(max(180, 180 + 6 * (year - 2029)), 240)


_DIVISORS = dict(
    enumerate(
        (
            *(233, 230, 226, 223, 220, 216, 212, 208, 204, 199),
            *(195, 190, 185, 180, 175, 170, 164, 158, 152, 145),
            *(139, 132, 125, 117, 109, 101, 93, 84, 75, 65, 56),
        ),
        start=40,
    )
)
"""Months over which an account is paid out, by age in years (国发〔2005〕38号, annex)."""

YOUNGEST, OLDEST = 40 * 12, 70 * 12
"""Months of age between which the table knows a divisor."""


def divisor(age: int) -> Decimal:
    """Months over which the personal account is paid out, for an age in months.

    Between whole years linear, rounded to a tenth: as 济南 published it for 2025; no nationwide
    table by the month is known.
    """
    if not YOUNGEST <= age <= OLDEST:
        raise ValueError(f"age {age} months is outside {YOUNGEST} to {OLDEST}")
    years, months = divmod(age, 12)
    here = Decimal(_DIVISORS[years])
    if not months:
        return here
    share = (here - _DIVISORS[years + 1]) * months / 12
    return (here - share).quantize(Decimal("0.1"), ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Pension:
    """An estimate by the month, in yuan."""

    basic: Decimal
    account: Decimal
    total: Decimal
    divisor: Decimal


def pension(base: Decimal, index: Decimal, months: int, balance: Decimal, age: int) -> Pension:
    """Employees' pension without the transitional part (国发〔2005〕38号 六).

    `base` is the province's 计发基数, `index` the average contribution index, `balance` the
    personal account, `months` those of contributions, `age` that at retirement, in months.
    """
    months_paid = divisor(age)
    basic = _fen((base + base * index) / 2 * months / 12 / 100)
    account = _fen(balance / months_paid)
    return Pension(basic, account, basic + account, months_paid)


RESIDENT_DIVISOR = 139
"""国发〔2014〕8号 六."""


def resident_pension(basic: Decimal, balance: Decimal) -> Decimal:
    """Residents' pension by the month: the basic pension and a 139th of the account."""
    return _fen(basic + balance / RESIDENT_DIVISOR)


def unemployment_months(months: int, carried: int = 0) -> int:
    """The longest time of unemployment benefit (社会保险法 46条); 0: not entitled.

    `months` of contributions since the last benefit, `carried` months of benefit not drawn then.
    """
    if months < 12:
        return 0
    own = 12 if months < 60 else 18 if months < 120 else 24
    return min(own + carried, 24)


_LUMP_MONTHS = (27, 25, 23, 21, 18, 16, 13, 11, 9, 7)
_ALLOWANCE_PERCENT = (90, 85, 80, 75, 70, 60)


@dataclass(frozen=True, slots=True)
class Injury:
    """What an assessed injury at work brings, in yuan."""

    wage: Decimal
    """The wage that counts: within 60 % and 300 % of the average, where that is known."""
    lump_months: int
    lump: Decimal
    allowance_percent: int | None
    allowance: Decimal | None
    """By the month; grades 7 to 10 have none."""
    paid_by_employer: bool
    """Grades 5 and 6: the employer pays the allowance where it has no fitting work."""


def injury(
    grade: int, wage: Decimal, average: Decimal | None = None, minimum: Decimal | None = None
) -> Injury:
    """Lump sum and allowance by grade (工伤保险条例 35—37条, 64条).

    `wage` is the mean monthly contribution wage of the 12 months before; `average` the mean
    wage and `minimum` the minimum wage of the place.
    """
    if average is not None:
        wage = min(max(wage, average * 60 / 100), average * 3)
    months = _LUMP_MONTHS[grade - 1]
    if grade > len(_ALLOWANCE_PERCENT):
        return Injury(_fen(wage), months, _fen(wage * months), None, None, False)
    percent = _ALLOWANCE_PERCENT[grade - 1]
    allowance = _fen(max(wage * percent / 100, minimum or Decimal(0)))
    return Injury(_fen(wage), months, _fen(wage * months), percent, allowance, grade >= 5)


_DISPOSABLE_INCOME = {2024: 51821, 2025: 54188, 2026: 56502}
"""Year of death at work → disposable income of urban residents in the year before, in yuan."""


def death_at_work(year: int) -> Decimal | None:
    """The lump sum for a death at work (工伤保险条例 39条); None for years not known here."""
    income = _DISPOSABLE_INCOME.get(year)
    return None if income is None else Decimal(income * 20)


@dataclass(frozen=True, slots=True)
class Flexible:
    """What a person pays who insures themselves, in yuan."""

    monthly: Decimal
    to_account: Decimal
    to_pool: Decimal
    yearly: Decimal


def flexible_limits(average: Decimal) -> tuple[Decimal, Decimal]:
    """The lowest and the highest base that may be chosen (国办发〔2019〕13号)."""
    return _fen(average * 60 / 100), _fen(average * 3)


def flexible(base: Decimal) -> Flexible:
    """20 % of the chosen base, 8 % of it to the own account (国发〔2005〕38号 三)."""
    monthly, to_account = _fen(base * 20 / 100), _fen(base * 8 / 100)
    return Flexible(monthly, to_account, monthly - to_account, monthly * 12)


def _months_between(first: str, last: str) -> int:
    return (int(last[:4]) - int(first[:4])) * 12 + int(last[5:]) - int(first[5:])


def _fen(value: Decimal) -> Decimal:
    return value.quantize(FEN, ROUND_HALF_UP)
