"""Calculators over the telephone: which value is still missing, and what comes out.

The words are in configs/calculators.yaml, the arithmetic in formulas.py. A calculator is asked
with what is known so far, and answers with the next question, a refusal of one value, or the
result. Values are text as the service API takes them: months "1972-03", lengths of time in
months, money in yuan; UNKNOWN where the caller does not know it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError

from assistant import parameters
from assistant.backend import formulas
from assistant.backend.contract import ApiError, Ask, Calculated, Problem, Unfit
from assistant.backend.months import MONTH, month_of
from assistant.backend.wording import Value, render, served
from assistant.parameters import Parameter
from assistant.settings import ROOT, ConfigError

FILE = ROOT / "configs" / "calculators.yaml"

UNKNOWN = "unknown"
"""The caller does not know the value."""

Given = Mapping[str, str]
Result = tuple[str, dict[str, Value]]
"""The key of the reply, and what is filled in."""


@dataclass(frozen=True, slots=True)
class _Place:
    """What is known of the place and the day."""

    parameters: Mapping[str, Parameter]
    province: str | None
    today: date

    def number(self, name: str, given: str | None) -> tuple[Decimal, bool]:
        """The caller's number, the province's, or the example; and whether it is only that."""
        if given not in (None, UNKNOWN):
            return Decimal(str(given)), False
        parameter = self.parameters[name]
        own = parameter.number(self.province)
        assert parameter.example is not None
        return (parameter.example, True) if own is None else (own, False)


def length(months: int) -> str:
    """Months as people say them: 15年6个月, 15年, 6个月."""
    years, rest = divmod(months, 12)
    return (f"{years}年" if years else "") + (f"{rest}个月" if rest or not years else "")


def _age(months: int) -> str:
    years, rest = divmod(months, 12)
    return f"{years}岁" + (f"{rest}个月" if rest else "")


_WHO = {"men": "男职工", "women_55": "管理技术岗的女职工", "women_50": "工人岗的女职工"}


def _needs_retirement(given: Given) -> list[str]:
    return ["born", "gender", *(["post"] if given.get("gender") == "female" else [])]


def _category(given: Given) -> formulas.Category:
    if given["gender"] == "male":
        return "men"
    return "women_55" if given["post"] == "management" else "women_50"


def _retirement(given: Given, place: _Place) -> Result:
    born = given["born"]
    if given["gender"] == "female" and given["post"] == UNKNOWN:
        worker = formulas.retirement(born, "women_50")
        manager = formulas.retirement(born, "women_55")
        return "either", {
            "born": born,
            "worker_month": worker.month,
            "worker_age": _age(worker.age),
            "manager_month": manager.month,
            "manager_age": _age(manager.age),
        }
    category = _category(given)
    found = formulas.retirement(born, category)
    values: dict[str, Value] = {
        "born": born,
        "who": _WHO[category],
        "month": found.month,
        "age": _age(found.age),
        "years": length(formulas.minimum_months(int(found.month[:4]))),
        "earliest": found.earliest,
        "latest": found.latest,
    }
    if not found.delay:
        return "unaffected", values
    return "reached" if found.month <= month_of(place.today) else "done", values


def _needs_minimum_years(given: Given) -> list[str]:
    return _needs_retirement(given) if "born" in given and "year" not in given else ["year"]


def _minimum_years(given: Given, place: _Place) -> Result:
    if "year" in given:
        year = int(given["year"])
    else:
        # Women who do not know their post: the later age, for which more years are needed.
        known = {**given, "post": given.get("post", "").replace(UNKNOWN, "management")}
        year = int(formulas.retirement(known["born"], _category(known)).month[:4])
    return "done", {"year": year, "years": length(formulas.minimum_months(year))}


def _pension(given: Given, place: _Place) -> Result:
    months = int(given["months"])
    if months < formulas.minimum_months(place.today.year):
        return "too_short", {"paid": length(months)}
    age = int(given["age"])
    base, example = place.number("pension_base", given.get("base"))
    index = Decimal("1.0") if given["index"] == UNKNOWN else Decimal(given["index"])
    balance = Decimal(given["balance"])
    found = formulas.pension(base, index, months, balance, age)
    return "done", {
        "total": found.total,
        "basic": found.basic,
        "account": found.account,
        "paid": length(months),
        "balance": balance,
        "age": _age(age),
        "divisor": f"{found.divisor.normalize():f}",
        "index": f"{index.normalize():f}",
        "index_assumed": "没说的按1" if given["index"] == UNKNOWN else None,
        "base": base,
        "base_example": "只是举例" if example else None,
    }


def _resident_pension(given: Given, place: _Place) -> Result:
    basic, example = place.number("resident_basic_pension", given.get("basic"))
    balance = Decimal(given["balance"])
    return "done", {
        "total": formulas.resident_pension(basic, balance),
        "basic": basic,
        "balance": balance,
        "basic_example": "只是举例" if example else None,
    }


def _unemployment(given: Given, place: _Place) -> Result:
    months = int(given["months"])
    carried = int(given.get("carried", "0"))
    longest = formulas.unemployment_months(months, carried)
    values: dict[str, Value] = {
        "paid": length(months),
        "longest": longest,
        "carried": carried or None,
    }
    return ("done" if longest else "too_short"), values


def _injury(given: Given, place: _Place) -> Result:
    average = None if given["average"] == UNKNOWN else Decimal(given["average"])
    minimum = place.parameters["minimum_wage"].number(place.province)
    if "minimum" in given:
        minimum = Decimal(given["minimum"])
    grade, said = int(given["grade"]), Decimal(given["wage"])
    found = formulas.injury(grade, said, average, minimum)
    payer = "由单位按月发" if found.paid_by_employer else "由工伤保险基金按月发"
    return "done", {
        "grade": grade,
        "wage": found.wage,
        "limited": "按规定的上下限折算后" if found.wage != said else None,
        "unlimited": "没有算上下限" if average is None else None,
        "lump_months": found.lump_months,
        "lump": found.lump,
        "allowance": found.allowance,
        "percent": found.allowance_percent,
        "payer": None if found.allowance is None else payer,
        "only_if": "难以安排工作的" if found.paid_by_employer else None,
        "none": "七到十级" if found.allowance is None else None,
        "floor": "补到最低工资" if found.allowance is not None and minimum is None else None,
    }


def _flexible(given: Given, place: _Place) -> Result:
    average: Decimal | None = None
    example = False
    if given.get("average", UNKNOWN) != UNKNOWN:
        average = Decimal(given["average"])
    else:
        average = place.parameters["average_wage"].number(place.province)
    if given["base"] == UNKNOWN:
        example = average is None
        lowest, _ = formulas.flexible_limits(place.number("average_wage", given.get("average"))[0])
        base = lowest
    else:
        base = Decimal(given["base"])
        if average is not None:
            lowest, highest = formulas.flexible_limits(average)
            if not lowest <= base <= highest:
                return "outside", {"base": base, "lowest": lowest, "highest": highest}
    found = formulas.flexible(base)
    return "done", {
        "base": base,
        "base_example": "只是举例" if example else None,
        "monthly": found.monthly,
        "to_account": found.to_account,
        "to_pool": found.to_pool,
        "yearly": found.yearly,
    }


@dataclass(frozen=True, slots=True)
class _Calculator:
    needs: Callable[[Given], list[str]]
    """The inputs in the order in which they are asked; which ones may depend on those given."""
    work_out: Callable[[Given, _Place], Result]
    takes: tuple[str, ...]
    """Every input it understands."""
    replies: tuple[str, ...] = ("done",)
    asks_again: Mapping[str, str] = field(default_factory=dict)
    """Replies that refuse an input once all are known, and which one."""


CALCULATORS: dict[str, _Calculator] = {
    "retirement": _Calculator(
        _needs_retirement,
        _retirement,
        ("born", "gender", "post"),
        ("done", "reached", "unaffected", "either"),
    ),
    "minimum_years": _Calculator(
        _needs_minimum_years, _minimum_years, ("year", "born", "gender", "post")
    ),
    "pension": _Calculator(
        lambda given: ["months", "balance", "age", "index", "base"],
        _pension,
        ("months", "balance", "age", "index", "base"),
        ("done", "too_short"),
    ),
    "resident_pension": _Calculator(
        lambda given: ["balance", "basic"], _resident_pension, ("balance", "basic")
    ),
    "unemployment": _Calculator(
        lambda given: ["months"], _unemployment, ("months", "carried"), ("done", "too_short")
    ),
    "injury": _Calculator(
        lambda given: ["grade", "wage", "average"],
        _injury,
        ("grade", "wage", "average", "minimum"),
    ),
    "flexible": _Calculator(
        lambda given: ["base"],
        _flexible,
        ("base", "average"),
        ("done", "outside"),
        {"outside": "base"},
    ),
}

_OPTIONAL = frozenset({"post", "index", "base", "basic", "average"})
"""What a caller may not know: the calculators go on without it."""

_RANGES: dict[str, tuple[Decimal, Decimal]] = {
    name: (Decimal(least), Decimal(most))
    for name, (least, most) in {
        "year": ("2025", "2090"),
        "months": ("0", "720"),
        "carried": ("0", "24"),
        "age": (str(formulas.YOUNGEST), str(formulas.OLDEST)),
        "index": ("0.6", "3"),
        "grade": ("1", "10"),
        "wage": ("1", "1000000"),
        "average": ("500", "100000"),
        "minimum": ("100", "20000"),
        "base": ("100", "1000000"),
        "basic": ("1", "20000"),
        "balance": ("0", "10000000"),
    }.items()
}
"""What can be true at all; outside, the caller is asked again."""

_WHOLE = frozenset({"year", "months", "carried", "age", "grade"})
_EARLIEST_BIRTH = 1920
_YOUNGEST_WORKER = 14

_CHOICES = {"gender": {"male", "female"}, "post": {"management", "worker"}}


def fits(name: str, value: str, today: date) -> bool:
    """Whether a value of this input can be true."""
    if value == UNKNOWN:
        return name in _OPTIONAL
    if name in _CHOICES:
        return value in _CHOICES[name]
    if not value.isascii():
        return False
    if name == "born":
        if not MONTH.fullmatch(value):
            return False
        return _EARLIEST_BIRTH <= int(value[:4]) <= today.year - _YOUNGEST_WORKER
    if not re.fullmatch(r"\d{1,9}(\.\d{1,4})?", value):
        return False
    try:
        number = Decimal(value)
    except InvalidOperation:
        return False
    if name in _WHOLE and number != number.to_integral_value():
        return False
    least, most = _RANGES[name]
    return least <= number <= most


Words = Annotated[str, AfterValidator(lambda text: "".join(text.split()))]
"""YAML folds lines with a space that nobody speaks."""


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    ask: Words
    unfit: Words
    """Said when the value cannot be true; asks again."""


class _Wording(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    basis: str
    inputs: dict[str, _Question]
    replies: dict[str, Words]


_WORDINGS = TypeAdapter(dict[str, _Wording])


def load_wording(file: Path = FILE) -> dict[str, _Wording]:
    """The words of all calculators; raises ConfigError that names file and field."""
    try:
        values: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        wording = _WORDINGS.validate_python(values)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{file}: {where}: {first['msg']}") from None
    for name, calculator in CALCULATORS.items():
        if name not in wording:
            raise ConfigError(f"{file}: no words for the calculator {name}; add it")
        for part, wanted, there in (
            ("inputs", calculator.takes, wording[name].inputs),
            ("replies", calculator.replies, wording[name].replies),
        ):
            if set(wanted) != set(there):
                raise ConfigError(f"{file}: {name}.{part}: needs exactly {', '.join(wanted)}")
    if unknown := set(wording) - set(CALCULATORS):
        raise ConfigError(f"{file}: no calculator {', '.join(sorted(unknown))}")
    return wording


class Calculators:
    """All calculators with their words and the parameters of the provinces."""

    def __init__(
        self,
        wording: Mapping[str, _Wording] | None = None,
        places: Mapping[str, Parameter] | None = None,
    ) -> None:
        """Raises ConfigError where the words or the parameters are broken."""
        self._wording = wording or load_wording()
        self._parameters = places or parameters.load()

    def calculate(
        self, name: str, inputs: Given, province: str | None, today: date
    ) -> Ask | Unfit | Calculated:
        """The next question, a value that cannot be, or the result.

        Raises ApiError for an unknown calculator or input.
        """
        calculator = CALCULATORS.get(name)
        if calculator is None:
            message = f"no calculator {name}; there are {', '.join(CALCULATORS)}"
            raise ApiError(404, Problem(error="not_found", message=message))
        wording = self._wording[name]
        for each, value in inputs.items():
            if each not in calculator.takes:
                message = f"{name} takes {', '.join(calculator.takes)}"
                raise ApiError(422, Problem(error="invalid", message=message, field=each))
            if not fits(each, value, today):
                return Unfit(input=each, spoken=wording.inputs[each].unfit)
        needs = calculator.needs(inputs)
        for each in needs:
            if each not in inputs and not self._known(each, province):
                return Ask(input=each, spoken=wording.inputs[each].ask)
        reply, values = calculator.work_out(inputs, _Place(self._parameters, province, today))
        spoken = render(wording.replies[reply], values)
        if reply in calculator.asks_again:
            return Unfit(input=calculator.asks_again[reply], spoken=spoken)
        return Calculated(
            reply=reply,
            spoken=spoken,
            basis=wording.basis,
            values={key: served(value) for key, value in values.items()},
        )

    def _known(self, name: str, province: str | None) -> bool:
        """Whether the caller's province gives the value, so that nobody needs to ask."""
        return name == "base" and self._parameters["pension_base"].number(province) is not None

    def sentences(self) -> list[str]:
        """Everything that is said, values in braces."""
        texts: list[str] = []
        for wording in self._wording.values():
            for question in wording.inputs.values():
                texts += [question.ask, question.unfit]
            texts += wording.replies.values()
        return texts
