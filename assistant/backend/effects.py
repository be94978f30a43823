"""What a service item that is handled (智办) writes, one function an effect."""

from collections.abc import Awaitable, Callable
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.backend.database import Database
from assistant.backend.rules import Asked
from assistant.backend.tables import CardEvent, CaseEvent, CaseNumber, ServiceCase

Effect = Callable[[AsyncSession, Asked, ServiceCase, datetime], Awaitable[None]]

EFFECTS: dict[str, Effect] = {}


def effect(name: str) -> Callable[[Effect], Effect]:
    """Register what item files name as their effect."""

    def register(write: Effect) -> Effect:
        EFFECTS[name] = write
        return write

    return register


@effect("card_temporary_loss")
async def card_temporary_loss(
    session: AsyncSession, asked: Asked, case: ServiceCase, now: datetime
) -> None:
    """The card stops working; done within the call."""
    card = asked.person.card
    assert card  # CARD_LOSABLE holds
    card.status = "temp_lost"
    session.add(CardEvent(card_id=card.id, event="temp_lost", at=now, case_no=case.case_no))
    await advance(session, case, now, "accepted", "approved", "done")
    case.done_on = asked.today


async def open_case(
    session: AsyncSession,
    database: Database,
    asked: Asked,
    item_name: str,
    call_id: str,
    now: datetime,
) -> ServiceCase:
    """A new case in the state `submitted`, with its number."""
    case = ServiceCase(
        case_no=await _next_case_number(session, database, asked.today),
        item_id=asked.item_id,
        item_name=item_name,
        person_id=asked.person.person_id,
        call_id=call_id,
        slots=dict[str, Any](asked.slots),
        status="submitted",
        submitted_on=asked.today,
    )
    session.add(case)
    await session.flush()
    session.add(CaseEvent(case_no=case.case_no, to_status="submitted", at=now, by="phone"))
    return case


async def advance(session: AsyncSession, case: ServiceCase, now: datetime, *states: str) -> None:
    """Take the case through `states` one after another, each step on record."""
    for state in states:
        session.add(
            CaseEvent(
                case_no=case.case_no,
                from_status=case.status,
                to_status=state,
                at=now,
                by="phone",
            )
        )
        case.status = state


async def _next_case_number(session: AsyncSession, database: Database, day: date) -> str:
    """GD, the day, and a running number of four digits. Raises OverflowError after 9999."""
    await database.insert_or_ignore(session, CaseNumber, day=day, last=0)
    row = (
        await session.execute(select(CaseNumber).where(CaseNumber.day == day).with_for_update())
    ).scalar_one()
    prefix = f"GD{day:%Y%m%d}"
    while True:
        row.last += 1
        if row.last > 9999:
            raise OverflowError(f"no case numbers are left for {day}")
        number = f"{prefix}{row.last:04d}"
        # A case filed elsewhere, at a counter say, may hold a number of this day.
        if await session.get(ServiceCase, number) is None:
            return number
