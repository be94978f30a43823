"""`/metrics` over HTTP, for a Prometheus server to scrape."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from assistant import settings
from assistant.http_server import listening
from assistant.ports import Port


@asynccontextmanager
async def serve_metrics(
    chosen: settings.Metrics, registry: CollectorRegistry
) -> AsyncIterator[str]:
    """Serve the registry while the block runs; the URL, empty where turned off.

    Raises StartError when the port cannot be listened on.
    """
    if not chosen.enabled:
        yield ""
        return

    async def scrape(_: web.Request) -> web.Response:
        body = generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", scrape)
    async with listening(app, Port(chosen.bind, chosen.port, "metrics.port")) as url:
        yield f"{url}/metrics"
