"""`hotline bench …`: measures the hotline as a caller experiences it."""

import argparse
import asyncio
import json
import sys

from assistant import settings as configuration


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = commands.add_parser("bench", help="measure the hotline as a caller experiences it")
    benches = command.add_subparsers(dest="bench", required=True, metavar="WHAT")
    latency = benches.add_parser(
        "latency",
        help="end of the caller's speech to the first sound of the answer",
        description="Real SIP calls on loopback, measured on the caller's side of the wire: "
        "`cached` with fixed prompts rendered ahead, `new` with every sentence synthesised.",
    )
    latency.add_argument("--turns", type=int, default=30, help="at least so many of each kind")
    latency.add_argument("--json", action="store_true", help="one JSON object on standard output")
    latency.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print; returns 1 when the hotline did not answer enough turns."""
    from assistant.bench import Distribution, latency
    from assistant.supervision import StartError

    if args.turns < 1:
        print("hotline: --turns must be at least 1", file=sys.stderr)
        return 2
    configuration.load(args.config, args.overrides)  # a broken one is told before anything starts
    try:
        found: dict[str, Distribution] = asyncio.run(
            latency(args.config, args.overrides, args.turns)
        )
    except StartError as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({kind: each.as_json() for kind, each in found.items()}))
    else:
        print(f"{'answer':8} {'n':>4} {'p50 ms':>8} {'p95 ms':>8} {'worst':>8}")
        for kind, each in found.items():
            values = f"{each.n:4} {each.p50_ms:8.0f} {each.p95_ms:8.0f} {each.worst_ms:8.0f}"
            print(f"{kind:8} {values}")
    return 0 if all(each.n >= args.turns for each in found.values()) else 1
