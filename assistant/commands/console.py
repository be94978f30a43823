"""`hotline console`: the text door. Type as the caller, read as the caller."""

import argparse
import asyncio
import sys

from assistant import settings as configuration

HELP = """\
Type as the caller, read as the caller. Where standard input is no terminal, one line is one turn.

  an empty line   the caller says nothing
  #123456#        the caller keys 123456
  /hangup         the caller hangs up

The dialogue and the backend of a running `hotline serve` are used; else they are started.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = commands.add_parser(
        "console",
        help="type as the caller, read as the caller",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--json", action="store_true", help="one JSON object a turn")
    command.add_argument("--isolated", action="store_true", help="every line is a call of its own")
    command.add_argument("--caller", default="", metavar="NUMBER", help="the caller's number")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Talk until the input ends, /hangup, or the hotline hangs up."""
    from assistant.supervision import StartError

    settings = configuration.load(args.config, args.overrides)
    try:
        return asyncio.run(_talk(settings, args))
    except StartError as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 2


async def _talk(settings: configuration.Settings, args: argparse.Namespace) -> int:
    from assistant.channels.console import TextConsole
    from assistant.dialogue.rasa import RasaDialogue
    from assistant.dialogue.resilient import ResilientDialogue
    from assistant.dialogue.rewriting import with_language_model
    from assistant.records import CallRecords
    from assistant.running import running_services

    async with (
        running_services(settings, args.config, args.overrides) as serving,
        RasaDialogue(serving) as rasa,
        CallRecords(serving) as records,
    ):
        dialogue = ResilientDialogue(with_language_model(rasa, serving.llm), serving)
        console = TextConsole(dialogue, records, serving, args.caller)
        await console.run(as_json=args.json, isolated=args.isolated)
    return 0
