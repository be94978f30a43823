"""The preconditions of service items, one small predicate a code.

An item's file lists the codes in the order in which they are checked; the first that does
not hold is spoken and the item ends. Rules see the person's record and the slots, and no I/O.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from assistant.backend.months import month_of
from assistant.backend.tables import Person

Slots = Mapping[str, str]
"""The checked slots of a request; defaults filled in, empty ones left out."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a rule may look at."""

    person: Person
    item_id: str
    slots: Slots
    today: date


Rule = Callable[[Asked], bool]

RULES: dict[str, Rule] = {}


def rule(code: str) -> Callable[[Rule], Rule]:
    """Register a predicate under the code that item files name."""

    def register(predicate: Rule) -> Rule:
        RULES[code] = predicate
        return predicate

    return register


@rule("ALIVE")
def alive(asked: Asked) -> bool:
    """The person is registered as living."""
    return asked.person.alive


@rule("NODUP")
def no_open_case(asked: Asked) -> bool:
    """No case of the same item is under way."""
    return asked.person.open_case(asked.item_id) is None


@rule("EMP_BALANCE")
def has_pension_balance(asked: Asked) -> bool:
    """There is money in the employees' pension account."""
    account = asked.person.pension_account
    return account is not None and account.balance > 0


@rule("HAS_CONTRIB")
def has_contributions(asked: Asked) -> bool:
    """Months of employees' pension or unemployment insurance are on record."""
    enrolments = (asked.person.enrolment(kind) for kind in ("emp", "une"))
    return any(enrolment.months > 0 for enrolment in enrolments if enrolment)


@rule("PEN_EMP")
def receives_employee_pension(asked: Asked) -> bool:
    """The employees' pension is paid, or suspended."""
    benefit = asked.person.benefit("pension_emp")
    return benefit is not None and benefit.status in ("paying", "suspended")


@rule("MONTH_ORDER")
def months_in_order(asked: Asked) -> bool:
    """The months asked for begin before they end, and not in the future."""
    start = asked.slots.get("month_from")
    end = asked.slots.get("month_to", month_of(asked.today))
    return start is None or start <= min(end, month_of(asked.today))


@rule("HAS_CASE")
def has_case(asked: Asked) -> bool:
    """Some business of this person is on record."""
    return bool(asked.person.cases)


@rule("CASE_FOUND")
def case_found(asked: Asked) -> bool:
    """The case number, where one was given, is one of the person's own."""
    wanted = asked.slots.get("case_no")
    return wanted is None or any(case.case_no == wanted for case in asked.person.cases)


@rule("LOSS_BY_PHONE")
def loss_by_phone(asked: Asked) -> bool:
    """Only the temporary report of loss can be made by telephone."""
    return asked.slots.get("lost_kind") != "正式挂失"


@rule("CARD_NOT_LOST_YET")
def card_not_lost_yet(asked: Asked) -> bool:
    """The card has not been reported lost for a time already."""
    card = asked.person.card
    return card is None or card.status != "temp_lost"


@rule("CARD_LOSABLE")
def card_losable(asked: Asked) -> bool:
    """There is a card that can be reported lost."""
    card = asked.person.card
    return card is not None and card.status in ("normal", "sealed")
