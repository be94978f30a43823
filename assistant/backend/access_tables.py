"""The tables behind the door: PINs, wrong tries, tokens, who looked at what."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from assistant.backend.tables import Base


class AuthState(Base):
    """The telephone PIN of a person."""

    __tablename__ = "auth_state"
    person_id: Mapped[int] = mapped_column(
        ForeignKey("person.person_id", ondelete="CASCADE"), primary_key=True
    )
    pin_hash: Mapped[str] = mapped_column(String(200))
    pin_set_at: Mapped[datetime]


class PinFailures(Base):
    """Wrong tries of an ID number, whether anybody has it or not."""

    __tablename__ = "pin_failures"
    id_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    fail_count: Mapped[int]
    locked_until: Mapped[datetime | None]


class AccessToken(Base):
    """A caller who proved who they are, for the rest of one call."""

    __tablename__ = "access_token"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    call_id: Mapped[str] = mapped_column(String(64), index=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.person_id", ondelete="CASCADE"))
    auth_level: Mapped[str] = mapped_column(String(16))
    expires_at: Mapped[datetime]


class AccessLog(Base):
    """Every access to a person's record. It outlives the person, so it holds no foreign key."""

    __tablename__ = "access_log"
    id: Mapped[int] = mapped_column(primary_key=True)
    call_id: Mapped[str] = mapped_column(String(64))
    person_id: Mapped[int | None] = mapped_column(index=True)
    item_id: Mapped[str] = mapped_column(String(64))
    auth_level: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime]
    result: Mapped[str] = mapped_column(String(64))


class HandledRequest(Base):
    """The answer given to a request, so that the same request is never carried out twice."""

    __tablename__ = "handled_request"
    request_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.person_id", ondelete="CASCADE"))
    item_id: Mapped[str] = mapped_column(String(64))
    answer: Mapped[dict[str, Any] | None]
