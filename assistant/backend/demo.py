"""Puts the demo persons into the database; monthly rows are derived from their totals."""

from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import ROUND_HALF_UP, Decimal

from argon2 import PasswordHasher
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.backend.access_tables import AuthState, PinFailures
from assistant.backend.clock import CHINA
from assistant.backend.columns import FEN
from assistant.backend.database import Database
from assistant.backend.id_number import id_hash
from assistant.backend.months import shift, span
from assistant.backend.persons import DemoPerson, DemoPersons, EmployeePension, Pension
from assistant.backend.tables import (
    Benefit,
    BenefitPayment,
    Card,
    CaseEvent,
    Contribution,
    Enrolment,
    PensionAccount,
    Person,
    ServiceCase,
)

BASE_GROWTH = Decimal("1.05")
"""Bases of earlier years are invented: five per cent lower a year, in whole tens of yuan."""

INTEREST_SHARE_A_YEAR = Decimal("0.012")
"""The invented part of a balance that is interest, for each year since the first contribution."""

PAY_DAY = 15
"""Day of the month on which demo pensions arrive."""

RATES = {
    ("emp", "unit"): (Decimal("0.16"), Decimal("0.08")),
    ("emp", "flexible"): (Decimal(0), Decimal("0.20")),
    ("une", "unit"): (Decimal("0.008"), Decimal("0.002")),
    ("inj", "unit"): (Decimal("0.002"), Decimal(0)),
}
"""(kind, mode) → the employer's and the person's share of the base. The pension's are the
national ones; unemployment and injury differ by place and are samples."""


async def load_demo_persons(database: Database, persons: DemoPersons) -> None:
    """Put every demo person back to how the file tells them; other persons stay untouched.

    Raises DatabaseUnavailable.
    """
    numbers = [person.id_number for person in persons.persons]
    hashes = [id_hash(number) for number in numbers]
    hasher = PasswordHasher()
    pin_hashes = {person.key: hasher.hash(person.pin) for person in persons.persons}
    async with database.writing() as session:
        await session.execute(delete(PinFailures).where(PinFailures.id_hash.in_(hashes)))
        await session.execute(delete(Person).where(Person.id_number.in_(numbers)))
        for person in persons.persons:
            await _add(session, person, persons.as_of, pin_hashes[person.key])


async def _add(session: AsyncSession, demo: DemoPerson, as_of: date, pin_hash: str) -> None:
    person = _person(demo)
    session.add(person)
    await session.flush()
    owner = person.person_id
    moment = datetime.combine(as_of, time(), CHINA)
    session.add(AuthState(person_id=owner, pin_hash=pin_hash, pin_set_at=moment))
    session.add_all(_enrolments(demo, owner))
    session.add_all(_contributions(demo, owner))
    if demo.emp:
        session.add(_account(demo.emp, owner, as_of))
    if demo.pen:
        benefit = _benefit(demo.pen, owner)
        session.add(benefit)
        await session.flush()
        session.add_all(_payments(demo, demo.pen, benefit.id))
    if demo.card:
        session.add(_card(demo, owner))
    for row in _cases(demo, owner):
        session.add(row)
        await session.flush()
        session.add(_last_step(row))


def _person(demo: DemoPerson) -> Person:
    return Person(
        id_number=demo.id_number,
        name=demo.name,
        sex=demo.sex,
        birth_date=demo.birth,
        mobile=demo.mobile,
        mobile_changed_on=demo.mobile_changed_on,
        hukou_region=demo.hukou,
        hukou_type=demo.hukou_type,
        residence_region=demo.residence,
        alive=demo.alive,
        death_date=demo.death_date,
        orig_retire_on=demo.orig_retire_on,
        retire_on=demo.retire_on,
    )


def _enrolments(demo: DemoPerson, owner: int) -> Iterator[Enrolment]:
    emp = demo.emp
    if emp:
        yield Enrolment(
            person_id=owner,
            kind="emp",
            mode=emp.mode,
            status=emp.state,
            region=emp.place,
            employer=emp.employer,
            first_month=emp.first,
            last_paid_month=emp.last_paid,
            months=emp.months,
            deemed_months=emp.deemed,
        )
    if demo.res:
        yield Enrolment(
            person_id=owner,
            kind="res",
            mode="none",
            status=demo.res.state,
            region=demo.res.place,
            months=demo.res.years * 12,
            deemed_months=0,
        )
    if emp and demo.une:
        yield Enrolment(
            person_id=owner,
            kind="une",
            mode="unit",
            status=demo.une.state,
            region=emp.place,
            first_month=shift(emp.last_paid, 1 - demo.une.months),
            last_paid_month=emp.last_paid,
            months=demo.une.months,
            deemed_months=0,
        )
    if emp and demo.inj:
        yield Enrolment(
            person_id=owner,
            kind="inj",
            mode="unit",
            status="active",
            region=emp.place,
            first_month=emp.first,
            last_paid_month=emp.last_paid,
            months=emp.months,
            deemed_months=0,
        )


