"""Proof of identity: ID number and PIN, three tries, a lock of a day, a token for the call."""

import asyncio
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.backend.access_tables import AccessLog, AccessToken, AuthState, PinFailures
from assistant.backend.clock import CHINA, Clock
from assistant.backend.contract import Locked, Verified, Wrong
from assistant.backend.database import Database
from assistant.backend.id_number import id_hash
from assistant.backend.tables import Person

TRIES = 3
LOCK = timedelta(hours=24)
TOKEN_LIFE = timedelta(minutes=30)
"""No proof of identity outlives a long call."""

FIRST_WRONG = "密码不对，您还可以再试两次。"
SECOND_WRONG = "还是不对。还有最后一次机会，再输错，电话办理会锁二十四小时。"
THIRD_WRONG = (
    "三次都不对。为了保护您的账户，电话查询和办理锁定二十四小时，到{until}自动解开。"
    "着急的话，可以带身份证到窗口解锁。一般的政策问题我现在照样能答。"
)
STILL_LOCKED = "您的电话办理还在锁定，到{until}解开。不用核身的问题我可以答。"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a token stands for."""

    call_id: str
    person_id: int
    auth_level: str


class Identities:
    """Checks PINs and hands out tokens."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._hasher = PasswordHasher()
        # Checked for unknown ID numbers, so that they take as long as known ones.
        self._nobodys_hash = self._hasher.hash(secrets.token_hex(8))

    async def verify(self, call_id: str, id_number: str, pin: str) -> Verified | Wrong | Locked:
        """Check one try. The try is counted before the PIN is looked at, so that tries made
        at the same time cannot exceed three. Raises DatabaseUnavailable when it cannot count.
        """
        now = self._clock.now()
        async with self._database.writing() as session:
            failures = await self._failures(session, id_number)
            if failures.locked_until and failures.locked_until > now:
                self._log(session, call_id, None, "locked", now)
                return _locked(STILL_LOCKED, failures.locked_until)
            tries_before = 0 if failures.locked_until else failures.fail_count
            failures.fail_count = tries_before + 1
            failures.locked_until = (
                _whole_minute(now + LOCK) if failures.fail_count >= TRIES else None
            )
            owner = (
                await session.execute(
                    select(Person.person_id, Person.name, AuthState.pin_hash)
                    .join(AuthState)
                    .where(Person.id_number == id_number)
                )
            ).one_or_none()
            tries, locked_until = failures.fail_count, failures.locked_until
        pin_hash = owner.pin_hash if owner else self._nobodys_hash
        right = await asyncio.to_thread(self._matches, pin_hash, pin)
        async with self._database.writing() as session:
            if right and owner:
                failures = await self._failures(session, id_number)
                failures.fail_count, failures.locked_until = 0, None
                token = await self._token(session, call_id, owner.person_id, now)
                self._log(session, call_id, owner.person_id, "verified", now)
                return Verified(
                    token=token,
                    expires_at=now + TOKEN_LIFE,
                    name_masked=_masked(owner.name),
                )
            self._log(session, call_id, owner.person_id if owner else None, "wrong", now)
        if locked_until:
            return _locked(THIRD_WRONG, locked_until)
        spoken = FIRST_WRONG if tries == 1 else SECOND_WRONG
        return Wrong(tries_left=TRIES - tries, spoken=spoken)

    async def caller(self, session: AsyncSession, token: str) -> Caller | None:
        """Whom the token stands for, or None when it is unknown or has expired."""
        row = await session.get(AccessToken, _token_hash(token))
        if row is None or row.expires_at <= self._clock.now():
            return None
        return Caller(row.call_id, row.person_id, row.auth_level)

    async def _failures(self, session: AsyncSession, id_number: str) -> PinFailures:
        """The counter of this ID number, locked against others until the transaction ends."""
        key = id_hash(id_number)
        await self._database.insert_or_ignore(session, PinFailures, id_hash=key, fail_count=0)
        found = await session.execute(
            select(PinFailures).where(PinFailures.id_hash == key).with_for_update()
        )
        return found.scalar_one()

    def _matches(self, pin_hash: str, pin: str) -> bool:
        try:
            return self._hasher.verify(pin_hash, pin)
        except (VerifyMismatchError, InvalidHashError):
            return False

    async def _token(
        self, session: AsyncSession, call_id: str, person_id: int, now: datetime
    ) -> str:
        """A new token; what this call proved before, and what has expired, is void."""
        void = (AccessToken.call_id == call_id) | (AccessToken.expires_at <= now)
        await session.execute(delete(AccessToken).where(void))
        token = secrets.token_urlsafe(32)
        session.add(
            AccessToken(
                token_hash=_token_hash(token),
                call_id=call_id,
                person_id=person_id,
                auth_level="id_plus_pin",
                expires_at=now + TOKEN_LIFE,
            )
        )
        return token

    def _log(
        self, session: AsyncSession, call_id: str, person_id: int | None, result: str, at: datetime
    ) -> None:
        session.add(
            AccessLog(
                call_id=call_id,
                person_id=person_id,
                item_id="identity",
                auth_level="id_number",
                at=at,
                result=result,
            )
        )


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _masked(name: str) -> str:
    return name[:1] + "*" * (len(name) - 1)


def _whole_minute(moment: datetime) -> datetime:
    """Locks end on the minute, because that is how their end is told."""
    return moment.replace(second=0, microsecond=0)


def _locked(words: str, until: datetime) -> Locked:
    local = until.astimezone(CHINA)
    spoken = f"{local.month}月{local.day}日{local.hour}点"
    if local.minute:
        spoken += f"{local.minute}分"
    return Locked(until=local, spoken=words.format(until=spoken))
