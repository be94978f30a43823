"""`hotline models`: what models there are, fetch them, check them."""

import argparse
import sys
from pathlib import Path


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = subparsers.add_parser("models", help="list, fetch or check the speech models")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="every model, what it is for and whether it is here")
    pull = actions.add_parser("pull", help="fetch what is not here yet, checksums checked")
    pull.add_argument("names", nargs="*", metavar="NAME", help="default: what the hotline needs")
    pull.add_argument("--tests", action="store_true", help="also what only the tests use")
    pull.add_argument(
        "--from", dest="archive", type=Path, metavar="FILE", help="an archive carried here by hand"
    )
    verify = actions.add_parser("verify", help="hash every file again")
    verify.add_argument("names", nargs="*", metavar="NAME", help="default: all that are here")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List, pull or verify; 1 when a model could not be had or is damaged."""
    from assistant import models

    try:
        if args.action == "list":
            return _list()
        if args.action == "verify":
            return _verify(args.names)
        if args.archive and len(args.names) != 1:
            raise models.ModelError("--from FILE needs the one NAME that the archive is for")
        if args.archive:
            models.pull_archive(args.names[0], args.archive, _print_now)
        else:
            models.pull(args.names, _print_now, args.tests)
        return 0
    except models.ModelError as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 1


def _print_now(line: str) -> None:
    print(line, flush=True)


def _list() -> int:
    from assistant import models

    for name, model in models.catalogue().items():
        size = f"{model.size / 1e6:.0f} MB" if model.size else "? MB"
        print(f"{name:26} {_state(name):8} {size:>7}  {model.licence:12} {model.purpose}")
    print(f"\nkept in {models.cache() / 'models'}")
    return 0


def _state(name: str) -> str:
    from assistant import models

    try:
        models.find(name)
    except models.ModelMissing:
        return "missing"
    except models.ModelCorrupt:
        return "damaged"
    return "present"


def _verify(names: list[str]) -> int:
    from assistant import models

    damaged = False
    for name in names or [name for name in models.catalogue() if _state(name) != "missing"]:
        try:
            print(f"{name}: whole, in {models.verify(name)}")
        except models.ModelError as error:
            damaged = True
            print(f"hotline: {error}", file=sys.stderr)
    return int(damaged)
