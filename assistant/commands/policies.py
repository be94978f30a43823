"""`hotline policies …`: what a policy editor needs besides an editor."""

import argparse
from pathlib import Path


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = commands.add_parser(
        "policies",
        help="check the policy cards, or begin a new one",
        description="Policy cards are in configs/policies/*.yaml, a file a topic.",
    )
    actions = command.add_subparsers(dest="action", required=True, metavar="WHAT")
    check = actions.add_parser("check", help="every mistake in the cards, with file and line")
    check.add_argument("folder", nargs="?", type=Path, help="default: configs/policies")
    check.set_defaults(run=run_check)
    add = actions.add_parser("add", help="append an empty card to a topic's file")
    add.add_argument("topic", help="name of the file in configs/policies, without .yaml")
    add.add_argument("id", help="the new card's id, e.g. pension_night_shift")
    add.set_defaults(run=run_add)


def run_check(args: argparse.Namespace) -> int:
    """Print every problem; returns 1 when one of them is serious."""
    from assistant.dialogue import policies

    folder = args.folder or policies.POLICIES
    problems = policies.check(folder)
    for problem in problems:
        print(problem)
    serious = sum(problem.serious for problem in problems)
    cards, _ = policies.read(folder)
    uncertain = sum(not each.card.certain for each in cards)
    print(
        f"{len(cards)} cards in {len({each.file for each in cards})} topics, "
        f"{sum(len(each.card.says) for each in cards)} ways of asking; "
        f"{uncertain} answers hedged as not fully checked; "
        f"{serious} problems, {len(problems) - serious} warnings"
    )
    return 1 if serious else 0


def run_add(args: argparse.Namespace) -> int:
    """Append a card to fill in; it fails the check until that was done."""
    from assistant.dialogue import policies

    file = policies.POLICIES / f"{Path(args.topic).name.removesuffix('.yaml')}.yaml"
    line = policies.scaffold(file, args.id)
    print(f"{file}:{line}: fill this card in, then run `hotline policies check`")
    return 0
