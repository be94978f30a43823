"""`hotline answer`: the call server alone. `hotline serve` starts it with all it needs."""

import argparse
import asyncio
import json
import logging
import sys
import time
from typing import Any

from assistant import settings as configuration
from assistant.stopping import told_to_stop


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = commands.add_parser(
        "answer",
        help="the call server alone (hotline serve starts it with all it needs)",
        description="Answers SIP calls with the ears and the voice of `hotline speech`. Prints one "
        "JSON event a line; the first is `ready`.",
    )
    command.add_argument(
        "--behind-front-as",
        default="",
        metavar="NAME",
        help="take a share of sip.max_calls from `hotline front`: answer-1, answer-2 …",
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Answer calls until SIGTERM or Ctrl-C; callers in a call hear a goodbye."""
    from assistant import call_servers
    from assistant.channels.channel import ChannelError
    from assistant.speech.client import SpeechServerError

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    settings = configuration.load(args.config, args.overrides)
    name = args.behind_front_as
    if name and name not in call_servers.names(settings.sip):
        known = ", ".join(call_servers.names(settings.sip)) or "none, one process is enough"
        print(f"hotline: --behind-front-as {name}: known: {known}", file=sys.stderr)
        return 2
    try:
        asyncio.run(_answer(settings, name))
    except ChannelError as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 2
    except SpeechServerError as error:  # it may be there the next time
        print(f"hotline: {error}", file=sys.stderr)
        return 1
    return 0


async def _answer(settings: configuration.Settings, name: str) -> None:
    from assistant import call_servers
    from assistant.admission import Admission
    from assistant.call_server import CallServer
    from assistant.metrics import Metrics
    from assistant.metrics_server import serve_metrics
    from assistant.priority import SWITCH_S
    from assistant.reception import open_reception
    from assistant.resident import share_one_heap
    from assistant.speech import client

    sys.setswitchinterval(SWITCH_S)
    share_one_heap()
    stop = told_to_stop()

    admission = Admission(settings.load)

    def emit(event: dict[str, Any]) -> None:
        if event.get("answer_ms") is not None:
            admission.answered(event["answer_ms"], time.monotonic())
        print(json.dumps(event, ensure_ascii=False), flush=True)

    metrics = Metrics()
    # One process renders for all: two would do the same work twice.
    renders = name in ("", *call_servers.names(settings.sip)[:1])
    async with (
        serve_metrics(call_servers.metrics_of(settings, name), metrics.registry) as metrics_url,
        client.connect(settings.speech) as engines,
        open_reception(settings, engines, emit, metrics, renders=renders) as reception,
        CallServer(settings, reception, admission, name) as server,
    ):
        server.on_refused(metrics.refused)
        emit({"event": "ready", "sip": server.uri, "metrics": metrics_url})
        await stop.wait()
        server.close()
        await reception.close()
