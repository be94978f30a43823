"""The database behind the service and the call records: SQLite by default, PostgreSQL by URL."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, TimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from assistant.backend.tables import Base
from assistant.settings import ConfigError, project_path

# At DEBUG it writes every value it is given, which is personal data.
logging.getLogger("aiosqlite").setLevel(logging.INFO)

BUSY_TIMEOUT_MS = 5000
"""How long a SQLite writer waits for another one before the caller is told to try later."""

STOP_S = 0.02
"""aiosqlite does not wait for the thread of a file it could not open; while the thread says
that it has ended, the event loop must still be there, or it prints a traceback."""

CONNECT_TIMEOUT_S = 3.0
"""A PostgreSQL that does not answer must not keep a caller waiting for longer."""

READ_ONLY_SQLSTATE = "25006"
"""PostgreSQL's read_only_sql_transaction: a standby, or default_transaction_read_only."""


class DatabaseUnavailable(ConnectionError):
    """The database cannot be reached or cannot be written; the message holds no data."""

    def __init__(self, message: str, *, read_only: bool = False) -> None:
        super().__init__(message)
        self.read_only = read_only
        """Reading still works."""


class Database:
    """One engine with two ways in: `reading()` and `writing()`, a transaction each."""

    def __init__(self, url: str) -> None:
        """Nothing is opened yet. Raises ConfigError when `url` names no database we know."""
        self.engine = _engine(url)
        self.name = self.engine.url.render_as_string(hide_password=True)

    @property
    def dialect(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self.engine.dialect.name

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session for reading. Raises DatabaseUnavailable."""
        with _named_errors():
            async with AsyncSession(self.engine, expire_on_commit=False) as session:
                yield session

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A session that commits at the end, or not at all. Raises DatabaseUnavailable.

        SQLite takes the write lock at once: a transaction that first reads and then writes
        fails without waiting when another one wrote in between.
        """
        writer = self.engine.execution_options(sqlite_begin="IMMEDIATE")
        with _named_errors():
            async with AsyncSession(writer, expire_on_commit=False) as session, session.begin():
                yield session

    async def migrate(self) -> None:
        """Bring the schema up to date; safe when several processes do so at once.

        Alembic's operations are global: not for two different databases at once in one process.

        Raises DatabaseUnavailable, and ConfigError when the folder of the file is missing.
        """
        from assistant.backend.migrations import at_head, upgrade  # alembic is slow to import

        _make_folder(self.engine)
        with _named_errors():
            async with self.engine.connect() as connection:
                if await connection.run_sync(at_head):
                    return
            if self.dialect == "sqlite":
                await self._write_ahead_log()
            writer = self.engine.execution_options(sqlite_begin="IMMEDIATE")
            async with writer.begin() as connection:
                if self.dialect == "postgresql":
                    await connection.execute(text("SELECT pg_advisory_xact_lock(12333)"))
                await connection.run_sync(upgrade)

    async def _write_ahead_log(self) -> None:
        """Let readers read while one writes; the file remembers it.

        This is the one statement that SQLite does not wait with while another connection writes.
        """
        loop = asyncio.get_running_loop()
        latest = loop.time() + BUSY_TIMEOUT_MS / 1000
        async with self.engine.connect() as connection:
            raw = await connection.get_raw_connection()
            while True:
                try:
                    await raw.driver_connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[union-attr]
                    return
                except sqlite3.OperationalError:
                    if loop.time() > latest:
                        raise
                    await asyncio.sleep(STOP_S)

    async def insert_or_ignore(
        self, session: AsyncSession, table: type[Base], **values: Any
    ) -> bool:
        """Insert a row unless its primary key is there already; True when it was inserted."""
        insert = postgresql.insert if self.dialect == "postgresql" else sqlite.insert
        result = await session.execute(insert(table).values(**values).on_conflict_do_nothing())
        return bool(result.rowcount)  # type: ignore[attr-defined]

    async def close(self) -> None:
        """Give back every connection."""
        await self.engine.dispose()
        if self.dialect == "sqlite":
            await asyncio.sleep(STOP_S)


def _engine(url: str) -> AsyncEngine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("backend.database: not a SQLAlchemy URL; write " + _FORMS) from None
    if parsed.drivername == "postgresql+asyncpg":
        return create_async_engine(
            parsed,
            hide_parameters=True,  # values in an error are personal data
            pool_pre_ping=True,  # a restarted server must not cost the next caller an error
            pool_timeout=CONNECT_TIMEOUT_S,
            connect_args={"timeout": CONNECT_TIMEOUT_S, "command_timeout": 10},
        )
    if parsed.drivername != "sqlite+aiosqlite" or not parsed.database:
        raise ConfigError(f"backend.database: {parsed.drivername} is not supported; write {_FORMS}")
    if not parsed.database.startswith("file:"):
        parsed = parsed.set(database=str(project_path(parsed.database)))
    engine = create_async_engine(
        parsed, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}
    )
    event.listen(engine.sync_engine, "connect", _on_connect)
    event.listen(engine.sync_engine, "begin", _on_begin)
    return engine


_FORMS = "sqlite+aiosqlite:///var/hotline.db or postgresql+asyncpg://user@host/name"


def _on_connect(connection: Any, _record: object) -> None:
    # The driver would begin transactions itself, and only before the first write.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


def _make_folder(engine: AsyncEngine) -> None:
    file = engine.url.database
    if engine.dialect.name != "sqlite" or not file or file.startswith("file:"):
        return
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"cannot make the folder of {file}: {error.strerror}") from None


@contextlib.contextmanager
def _named_errors() -> Iterator[None]:
    """Turn what drivers raise for a missing or read-only database into DatabaseUnavailable."""
    try:
        yield
    except (OperationalError, InterfaceError, DBAPIError) as error:
        known = _explain(error)
        if known is None:
            raise
        raise known from None
    except TimeoutError:
        raise DatabaseUnavailable("every connection to the database is in use") from None
    except DatabaseUnavailable:
        raise
    except OSError as error:  # asyncpg lets the socket's own error through
        raise DatabaseUnavailable(f"no connection to the database: {error}") from None


def _explain(error: DBAPIError) -> DatabaseUnavailable | None:
    """The driver's own words without the statement and its values, which are personal data."""
    cause = error.orig
    words = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    if getattr(cause, "sqlstate", None) == READ_ONLY_SQLSTATE:
        return DatabaseUnavailable("the database is read-only", read_only=True)
    if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY:
        return DatabaseUnavailable("the database file is read-only", read_only=True)
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        return DatabaseUnavailable(words)
    return None
