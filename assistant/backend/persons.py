"""The demo persons' file, checked: configs/persons.yaml."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from assistant.backend.id_number import is_id_number
from assistant.backend.months import MONTH
from assistant.settings import ROOT, ConfigError

PERSONS_FILE = ROOT / "configs" / "persons.yaml"


def _checked_id_number(text: str) -> str:
    if not is_id_number(text):
        raise ValueError("not an 18-digit ID number with its check digit")
    return text


IdNumber = Annotated[str, AfterValidator(_checked_id_number)]
Month = Annotated[str, Field(pattern=f"^{MONTH.pattern}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EmployeePension(_Entry):
    """emp: the employees' pension."""

    state: str
    mode: Literal["unit", "flexible"]
    months: int = Field(ge=0)
    deemed: int = 0
    balance: Decimal
    first: Month
    last_paid: Month
    base: Decimal = Decimal(3000)
    """Yuan a month, in the last year that was paid."""
    arrears: list[Month] = []
    place: str
    employer: str | None = None


class ResidentPension(_Entry):
    """res: the residents' pension."""

    state: str
    years: int
    place: str


class Unemployment(_Entry):
    """une: unemployment insurance."""

    state: str
    months: int
    personal_paid: bool = True
    left_on: date | None = None


class Injury(_Entry):
    """inj: work-injury insurance, paid by the employer alone."""

    insured: bool


class Adjustment(_Entry):
    """What a yearly adjustment added a month, in yuan."""

    year: int
    added: Decimal


class Pension(_Entry):
    """pen: a pension that is or was paid out."""

    type: Literal["emp", "res"]
    state: Literal["paying", "suspended", "stopped"]
    monthly: Decimal
    start: Month
    paid_through: Month
    suspended_on: date | None = None
    reason: str | None = None
    adjustments: list[Adjustment] = []


class DemoCard(_Entry):
    """card: the newest social-security card."""

    state: str
    bank: str
    number: str | None = None
    made_on: date | None = None
    expires: date | None = None


class DemoCase(_Entry):
    """One case filed before the demo begins."""

    case_no: str = Field(pattern=r"^GD\d{12}$")
    item: str
    item_name: str
    status: Literal["submitted", "accepted", "approved", "rejected", "done"]
    submitted_on: date
    done_on: date | None = None
    stage: str | None = None
    reason: str | None = None


class DemoPerson(_Entry):
    """One invented person."""

    key: str
    name: str
    sex: Literal["男", "女"]
    birth: date
    id_number: IdNumber
    mobile: str = Field(pattern=r"^1\d{10}$")
    mobile_changed_on: date | None = None
    pin: str = Field(pattern=r"^\d{6}$")
    alive: bool = True
    death_date: date | None = None
    hukou: str
    hukou_type: Literal["城镇", "农村"] = "城镇"
    residence: str
    bank_account: str
    orig_retire_on: date
    retire_on: date
    story: str
    emp: EmployeePension | None = None
    res: ResidentPension | None = None
    une: Unemployment | None = None
    inj: Injury | None = None
    pen: Pension | None = None
    card: DemoCard | None = None
    cases: list[DemoCase] = []


class DemoPersons(_Entry):
    """The whole file."""

    as_of: date
    persons: list[DemoPerson]


def load_persons(file: Path = PERSONS_FILE) -> DemoPersons:
    """Read the file. Raises ConfigError that names the file and the field."""
    try:
        return DemoPersons.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{file}: {where}: {first['msg']}") from None
