"""The tables of the call records: one row a call, one row a turn."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from assistant.backend.tables import Base


class CallRecord(Base):
    """One call; the caller's number as the configuration lets it be kept."""

    __tablename__ = "call"
    call_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    channel: Mapped[str] = mapped_column(String(16))
    caller: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(index=True)
    answered_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    recording: Mapped[str | None] = mapped_column(String(500))


class TurnRecord(Base):
    """One turn of a call; texts are masked."""

    __tablename__ = "turn"
    # No foreign key: the row of the call itself may still wait in the spool.
    call_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    start_ms: Mapped[int]
    end_ms: Mapped[int]
    kind: Mapped[str] = mapped_column(String(8))
    said: Mapped[str] = mapped_column(Text)
    alternatives: Mapped[list[Any]] = mapped_column(JSON)
    intent: Mapped[str | None] = mapped_column(String(64))
    confidence: Mapped[float]
    sure: Mapped[float | None]
    decision: Mapped[str] = mapped_column(String(16))
    replies: Mapped[list[Any]] = mapped_column(JSON)
    heard: Mapped[str | None] = mapped_column(Text)
    latencies: Mapped[dict[str, Any]] = mapped_column(JSON)
    timeline: Mapped[list[Any]] = mapped_column(JSON)
