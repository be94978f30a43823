"""One HTTP server of ours on its port, for as long as a block runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from assistant.ports import Port, explain
from assistant.supervision import StartError


@asynccontextmanager
async def listening(app: web.Application, port: Port, **how: Any) -> AsyncIterator[str]:
    """Serve `app`; its URL, without a path. `how` is AppRunner's; nothing is logged of a request.

    Raises StartError when the port cannot be listened on.
    """
    runner = web.AppRunner(app, access_log=None, **how)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, port.host, port.number).start()
        except OSError as error:
            raise StartError(explain(port, error)) from None
        host, number = runner.addresses[0][:2]
        yield f"http://{f'[{host}]' if ':' in host else host}:{number}"
    finally:
        await runner.cleanup()
