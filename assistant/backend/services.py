"""Checks and carries out service items for a caller who has proved who they are."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.backend import effects, facts
from assistant.backend.access_tables import AccessLog, HandledRequest
from assistant.backend.clock import Clock
from assistant.backend.contract import Allowed, ApiError, Done, Problem, Refused
from assistant.backend.database import Database, DatabaseUnavailable
from assistant.backend.items import Item
from assistant.backend.pins import Caller, Identities
from assistant.backend.rules import RULES, Asked
from assistant.backend.tables import Person
from assistant.backend.wording import render, served

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Access(Generic[Answer]):
    """An answer, and who got it: nothing is answered without being put on record."""

    answer: Answer
    caller: Caller
    result: str


class Services:
    """The service items over one database."""

    def __init__(
        self, items: Mapping[str, Item], database: Database, identities: Identities, clock: Clock
    ) -> None:
        self.items = items
        self._database = database
        self._identities = identities
        self._clock = clock

    async def check(self, token: str, item_id: str, slots: Mapping[str, str]) -> Allowed | Refused:
        """Whether the caller may have the item. Raises ApiError, DatabaseUnavailable."""
        item = self._item(item_id)
        checked = read_slots(item, slots)

        async def look(session: AsyncSession) -> _Access[Allowed | Refused]:
            caller, asked = await self._asked(session, token, item, checked)
            if refused := first_refusal(item, asked):
                return _Access(refused, caller, f"refused {refused.code}")
            words = {**facts.common(asked), **asked.slots}
            confirm = render(item.confirm, words) if item.confirm else None
            allowed = Allowed(confirm=confirm, protected=item.protected)
            return _Access(allowed, caller, "allowed")

        return await self._look(item, look)

    async def run(
        self,
        token: str,
        item_id: str,
        slots: Mapping[str, str],
        *,
        confirmed: bool,
        request_id: str,
    ) -> Done | Refused:
        """Carry the item out, once for each request id. Raises ApiError, DatabaseUnavailable."""
        item = self._item(item_id)
        checked = read_slots(item, slots)
        if item.effect is None:
            return await self._look(item, lambda s: self._query(s, token, item, checked))
        if not confirmed:
            message = "read `confirm` of the check to the caller, then send confirmed: true"
            raise ApiError(409, Problem(error="conflict", message=message, field="confirmed"))
        async with self._database.writing() as session:
            access = await self._handle(session, token, item, checked, request_id)
            self._record(session, item, access)
        return access.answer

    def _item(self, item_id: str) -> Item:
        if item := self.items.get(item_id):
            return item
        raise ApiError(404, Problem(error="not_found", message="no such service item"))

    async def _asked(
        self,
        session: AsyncSession,
        token: str,
        item: Item,
        slots: Mapping[str, str],
        *,
        lock: bool = False,
    ) -> tuple[Caller, Asked]:
        """Who asks, and their record; `lock` keeps others off it until the transaction ends."""
        caller = await self._identities.caller(session, token)
        if caller is None:
            message = "the token is unknown or has expired; prove identity again"
            raise ApiError(401, Problem(error="unauthorized", message=message))
        wanted = select(Person).where(Person.person_id == caller.person_id)
        found = await session.execute(wanted.with_for_update() if lock else wanted)
        return caller, Asked(found.scalar_one(), item.id, slots, self._clock.today())

    async def _query(
        self, session: AsyncSession, token: str, item: Item, slots: Mapping[str, str]
    ) -> _Access[Done | Refused]:
        caller, asked = await self._asked(session, token, item, slots)
        if refused := first_refusal(item, asked):
            return _Access(refused, caller, f"refused {refused.code}")
        return _Access(await self._reply(session, item, asked, None), caller, "done")

    async def _handle(
        self,
        session: AsyncSession,
        token: str,
        item: Item,
        slots: Mapping[str, str],
        request_id: str,
    ) -> _Access[Done | Refused]:
        caller, asked = await self._asked(session, token, item, slots, lock=True)
        request = await self._claim(session, caller, item, request_id)
        if request.answer is not None:
            return _Access(Done.model_validate(request.answer), caller, "repeated")
        if refused := first_refusal(item, asked):
            # A refusal changes nothing, so the same request may be tried again.
            await session.execute(
                delete(HandledRequest).where(HandledRequest.request_id == request_id)
            )
            return _Access(refused, caller, f"refused {refused.code}")
        now = self._clock.now()
        case = await effects.open_case(
            session, self._database, asked, item.name, caller.call_id, now
        )
        assert item.effect
        await effects.EFFECTS[item.effect](session, asked, case, now)
        done = await self._reply(session, item, asked, case.case_no)
        request.answer = done.model_dump(mode="json")
        return _Access(done, caller, "done")

    async def _claim(
        self, session: AsyncSession, caller: Caller, item: Item, request_id: str
    ) -> HandledRequest:
        """The row of this request; its `answer` is set when it was carried out before."""
        await self._database.insert_or_ignore(
            session,
            HandledRequest,
            request_id=request_id,
            person_id=caller.person_id,
            item_id=item.id,
            answer=None,
        )
        request = await session.get_one(HandledRequest, request_id)
        if (request.person_id, request.item_id) != (caller.person_id, item.id):
            message = "this request_id was used for other business"
            raise ApiError(409, Problem(error="conflict", message=message, field="request_id"))
        return request

    async def _reply(
        self, session: AsyncSession, item: Item, asked: Asked, case_no: str | None
    ) -> Done:
        words = {**facts.common(asked), **asked.slots}
        found = await facts.ANSWERS[item.answer].compute(session, asked) if item.answer else {}
        return Done(
            spoken=render(item.reply, {**words, **found}),
            values={name: served(value) for name, value in found.items()},
            case_no=case_no,
        )

    async def _look(
        self, item: Item, look: Callable[[AsyncSession], Awaitable[_Access[Answer]]]
    ) -> Answer:
        """Read a record and put the access on record; a read-only database is read all the
        same, and the access goes to the log of the process instead.
        """
        try:
            async with self._database.writing() as session:
                access = await look(session)
                self._record(session, item, access)
            return access.answer
        except DatabaseUnavailable as error:
            if not error.read_only:
                raise
        async with self._database.reading() as session:
            access = await look(session)
        log.warning(
            "the database is read-only; access not in access_log: call %s person %d item %s %s",
            access.caller.call_id,
            access.caller.person_id,
            item.id,
            access.result,
        )
        return access.answer

    def _record(self, session: AsyncSession, item: Item, access: _Access[Any]) -> None:
        session.add(
            AccessLog(
                call_id=access.caller.call_id,
                person_id=access.caller.person_id,
                item_id=item.id,
                auth_level=access.caller.auth_level,
                at=self._clock.now(),
                result=access.result,
            )
        )


def read_slots(item: Item, given: Mapping[str, str]) -> dict[str, str]:
    """The slots with their defaults; empty ones count as not given.

    Raises ApiError 422 that names the slot.
    """
    known = {slot.name for slot in item.slots}
    if unknown := sorted(set(given) - known):
        raise _bad_slot(unknown[0], f"{item.id} has no such slot")
    slots = {}
    for slot in item.slots:
        value = given.get(slot.name) or slot.default
        if value is None:
            if slot.required:
                raise _bad_slot(slot.name, "is required")
            continue
        if fault := slot.fault(value):
            raise _bad_slot(slot.name, fault)
        slots[slot.name] = value
    return slots


def _bad_slot(name: str, message: str) -> ApiError:
    return ApiError(422, Problem(error="invalid", message=message, field=f"slots.{name}"))


def first_refusal(item: Item, asked: Asked) -> Refused | None:
    """The first precondition that does not hold, in the words of the item's file."""
    for precondition in item.preconditions:
        if not RULES[precondition.code](asked):
            words = {**facts.common(asked), **asked.slots}
            spoken = render(item.failures[precondition.code], words)
            return Refused(code=precondition.code, spoken=spoken)
    return None
