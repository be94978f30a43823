"""A dialogue and a backend to talk to: those that run already, else our own for a while."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from assistant import services
from assistant import settings as configuration
from assistant.dialogue import serving, training
from assistant.ports import free_ports
from assistant.settings import Settings
from assistant.supervisor import State, Supervisor

PROBE_S = aiohttp.ClientTimeout(total=2)
"""A service on loopback that has not answered by then is not there."""


@asynccontextmanager
async def running_services(
    settings: Settings, config: Path, overrides: Sequence[str]
) -> AsyncIterator[Settings]:
    """The settings of a hotline whose dialogue and backend answer while the block runs.

    Where `hotline serve` runs with this configuration it is used; else both are started on free
    ports and stopped afterwards. Progress goes to standard error. Raises StartError.
    """
    if await already_runs(settings):
        yield settings
        return
    ours = [*overrides, *free_ports()]
    settings = configuration.load(config, ours)
    model = training.model(lambda line: print(line, file=sys.stderr))
    stages = services.stages(
        settings, model, services.config_arguments(config, ours), call_server=False
    )
    async with Supervisor(stages, on_state=tell_state):
        yield settings


def tell_state(service: str, state: State, detail: str) -> None:
    """Progress of a service, a line on standard error."""
    print(f"{service}: {state}{' – ' if detail else ''}{detail}", file=sys.stderr, flush=True)


async def already_runs(settings: Settings) -> bool:
    """Whether the dialogue and the backend of this configuration answer now."""
    addresses = [serving.rasa_health(settings), f"{settings.backend_url}/health"]
    async with aiohttp.ClientSession(timeout=PROBE_S) as session:
        for address in addresses:
            try:
                async with session.get(address) as answer:
                    if answer.status != 200:
                        return False
            except (aiohttp.ClientError, TimeoutError):
                return False
    return True
