"""What a service item says: named facts, computed from the record.

`COMMON` can be used by any text of any item. A query's file names one of `ANSWERS`, which
adds its own facts; the names a text may use are checked when the file is read.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.backend.columns import FEN
from assistant.backend.months import month_of, shift
from assistant.backend.rules import Asked
from assistant.backend.tables import BenefitPayment, Contribution
from assistant.backend.wording import CARD_STATES, CASE_STAGES, Value

Facts = dict[str, Value]

COMMON = ("card_state", "card_tail", "case_stage", "case_tail")


def common(asked: Asked) -> Facts:
    """Facts about the person's card and about an open case of this item."""
    card, case = asked.person.card, asked.person.open_case(asked.item_id)
    return {
        "card_state": CARD_STATES[card.status] if card else "没有卡",
        "card_tail": card.card_no[-4:] if card and card.card_no else None,
        "case_stage": CASE_STAGES[case.status] if case else None,
        "case_tail": case.case_no[-4:] if case else None,
    }


Compute = Callable[[AsyncSession, Asked], Awaitable[Facts]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A set of facts that item files can ask for by name."""

    names: tuple[str, ...]
    compute: Compute


ANSWERS: dict[str, Answer] = {}


def answer(name: str, *names: str) -> Callable[[Compute], Compute]:
    """Register a computation and the names of the facts it gives."""

    def register(compute: Compute) -> Compute:
        ANSWERS[name] = Answer(names, compute)
        return compute

    return register


@answer("pension_account", "as_of", "balance", "principal", "interest", "emp_months")
async def pension_account(session: AsyncSession, asked: Asked) -> Facts:
    """The personal account of the employees' pension."""
    account, enrolment = asked.person.pension_account, asked.person.enrolment("emp")
    assert account  # EMP_BALANCE holds
    return {
        "as_of": account.as_of,
        "balance": account.balance,
        "principal": account.principal,
        "interest": account.interest,
        "emp_months": enrolment.months if enrolment else None,
    }


KINDS = {"养老": "emp", "失业": "une", "工伤": "inj"}


@answer(
    "contributions",
    *("kind", "total_months", "last_paid", "nothing", "from", "to", "months"),
    *("unit_amount", "personal_amount", "avg_base", "missing"),
)
async def contributions(session: AsyncSession, asked: Asked) -> Facts:
    """Months paid in a period; without one, the twelve months up to the last on record.

    A person who has stopped paying asks about the years they paid in, not about this year.
    """
    kind = KINDS[asked.slots["insurance_kind"]]
    enrolment = asked.person.enrolment(kind)
    newest = enrolment.last_paid_month if enrolment else None
    this_month = month_of(asked.today)
    to = min(asked.slots.get("month_to") or newest or this_month, this_month)
    since = asked.slots.get("month_from") or shift(to, -11)
    found = await session.scalars(
        select(Contribution).where(
            Contribution.person_id == asked.person.person_id,
            Contribution.kind == kind,
            Contribution.month.between(since, to),
        )
    )
    rows = list(found)
    paid = [row for row in rows if row.status == "paid"]
    return {
        "kind": asked.slots["insurance_kind"],
        "total_months": enrolment.months if enrolment else None,
        "last_paid": newest,
        "nothing": None if paid else "没有缴费记录",
        "from": since,
        "to": to,
        "months": len(paid) or None,
        "unit_amount": sum((row.unit_amount for row in paid), Decimal(0)) or None,
        "personal_amount": sum((row.personal_amount for row in paid), Decimal(0)) or None,
        "avg_base": (sum(row.base for row in paid) / Decimal(len(paid))).quantize(FEN)
        if paid
        else None,
        "missing": len([row for row in rows if row.status == "unpaid"]) or None,
    }


@answer(
    "pension_payments",
    *("monthly", "adjust", "suspended", "reason", "last_month", "paid_date"),
    *("bank_name", "bank_tail", "amount", "from", "to", "count", "total_amount", "nothing"),
)
async def pension_payments(session: AsyncSession, asked: Asked) -> Facts:
    """The latest payment, and the sum of a period where one was asked for."""
    benefit = asked.person.benefit("pension_emp")
    assert benefit  # PEN_EMP holds
    since, to = asked.slots.get("month_from"), asked.slots.get("month_to")
    wanted = select(BenefitPayment).where(BenefitPayment.benefit_id == benefit.id)
    if since:
        wanted = wanted.where(BenefitPayment.month >= since)
    if to:
        wanted = wanted.where(BenefitPayment.month <= to)
    rows = list(await session.scalars(wanted.order_by(BenefitPayment.month)))
    period = bool(since or to) and bool(rows)
    last = rows[-1] if rows else None
    this_year = benefit.adjustment_year == asked.today.year
    return {
        "monthly": benefit.monthly,
        "adjust": benefit.adjustment if this_year else None,
        "suspended": "暂停发放" if benefit.status == "suspended" else None,
        "reason": benefit.reason,
        "last_month": last.month if last else None,
        "paid_date": last.paid_on if last else None,
        "bank_name": last.bank if last else None,
        "bank_tail": last.bank_tail if last else None,
        "amount": last.amount if last else None,
        "from": rows[0].month if period else None,
        "to": rows[-1].month if period else None,
        "count": len(rows) if period else None,
        "total_amount": sum((row.amount for row in rows), Decimal(0)) if period else None,
        "nothing": None if rows else "没有发放记录",
    }


@answer("case", "submitted_on", "item_name", "case_tail", "case_stage", "at_stage", "reason")
async def case(session: AsyncSession, asked: Asked) -> Facts:
    """The case with the number given, or else the latest one."""
    wanted = asked.slots.get("case_no")
    cases = [row for row in asked.person.cases if wanted in (None, row.case_no)]
    latest = cases[-1]  # HAS_CASE and CASE_FOUND hold
    return {
        "submitted_on": latest.submitted_on,
        "item_name": latest.item_name,
        "case_tail": latest.case_no[-4:],
        "case_stage": CASE_STAGES[latest.status],
        "at_stage": latest.stage,
        "reason": latest.reason,
    }
