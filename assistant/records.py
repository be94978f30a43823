"""The records of calls: a row a call, a row a turn, in the hotline's own database.

Writing never holds up a call: rows are queued, and while the database is dead, locked or
read-only they go to a spool file, which the next start brings in. Rows come masked.
"""

import asyncio
import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Self

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.backend.call_tables import CallRecord, TurnRecord
from assistant.backend.database import Database, DatabaseUnavailable
from assistant.settings import Settings, project_path

log = logging.getLogger(__name__)

SPOOL_FOLDER = Path("var/spool")

RETRY_AFTER_S = 30.0
"""After a failure rows go straight to the spool for so long: each try may take seconds."""

LONGEST_CALLER = 64
"""Characters of the column; a SIP address can be longer."""


@dataclass(slots=True)
class CallRow:
    """One call; told of when it starts and again when it has ended."""

    call_id: str
    channel: str
    """sip, microphone or console."""
    caller: str
    """As `privacy.caller_number` lets it be kept."""
    started_at: datetime
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    """completed, caller_hung_up, transferred, closed or failed; None while it lasts."""
    recording: str | None = None


@dataclass(slots=True)
class TurnRow:
    """One turn; times are milliseconds since the answer, texts are masked."""

    call_id: str
    index: int
    kind: str
    """start, speech, keys or silence."""
    start_ms: int
    end_ms: int = 0
    said: str = ""
    alternatives: list[dict[str, Any]] = field(default_factory=list)
    """n-best: text and confidence, best first."""
    intent: str | None = None
    confidence: float = 0.0
    replies: list[str] = field(default_factory=list)
    heard: str | None = None
    """What the caller heard of a reply that they cut short."""
    latencies: dict[str, int] = field(default_factory=dict)
    """endpoint_ms, recognised_ms, understood_ms, first_audio_ms: since the caller's last sound."""
    sure: float | None = None
    """Probability that the caller was understood rightly; None where no words were heard."""
    decision: str = ""
    """What was done: accepted, implied, confirmed, asked, keypad or person."""
    timeline: list[dict[str, Any]] = field(default_factory=list)
    """Marks in the order of time: mark (see MarkName), at_ms, and the text of a partial."""


Row = CallRow | TurnRow


class CallRecords:
    """Writes rows in the background; an async context, whose end waits for the last row."""

    def __init__(self, settings: Settings, spool: Path = SPOOL_FOLDER) -> None:
        """Raises ConfigError when `backend.database` names no database we know."""
        self._database = Database(settings.backend.database)
        self._spool = Spool(project_path(spool))
        self._rows: asyncio.Queue[Row | None] = asyncio.Queue()
        self._spooling_until = 0.0
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Bring the schema up to date and the spool in; a dead database stops neither."""
        try:
            await self._database.migrate()
            for file, rows in self._spool.left_behind():
                for row in rows:
                    await self._write(row)
                file.unlink(missing_ok=True)
                log.info("%d rows of call records brought in from %s", len(rows), file.name)
        except DatabaseUnavailable as error:
            self._pause(error)
        except OSError as error:
            log.error("the spool of call records cannot be read: %s", error)
        self._writer = asyncio.create_task(self._run(), name="call records")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write what is queued, then close."""
        self._rows.put_nowait(None)
        if self._writer:
            await self._writer
        self._spool.close()
        await self._database.close()

    def started(self, call: CallRow) -> None:
        """A call has begun."""
        self._rows.put_nowait(dataclasses.replace(call))

    def turn(self, turn: TurnRow) -> None:
        """A turn is over; the row must not change any more."""
        self._rows.put_nowait(turn)

    def ended(self, call: CallRow) -> None:
        """A call is over; the same row as at its start, completed."""
        self._rows.put_nowait(dataclasses.replace(call))

    async def _run(self) -> None:
        while (row := await self._rows.get()) is not None:
            if time.monotonic() >= self._spooling_until:
                try:
                    await self._write(row)
                    continue
                except DatabaseUnavailable as error:
                    self._pause(error)
            try:
                await asyncio.to_thread(self._spool.add, row)
            except OSError as error:
                log.error("a row of call %s is lost: %s", row.call_id, error)

    def _pause(self, error: DatabaseUnavailable) -> None:
        self._spooling_until = time.monotonic() + RETRY_AFTER_S
        log.warning("call records go to %s for now: %s", self._spool.folder, error)

    async def _write(self, row: Row) -> None:
        """Raises DatabaseUnavailable; a row that the database will never take is dropped."""
        try:
            async with self._database.writing() as session:
                if isinstance(row, CallRow) and row.ended_at is None:
                    # It may come out of the spool after the end of the call was written.
                    known = await session.get(CallRecord, row.call_id)
                    if known is not None:
                        return
                await session.merge(_record(row))
        except SQLAlchemyError as error:
            log.error("a row of call %s is lost: %s", row.call_id, type(error).__name__)


def _record(row: Row) -> CallRecord | TurnRecord:
    values = dataclasses.asdict(row)
    if isinstance(row, CallRow):
        return CallRecord(**values | {"caller": _storable(row.caller)[:LONGEST_CALLER]})
    heard = None if row.heard is None else _storable(row.heard)
    return TurnRecord(**values | {"said": _storable(row.said), "heard": heard})


def _storable(text: str) -> str:
    """Without what PostgreSQL cannot hold: NUL, and halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


class Spool:
    """Rows on disk, a file a process, held locked as long as the process writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: IO[str] | None = None

    def add(self, row: Row) -> None:
        """Append a row. Raises OSError when the disk does not take it."""
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"calls-{time.time_ns()}-{os.getpid()}.jsonl"
            self._file = (self.folder / name).open("a", encoding="utf-8")
            fcntl.flock(self._file, fcntl.LOCK_EX)
        kind = "call" if isinstance(row, CallRow) else "turn"
        line = json.dumps({kind: dataclasses.asdict(row)}, default=str)
        self._file.write(line + "\n")
        self._file.flush()

    def left_behind(self) -> list[tuple[Path, list[Row]]]:
        """The files of processes that have ended, oldest first, with their rows."""
        found = []
        for path in sorted(self.folder.glob("calls-*.jsonl")):
            with path.open(encoding="utf-8") as file, contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append((path, [row for line in file if (row := _parsed(line, path))]))
        return found

    def close(self) -> None:
        """Let the next start have the file."""
        if self._file:
            self._file.close()


def _parsed(line: str, path: Path) -> Row | None:
    """A row of the spool, or None for a line that a full disk or a crash cut off."""
    try:
        kind, values = next(iter(json.loads(line).items()))
        if kind == "turn":
            return TurnRow(**values)
        for name in ("started_at", "answered_at", "ended_at"):
            values[name] = datetime.fromisoformat(values[name]) if values[name] else None
        return CallRow(**values)
    except (ValueError, TypeError, KeyError, StopIteration, AttributeError):
        log.warning("a broken line in %s is left out", path.name)
        return None


async def calls(session: AsyncSession, limit: int) -> list[CallRecord]:
    """The latest calls, newest first."""
    newest = select(CallRecord).order_by(CallRecord.started_at.desc()).limit(limit)
    return list(await session.scalars(newest))


async def turns(session: AsyncSession, call_id: str) -> list[TurnRecord]:
    """The turns of a call in order."""
    wanted = select(TurnRecord).where(TurnRecord.call_id == call_id)
    return list(await session.scalars(wanted.order_by(TurnRecord.index)))
