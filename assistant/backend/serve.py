"""Runs the service until it is told to stop."""

import logging

from aiohttp import web

from assistant.backend.app import make_app
from assistant.backend.clock import clock_from
from assistant.backend.database import Database
from assistant.backend.demo import load_demo_persons
from assistant.backend.items import load_items
from assistant.backend.persons import load_persons
from assistant.settings import Settings
from assistant.stopping import told_to_stop

log = logging.getLogger(__name__)


async def set_up(settings: Settings, *, demo_persons: bool) -> None:
    """Bring the schema up to date, and put the demo persons in where wanted.

    Raises ConfigError, DatabaseUnavailable.
    """
    database = Database(settings.backend.database)
    try:
        await database.migrate()
        if demo_persons:
            await load_demo_persons(database, load_persons())
    finally:
        await database.close()


async def serve(settings: Settings) -> None:
    """Answer on backend.bind:port until SIGTERM or SIGINT; requests under way are finished.

    Raises ConfigError, DatabaseUnavailable, and OSError when the port is taken.
    """
    clock, items = clock_from(), load_items()
    database = Database(settings.backend.database)
    stopped = told_to_stop()
    try:
        await database.migrate()
        # No access log: paths and bodies are about persons.
        runner = web.AppRunner(make_app(database, items, clock), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.backend.bind, settings.backend.port).start()
            host, port = runner.addresses[0][:2]
            log.info("service API on http://%s:%d, database %s", host, port, database.name)
            await stopped.wait()
        finally:
            await runner.cleanup()
    finally:
        await database.close()
