"""Databases for tests: the same fixtures over SQLite and over a real PostgreSQL server.

conftest.py takes the fixtures in. Each test gets a database of its own, a copy of a
template with the demo persons in it; the PostgreSQL server is started once, on a socket in a
temporary folder, from the system's newest binaries or else from those of pip's pgserver.
"""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest

from assistant.backend.database import Database
from assistant.backend.demo import load_demo_persons
from assistant.backend.persons import load_persons


class Databases(Protocol):
    """A kind of database that copies of the template can be made in."""

    def copy(self) -> str:
        """The URL of a new database with the demo persons."""
        ...

    def empty(self) -> str:
        """The URL of a new database without tables."""
        ...

    def read_only(self, url: str) -> str:
        """A URL through which the database at `url` can only be read."""
        ...

    def unreachable(self) -> str:
        """The URL of a database that is not there."""
        ...


@dataclass
class SqliteDatabases:
    """Files in one folder."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=count)

    def copy(self) -> str:
        """A copy of template.db."""
        url = self.empty()
        shutil.copy(self.folder / "template.db", url.split("///")[1])
        return url

    def empty(self) -> str:
        """A file that does not exist yet."""
        return f"sqlite+aiosqlite:///{self.folder}/{next(self.numbers)}.db"

    def read_only(self, url: str) -> str:
        """Opened as a file that this process may not write (root may write any file)."""
        return url.replace("///", "///file:") + "?mode=ro&uri=true"

    def unreachable(self) -> str:
        """In a folder that cannot be made, since a file has its name."""
        return f"sqlite+aiosqlite:///{self.folder}/template.db/hotline.db"


@dataclass
class PostgresDatabases:
    """Databases of one server, which listens on a socket in `folder` only."""

    binaries: Path
    folder: Path
    numbers: Iterator[int] = field(default_factory=count)

    def copy(self) -> str:
        """A copy of the database `hotline`."""
        return self._create("TEMPLATE hotline")

    def empty(self) -> str:
        """A new database."""
        return self._create("TEMPLATE template0")

    def read_only(self, url: str) -> str:
        """As a hot standby is: no transaction may write."""
        name = url.split("/")[3].split("?")[0]
        self.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        return url

    def unreachable(self) -> str:
        """A socket nobody listens on."""
        return f"postgresql+asyncpg://postgres@/hotline?host={self.folder}/nowhere"

    def url(self, name: str) -> str:
        """The URL of a database of this server."""
        return f"postgresql+asyncpg://postgres@/{name}?host={self.folder}"

    def execute(self, statement: str) -> None:
        """Run a statement outside of any transaction."""
        command: list[str | Path] = [
            self.binaries / "psql",
            "-qX",
            "-h",
            self.folder,
            "-U",
            "postgres",
        ]
        subprocess.run([*command, "-c", statement], check=True, timeout=60)

    def _create(self, template: str) -> str:
        name = f"t{next(self.numbers)}"
        self.execute(f"CREATE DATABASE {name} {template}")
        return self.url(name)


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> SqliteDatabases:
    """With the template made."""
    folder = tmp_path_factory.mktemp("sqlite")
    _apart(_fill(f"sqlite+aiosqlite:///{folder}/template.db"))
    return SqliteDatabases(folder)


@pytest.fixture(scope="session")
def postgres_databases() -> Iterator[PostgresDatabases]:
    """A server of our own, ended with the tests."""
    binaries = _postgres_binaries()
    # Not pytest's folder: only its owner may enter that, and PostgreSQL refuses to be root.
    folder = Path(tempfile.mkdtemp(prefix="hotline-pg-", dir="/tmp"))
    owner = _unprivileged_user()
    if owner:
        shutil.chown(folder, owner)
    data = folder / "data"
    initdb: list[str | Path] = [
        binaries / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
    ]
    subprocess.run([*initdb, "--no-sync"], check=True, user=owner, stdout=subprocess.DEVNULL)
    options = [f"-cunix_socket_directories={folder}", "-clisten_addresses=", "-cfsync=off"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, *options], user=owner, stdout=log, stderr=log
        )
    try:
        ready: list[str | Path] = [binaries / "pg_isready", "-q", "-h", folder]
        for _ in range(300):
            if subprocess.run(ready, check=False).returncode == 0:
                break
            server.poll()
            assert server.returncode is None, (folder / "log").read_text()
            time.sleep(0.1)
        databases = PostgresDatabases(binaries, folder)
        databases.execute("CREATE DATABASE hotline TEMPLATE template0")
        _apart(_fill(databases.url("hotline")))
        yield databases
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nothing here is kept
        server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest) -> Databases:
    """Each kind in turn."""
    kind = "sqlite_databases" if request.param == "sqlite" else "postgres_databases"
    found: Databases = request.getfixturevalue(kind)
    return found


@pytest.fixture
def database_url(databases: Databases) -> str:
    """A database with the demo persons, for this test alone."""
    return databases.copy()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """`database_url`, opened."""
    opened = Database(database_url)
    yield opened
    await opened.close()


async def _fill(url: str) -> None:
    database = Database(url)
    await database.migrate()
    await load_demo_persons(database, load_persons())
    await database.close()


def _apart(work: Coroutine[Any, Any, None]) -> None:
    """Run in a thread, so that no test's event loop is disturbed."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def _postgres_binaries() -> Path:
    versions = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    if installed := max(versions, key=lambda path: float(path.parts[-3]), default=None):
        return installed.parent
    pgserver = pytest.importorskip("pgserver", reason="no PostgreSQL server, no pgserver")
    return Path(pgserver.__file__).parent / "pginstall" / "bin"


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
