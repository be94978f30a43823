"""`hotline answer`: the call server alone. `hotline serve` starts it with all it needs."""

import argparse
import asyncio
import json
import logging
import signal
import sys

from assistant import settings as configuration


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = commands.add_parser(
        "answer",
        help="the call server alone (hotline serve starts it with all it needs)",
        description="Answers SIP calls. Prints one JSON event a line; the first is `ready`.",
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Answer calls until SIGTERM or Ctrl-C; callers in a call hear a goodbye."""
    from assistant.channels.channel import ChannelError
    from assistant.models import ModelError

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    settings = configuration.load(args.config, args.overrides)
    try:
        asyncio.run(_answer(settings))
    except (ChannelError, ModelError) as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 2
    return 0


async def _answer(settings: configuration.Settings) -> None:
    from assistant.channels.sip import SipListener
    from assistant.metrics import Metrics
    from assistant.metrics_server import serve_metrics
    from assistant.reception import open_reception

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def emit(event: dict[str, object]) -> None:
        print(json.dumps(event, ensure_ascii=False), flush=True)

    metrics = Metrics()
    async with (
        serve_metrics(settings.metrics, metrics.registry) as metrics_url,
        open_reception(settings, emit, metrics) as reception,
        SipListener(settings.sip, reception.take, metrics.refused) as listener,
    ):
        emit({"event": "ready", "sip": listener.uri, "metrics": metrics_url})
        await stop.wait()
        listener.accepting = False
        await reception.close()
