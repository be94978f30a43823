"""Guards: the doctor finds what is missing, says what to do, and harms nothing."""

import asyncio
import json
import socket
from importlib.metadata import distribution
from pathlib import Path

import pytest

from assistant import cli, doctor, settings
from assistant.backend import serve
from assistant.doctor import Finding
from assistant.ports import free_ports
from assistant.settings import Settings


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/hotline.db"


def configured(*overrides: str) -> Settings:
    return settings.load(overrides=[*free_ports(), *overrides])


async def finding(what: str, chosen: Settings) -> Finding:
    return next(each for each in await doctor.examine(chosen) if each.what == what)


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path, database: str) -> None:
    chosen = configured(f"backend.database={database}")
    found = asyncio.run(finding("database", chosen))
    assert not found.ok
    assert found.needed
    assert found.remedy == "hotline setup"
    assert not list(tmp_path.iterdir())


async def test_a_migrated_database_is_ok(database: str) -> None:
    chosen = configured(f"backend.database={database}")
    await serve.set_up(chosen, demo_persons=False)
    assert (await finding("database", chosen)).ok


async def test_an_empty_database_needs_set_up(tmp_path: Path, database: str) -> None:
    (tmp_path / "hotline.db").touch()
    found = await finding("database", configured(f"backend.database={database}"))
    assert not found.ok
    assert found.remedy == "hotline setup"


async def test_a_database_server_that_does_not_answer() -> None:
    url = "postgresql+asyncpg://hotline:secret@127.0.0.1:1/hotline"
    found = await finding("database", configured(f"backend.database={url}"))
    assert not found.ok
    assert "secret" not in found.detail


async def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        found = await finding(f"port {number}", configured(f"dialogue.rasa_port={number}"))
    assert not found.ok
    assert "set dialogue.rasa_port" in found.detail


async def test_models_are_looked_for_where_the_cache_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTLINE_CACHE", str(tmp_path))
    found = await finding("whisper-base", configured())
    assert not found.ok
    assert found.needed
    assert "hotline models pull whisper-base" in found.detail


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "requirements.lock"


def test_packages_as_locked(lock: Path) -> None:
    pydantic = distribution("pydantic")
    lock.write_text(f"pydantic=={pydantic.version} \\\n    --hash=sha256:00\n")
    assert doctor.compare_packages("packages", lock, [pydantic]).ok


@pytest.mark.parametrize("line", ["pydantic==0.0.1 \\", "not-here==1.0 \\"])
def test_packages_that_differ_are_named(lock: Path, line: str) -> None:
    lock.write_text(f"{line}\n    --hash=sha256:00\n")
    found = doctor.compare_packages("packages", lock, [distribution("pydantic")])
    assert not found.ok
    assert line.partition("==")[0] in found.detail


def test_json_and_exit_code(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(["--set", f"backend.database={database}", "doctor", "--json"])
    findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 1
    missing = [each["what"] for each in findings if each["needed"] and not each["ok"]]
    assert "database" in missing