def paid_months(emp: EmployeePension) -> list[str]:
    """As many paid months as the record counts; a gap, if there must be one, lies early on."""
    months = [month for month in span(emp.first, emp.last_paid) if month not in emp.arrears]
    gap = len(months) - emp.months
    start = (len(months) - gap) // 3
    return months[:start] + months[start + gap :]


def _contributions(demo: DemoPerson, owner: int) -> Iterator[Contribution]:
    emp = demo.emp
    if emp is None:
        return
    paid = paid_months(emp)
    months = {"emp": paid}
    if demo.une:
        months["une"] = span(shift(emp.last_paid, 1 - demo.une.months), emp.last_paid)
    if demo.inj:
        months["inj"] = paid
    for kind, kind_months in months.items():
        unit_rate, personal_rate = RATES[kind, emp.mode if kind == "emp" else "unit"]
        if kind == "une" and demo.une and not demo.une.personal_paid:
            personal_rate = Decimal(0)
        for month in sorted(kind_months + (emp.arrears if kind == "emp" else [])):
            base = _base(emp, month)
            yield Contribution(
                person_id=owner,
                kind=kind,
                month=month,
                base=base,
                unit_amount=_fen(base * unit_rate),
                personal_amount=_fen(base * personal_rate),
                status="unpaid" if month in emp.arrears and kind == "emp" else "paid",
            )


def _base(emp: EmployeePension, month: str) -> Decimal:
    years_before = int(emp.last_paid[:4]) - int(month[:4])
    return (emp.base / BASE_GROWTH**years_before / 10).to_integral_value(ROUND_HALF_UP) * 10


def _account(emp: EmployeePension, owner: int, as_of: date) -> PensionAccount:
    years = as_of.year - int(emp.first[:4])
    interest = _fen(emp.balance * INTEREST_SHARE_A_YEAR * years)
    return PensionAccount(
        person_id=owner,
        balance=emp.balance,
        principal=emp.balance - interest,
        interest=interest,
        as_of=as_of,
    )


def _benefit(pension: Pension, owner: int) -> Benefit:
    latest = max(pension.adjustments, key=lambda a: a.year, default=None)
    return Benefit(
        person_id=owner,
        kind=f"pension_{pension.type}",
        monthly=pension.monthly,
        adjustment=latest.added if latest else None,
        adjustment_year=latest.year if latest else None,
        start_month=pension.start,
        paid_through=pension.paid_through,
        status=pension.state,
        reason=pension.reason,
        suspended_on=pension.suspended_on,
    )


def _payments(demo: DemoPerson, pension: Pension, benefit_id: int) -> Iterator[BenefitPayment]:
    for month in span(pension.start, pension.paid_through):
        later = [a.added for a in pension.adjustments if a.year > int(month[:4])]
        yield BenefitPayment(
            benefit_id=benefit_id,
            month=month,
            amount=pension.monthly - sum(later),
            paid_on=date(int(month[:4]), int(month[5:]), PAY_DAY),
            bank=demo.card.bank if demo.card else "示范银行",
            bank_tail=demo.bank_account[-4:],
            status="paid",
        )


def _card(demo: DemoPerson, owner: int) -> Card:
    assert demo.card
    return Card(
        person_id=owner,
        card_no=demo.card.number,
        bank=demo.card.bank,
        status=demo.card.state,
        made_on=demo.card.made_on,
        expires_on=demo.card.expires,
    )


def _cases(demo: DemoPerson, owner: int) -> Iterator[ServiceCase]:
    for case in demo.cases:
        yield ServiceCase(
            case_no=case.case_no,
            item_id=case.item,
            item_name=case.item_name,
            person_id=owner,
            slots={},
            status=case.status,
            stage=case.stage,
            reason=case.reason,
            submitted_on=case.submitted_on,
            done_on=case.done_on,
        )


def _last_step(case: ServiceCase) -> CaseEvent:
    return CaseEvent(
        case_no=case.case_no,
        to_status=case.status,
        at=datetime.combine(case.done_on or case.submitted_on, time(9), CHINA),
        by="counter",
        note=case.reason,
    )


def _fen(amount: Decimal) -> Decimal:
    return amount.quantize(FEN, ROUND_HALF_UP)
