"""`hotline backend`: the service API of record, in the foreground."""

import argparse
import asyncio
import logging
import sys

from assistant import settings

USAGE = """\
Serves the API that the dialogue asks for identity, queries and business.
The contract is at /openapi.json once it runs. HOTLINE_TODAY=YYYY-MM-DD pins the
day that records are read as of.
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = subparsers.add_parser(
        "backend", help="run the service API and its database", description=USAGE
    )
    only = command.add_mutually_exclusive_group()
    only.add_argument("--migrate", action="store_true", help="update the schema, then exit")
    only.add_argument(
        "--demo-persons",
        action="store_true",
        help="put the demo persons of configs/persons.yaml (back) in, then exit",
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Returns 0 after a clean stop, 1 when the port or the database cannot be had."""
    from assistant.backend.database import Database, DatabaseUnavailable
    from assistant.backend.serve import serve, set_up

    config = settings.load(args.config, args.overrides)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        if args.migrate or args.demo_persons:
            asyncio.run(set_up(config, demo_persons=args.demo_persons))
        else:
            asyncio.run(serve(config))
    except DatabaseUnavailable as error:
        name = Database(config.backend.database).name
        print(
            f"hotline: backend.database {name}: {error}; "
            "start the server, make the file and its folder writable, or set another",
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        where = f"{config.backend.bind}:{config.backend.port}"
        print(
            f"hotline: cannot listen on {where}: {error.strerror}; "
            "set backend.port to a free port, or stop what runs there",
            file=sys.stderr,
        )
        return 1
    return 0
