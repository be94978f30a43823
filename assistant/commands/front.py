"""`hotline front`: the front door of several call servers. `hotline serve` starts it with them."""

import argparse
import asyncio
import json
import logging
import sys

from assistant import settings as configuration
from assistant.stopping import told_to_stop


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = commands.add_parser(
        "front",
        help="the front door of several call servers (hotline serve starts both)",
        description="Spreads new calls over the call servers of `hotline serve` where "
        "sip.max_calls is more than one process carries. Prints one JSON line when it is ready.",
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Pass signalling on until SIGTERM or Ctrl-C."""
    from assistant.channels.channel import ChannelError

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    settings = configuration.load(args.config, args.overrides)
    try:
        asyncio.run(_front(settings.sip))
    except ChannelError as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 2
    return 0


async def _front(sip: configuration.Sip) -> None:
    from assistant.channels.sip_front import FrontDoor

    stop = told_to_stop()
    async with FrontDoor(sip) as front:
        print(json.dumps({"event": "ready", "sip": front.uri}), flush=True)
        await stop.wait()
