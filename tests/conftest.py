"""What the tests share: one served dialogue, backend and speech server for the whole run."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from assistant import services, settings
from assistant.backend import serve
from assistant.dialogue import training
from assistant.ports import free_ports
from assistant.settings import Settings
from assistant.supervisor import Supervisor
from tests.database import (  # noqa: F401  fixtures
    database,
    database_url,
    databases,
    postgres_databases,
    sqlite_databases,
)


@dataclass(frozen=True)
class Stack:
    """A backend, an action server, a Rasa server and a speech server that answer."""

    settings: Settings
    overrides: list[str]
    """What gives a `hotline` child the same configuration, each for one --set."""

    @property
    def arguments(self) -> list[str]:
        """`overrides` as command-line arguments."""
        return [word for override in self.overrides for word in ("--set", override)]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Served on free ports with a database of its own until the tests end."""
    folder = tmp_path_factory.mktemp("stack")
    overrides = [
        *free_ports(),
        "speech.render_when_idle=false",
        f'backend.database="sqlite+aiosqlite:///{folder / "hotline.db"}"',
        f'recording.folder="{folder / "recordings"}"',
    ]
    chosen = settings.load(overrides=overrides)
    asyncio.run(serve.set_up(chosen, demo_persons=True))
    config = services.config_arguments(overrides=overrides)
    stages = services.stages(chosen, training.model(print), config, call_server=False)
    stages[0].append(services.speech_server(chosen, config))
    ready, stop = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    async def keep_alive() -> None:
        async with Supervisor(stages, logs=Path(folder / "log")):
            ready.set()
            await asyncio.to_thread(stop.wait)

    def keep() -> None:
        try:
            asyncio.run(keep_alive())
        except BaseException as error:  # noqa: BLE001 - handed to the test that waits
            failures.append(error)
            ready.set()

    keeper = threading.Thread(target=keep, name="stack")
    keeper.start()
    ready.wait()
    if failures:
        raise failures[0]
    yield Stack(chosen, overrides)
    stop.set()
    keeper.join(timeout=30)
