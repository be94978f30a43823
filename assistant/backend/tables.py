"""The tables of the service of record: who is insured, and what happened to their business.

A change here needs a revision in `migrations/versions`; a test holds the two together.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from assistant.backend.columns import Instant, Money


class Base(DeclarativeBase):
    """All tables of the hotline, the call records included."""

    type_annotation_map = {Decimal: Money, datetime: Instant, dict[str, Any]: JSON}  # noqa: RUF012


def owner() -> Mapped[int]:
    """The column that says whose row it is; the row goes when the person goes."""
    return mapped_column(ForeignKey("person.person_id", ondelete="CASCADE"), index=True)


class PensionAccount(Base):
    """The personal account of the employees' pension."""

    __tablename__ = "pension_account"
    person_id: Mapped[int] = mapped_column(
        ForeignKey("person.person_id", ondelete="CASCADE"), primary_key=True
    )
    balance: Mapped[Decimal]
    principal: Mapped[Decimal]
    interest: Mapped[Decimal]
    as_of: Mapped[date]


class Enrolment(Base):
    """One insurance a person is or was in."""

    __tablename__ = "enrolment"
    __table_args__ = (UniqueConstraint("person_id", "kind"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = owner()
    kind: Mapped[str] = mapped_column(String(8))
    """emp, res, une or inj."""
    mode: Mapped[str] = mapped_column(String(16))
    """unit, flexible, extension or none."""
    status: Mapped[str] = mapped_column(String(16))
    region: Mapped[str | None] = mapped_column(String(6))
    employer: Mapped[str | None] = mapped_column(String(100))
    first_month: Mapped[str | None] = mapped_column(String(7))
    last_paid_month: Mapped[str | None] = mapped_column(String(7))
    months: Mapped[int]
    deemed_months: Mapped[int]


class Contribution(Base):
    """One month of one insurance."""

    __tablename__ = "contribution"
    __table_args__ = (UniqueConstraint("person_id", "kind", "month"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = owner()
    kind: Mapped[str] = mapped_column(String(8))
    month: Mapped[str] = mapped_column(String(7))
    base: Mapped[Decimal]
    unit_amount: Mapped[Decimal]
    personal_amount: Mapped[Decimal]
    status: Mapped[str] = mapped_column(String(8))
    """paid, unpaid or refunded."""


class Benefit(Base):
    """A monthly benefit."""

    __tablename__ = "benefit"
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = owner()
    kind: Mapped[str] = mapped_column(String(16))
    """pension_emp, pension_res, injury or unemployment."""
    monthly: Mapped[Decimal]
    adjustment: Mapped[Decimal | None]
    """What the latest yearly adjustment added a month."""
    adjustment_year: Mapped[int | None]
    start_month: Mapped[str] = mapped_column(String(7))
    paid_through: Mapped[str] = mapped_column(String(7))
    status: Mapped[str] = mapped_column(String(16))
    """paying, suspended or stopped."""
    reason: Mapped[str | None] = mapped_column(String(200))
    suspended_on: Mapped[date | None]


class BenefitPayment(Base):
    """One month of a benefit as it was paid out."""

    __tablename__ = "benefit_payment"
    __table_args__ = (UniqueConstraint("benefit_id", "month"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    benefit_id: Mapped[int] = mapped_column(
        ForeignKey("benefit.id", ondelete="CASCADE"), index=True
    )
    month: Mapped[str] = mapped_column(String(7))
    amount: Mapped[Decimal]
    paid_on: Mapped[date]
    bank: Mapped[str] = mapped_column(String(50))
    bank_tail: Mapped[str] = mapped_column(String(4))
    status: Mapped[str] = mapped_column(String(16))


class Card(Base):
    """A social-security card; it has no number while it is being made."""

    __tablename__ = "card"
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = owner()
    card_no: Mapped[str | None] = mapped_column(String(20), unique=True)
    bank: Mapped[str | None] = mapped_column(String(50))
    status: Mapped[str] = mapped_column(String(16))
    made_on: Mapped[date | None]
    expires_on: Mapped[date | None]
    pwd_fail_count: Mapped[int] = mapped_column(default=0)


class CardEvent(Base):
    """What happened to a card."""

    __tablename__ = "card_event"
    id: Mapped[int] = mapped_column(primary_key=True)
    card_id: Mapped[int] = mapped_column(ForeignKey("card.id", ondelete="CASCADE"), index=True)
    event: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime]
    case_no: Mapped[str | None] = mapped_column(String(14))


class ServiceCase(Base):
    """One piece of business (办件): submitted → accepted → approved | rejected → done."""

    __tablename__ = "service_case"
    case_no: Mapped[str] = mapped_column(String(14), primary_key=True)
    item_id: Mapped[str] = mapped_column(String(64))
    item_name: Mapped[str] = mapped_column(String(100))
    person_id: Mapped[int] = owner()
    call_id: Mapped[str | None] = mapped_column(String(64))
    slots: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(16))
    stage: Mapped[str | None] = mapped_column(String(100))
    """Where an open case stands, in words that can be spoken."""
    reason: Mapped[str | None] = mapped_column(String(200))
    """Why it was rejected, in words that can be spoken."""
    submitted_on: Mapped[date]
    done_on: Mapped[date | None]
    events: Mapped[list["CaseEvent"]] = relationship(lazy="raise", passive_deletes=True)


class CaseEvent(Base):
    """One step of a case."""

    __tablename__ = "case_event"
    id: Mapped[int] = mapped_column(primary_key=True)
    case_no: Mapped[str] = mapped_column(
        ForeignKey("service_case.case_no", ondelete="CASCADE"), index=True
    )
    from_status: Mapped[str | None] = mapped_column(String(16))
    to_status: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(32))
    note: Mapped[str | None] = mapped_column(String(200))


class CaseNumber(Base):
    """The last running number given out on a day."""

    __tablename__ = "case_number"
    day: Mapped[date] = mapped_column(primary_key=True)
    last: Mapped[int]


class Person(Base):
    """An insured person, with the small tables that hang on them."""

    __tablename__ = "person"
    person_id: Mapped[int] = mapped_column(primary_key=True)
    id_number: Mapped[str] = mapped_column(String(18), unique=True)
    name: Mapped[str] = mapped_column(String(50))
    sex: Mapped[str] = mapped_column(String(1))
    birth_date: Mapped[date]
    mobile: Mapped[str | None] = mapped_column(String(11))
    mobile_changed_on: Mapped[date | None]
    hukou_region: Mapped[str] = mapped_column(String(6))
    hukou_type: Mapped[str] = mapped_column(String(8))
    residence_region: Mapped[str] = mapped_column(String(6))
    alive: Mapped[bool]
    death_date: Mapped[date | None]
    orig_retire_on: Mapped[date]
    retire_on: Mapped[date]

    pension_account: Mapped[PensionAccount | None] = relationship(lazy="selectin")
    enrolments: Mapped[list[Enrolment]] = relationship(lazy="selectin")
    benefits: Mapped[list[Benefit]] = relationship(lazy="selectin")
    cards: Mapped[list[Card]] = relationship(lazy="selectin", order_by=Card.id)
    cases: Mapped[list[ServiceCase]] = relationship(
        lazy="selectin", order_by=(ServiceCase.submitted_on, ServiceCase.case_no)
    )

    def enrolment(self, kind: str) -> Enrolment | None:
        """The enrolment of this kind, if there is one."""
        return next((row for row in self.enrolments if row.kind == kind), None)

    def benefit(self, kind: str) -> Benefit | None:
        """The benefit of this kind, if there is one."""
        return next((row for row in self.benefits if row.kind == kind), None)

    @property
    def card(self) -> Card | None:
        """The newest card, or the one being made."""
        return self.cards[-1] if self.cards else None

    def open_case(self, item_id: str) -> ServiceCase | None:
        """The newest case of this item that is neither done nor rejected."""
        open_states = ("submitted", "accepted", "approved")
        cases = [c for c in self.cases if c.item_id == item_id and c.status in open_states]
        return cases[-1] if cases else None
