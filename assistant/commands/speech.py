"""`hotline speech`: the ears and the voice of all calls. `hotline serve` starts it."""

import argparse
import asyncio
import logging
import sys

from assistant import settings as configuration
from assistant.stopping import told_to_stop


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = commands.add_parser(
        "speech",
        help="the ears and the voice of all calls (hotline serve starts it)",
        description="Recognises and synthesises for the call servers, on speech.port of loopback.",
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; 2 where an engine cannot be loaded."""
    from assistant.models import ModelError

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    settings = configuration.load(args.config, args.overrides)
    try:
        asyncio.run(_serve(settings.speech))
    except ModelError as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 2
    return 0


async def _serve(speech: configuration.Speech) -> None:
    from assistant.priority import SWITCH_S
    from assistant.resident import keep_loaded, share_one_heap
    from assistant.speech import recognizers, server, synthesizers
    from assistant.speech.engines import warm_up

    sys.setswitchinterval(SWITCH_S)
    share_one_heap()
    stop = told_to_stop()
    recognizer = recognizers.load(speech).recognizer
    speaks = synthesizers.choose(speech)[0] == "kokoro"
    voice = synthesizers.kokoro(speech) if speaks else None
    await warm_up(recognizer, voice or synthesizers.in_order(speech, None)[0])
    keep_loaded()
    async with server.serve(speech, recognizer, voice):
        await stop.wait()
