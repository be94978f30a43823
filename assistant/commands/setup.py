"""`hotline setup`: models, trained dialogue, database and prompts, each only where missing."""

import argparse
import sys

from assistant import settings as configuration


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = subparsers.add_parser(
        "setup",
        help="models, trained dialogue, database and prompts, where missing",
        description="Fetches the speech models, trains the dialogue model, makes the database "
        "with its demo persons and renders the fixed prompts. What is there is left alone.",
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what is missing; returns 1 when a step failed, and says which and why."""
    from assistant.backend.database import DatabaseUnavailable
    from assistant.models import ModelError
    from assistant.setup import set_up
    from assistant.speech.synthesizer import SynthesisError

    try:
        set_up(configuration.load(args.config, args.overrides), _say)
    except (ModelError, DatabaseUnavailable, SynthesisError) as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 1
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
