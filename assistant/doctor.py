"""What is there, what is missing, what to do: one finding for each thing a hotline needs."""

import ctypes.util
import glob
import importlib.metadata
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from assistant import chinese_font, models, services
from assistant.backend.database import Database, DatabaseUnavailable
from assistant.backend.items import load_items
from assistant.backend.migrations import at_head
from assistant.backend.persons import load_persons
from assistant.dialogue import serving, training
from assistant.ports import trouble
from assistant.running import already_runs
from assistant.settings import ROOT, ConfigError, Settings
from assistant.speech import recognizers, synthesizers
from assistant.supervision import StartError

SPACE_NEEDED_GB = 1.0
"""Below this, recordings of a busy week fill the disk: an hour of a call in stereo is 115 MB."""

TEST_PROGRAMS = {
    "baresip": "baresip",
    "sipp": "sip-tester",
    "pulseaudio": "pulseaudio",
    "postgres": "postgresql",
}
"""What the tests drive from outside, and the Debian package that has it."""

POSTGRES_BIN = "/usr/lib/postgresql/*/bin"
"""Debian keeps the server's programs off the PATH."""

SET_UP = "make setup"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    detail: str
    remedy: str = ""
    """What to do; empty where `detail` says it."""
    needed: bool = True
    """Whether `hotline serve` cannot do without it."""


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything; takes a second or two and changes nothing."""
    found = [*_environments(), *_models(), *_engines(settings), _trained()]
    found += [_configured_data(), await _database(settings), *await _ports(settings)]
    return [*found, *_disk(), *_extras()]


def _environments() -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    supported = (3, 11) <= sys.version_info < (3, 13)
    yield Finding("Python", supported, version, "make clean; make PYTHON=python3.11 setup")
    here = importlib.metadata.distributions()
    yield compare_packages("packages", ROOT / "requirements.lock", here)
    site = list(serving.RASA_PROJECT.glob(".venv/lib/python3.*/site-packages"))
    if not site:
        remedy = f"install Python 3.10, then {SET_UP}"
        yield Finding("Rasa's environment", False, f"no {serving.RASA_PROJECT}/.venv", remedy)
        return
    python = site[0].parent.name
    yield Finding("Rasa's Python", python == "python3.10", python, f"make clean; {SET_UP}")
    there = importlib.metadata.distributions(path=[str(site[0])])
    yield compare_packages("Rasa's packages", serving.RASA_PROJECT / "requirements.lock", there)


def compare_packages(
    what: str, lock: Path, installed: Iterable[importlib.metadata.Distribution]
) -> Finding:
    """Does what is installed agree with the lock file?"""
    wanted = dict(re.findall(r"^([\w.-]+)==([^\s;]+)(?=[^;]*$)", lock.read_text(), re.MULTILINE))
    found = {_normal(each.name): each.version for each in installed}
    wrong = [name for name, version in wanted.items() if found.get(_normal(name)) != version]
    if not wrong:
        return Finding(what, True, f"{len(wanted)} as locked")
    return Finding(what, False, f"not as locked: {', '.join(sorted(wrong)[:3])} …", SET_UP)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # PEP 503


def _models() -> Iterator[Finding]:
    for name, model in models.catalogue().items():
        if model.pull == "asked":
            continue
        needed = model.pull == "default"
        try:
            models.find(name)
        except models.ModelError as error:
            yield Finding(name, False, str(error), needed=needed)
        else:
            yield Finding(name, True, model.purpose, needed=needed)


def _engines(settings: Settings) -> Iterator[Finding]:
    """Which engines will hear and speak, and why."""
    try:
        choice = recognizers.choose(settings.speech)
        yield Finding("recogniser", True, f"{choice.engine}: {choice.why}")
    except models.ModelError as error:
        yield Finding("recogniser", False, str(error))
    try:
        engine, why = synthesizers.choose(settings.speech)
        yield Finding("synthesiser", True, f"{engine}: {why}")
    except models.ModelError as error:
        yield Finding("synthesiser", False, str(error))


def _trained() -> Finding:
    try:
        model = training.trained_model()
    except (ConfigError, StartError) as error:
        return Finding("dialogue model", False, str(error))
    return Finding("dialogue model", True, model.name)


def _configured_data() -> Finding:
    try:
        items, persons = load_items(), load_persons()
    except ConfigError as error:
        return Finding("service items", False, str(error))
    detail = f"{len(items)} items, {len(persons.persons)} demo persons"
    return Finding("service items", True, detail)


async def _database(settings: Settings) -> Finding:
    try:
        database = Database(settings.backend.database)
    except ConfigError as error:
        return Finding("database", False, str(error), "set backend.database")
    if not _exists(database):  # opening would make the file
        return Finding("database", False, f"no file for {database.name}", "hotline setup")
    try:
        async with database.reading() as session:
            current = await (await session.connection()).run_sync(at_head)
    except DatabaseUnavailable as error:
        return Finding("database", False, str(error), "start it, or set backend.database")
    finally:
        await database.close()
    detail = database.name if current else f"{database.name} has an older schema"
    return Finding("database", current, detail, "hotline setup")


def _exists(database: Database) -> bool:
    file = database.engine.url.database
    return database.dialect != "sqlite" or bool(file and Path(file).exists())


async def _ports(settings: Settings) -> list[Finding]:
    ours = services.ports(settings)
    faults = [(port, trouble(port)) for port in ours]
    if any(fault for _, fault in faults) and await already_runs(settings):
        return [Finding("ports", True, "in use by the hotline that runs now")]
    return [
        Finding(f"port {port.number}", not fault, fault or f"free ({port.key})")
        for port, fault in faults
        if port.number
    ]


def _disk() -> Iterator[Finding]:
    for what, folder in {"disk": ROOT, "disk of the cache": models.cache()}.items():
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free / 1e9
        yield Finding(what, free >= SPACE_NEEDED_GB, f"{free:.1f} GB free", "make room")


def _extras() -> Iterator[Finding]:
    """What single commands and the tests use."""
    font = chinese_font.find()
    detail = font.name if font else "none: words in pictures of calls are in pinyin"
    yield Finding("Chinese font", bool(font), detail, chinese_font.REMEDY, needed=False)
    portaudio = ctypes.util.find_library("portaudio") or "no PortAudio: hotline mic needs it"
    found = not portaudio.startswith("no ")
    yield Finding("PortAudio", found, portaudio, "apt install libportaudio2", needed=False)
    for program, package in TEST_PROGRAMS.items():
        path = shutil.which(program) or next(iter(glob.glob(f"{POSTGRES_BIN}/{program}")), "")
        detail = path or "the tests need it"
        yield Finding(program, bool(path), detail, f"apt install {package}", needed=False)
