"""`hotline demo`: one whole call over SIP on loopback, watched live, checked at the end."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from assistant import settings as configuration


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = commands.add_parser(
        "demo",
        help="one whole call over SIP, watched live",
        description="Starts everything on free loopback ports, lets a recorded caller dial in, "
        "shows the conversation as it happens, writes the recording (caller left, hotline right) "
        "and a JSON report, and stops everything. Exit code 0 only if the call went as expected.",
    )
    command.add_argument("--out", type=Path, default=configuration.project_path("var/demo"))
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Place the call; returns 0 only if it went as audio/demo/lines.tsv expects."""
    from assistant.demo import Demo
    from assistant.supervision import StartError

    try:
        report = asyncio.run(Demo(args.config, args.overrides, args.out).run())
    except StartError as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 2
    file = args.out / "report.json"
    file.write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print(f"\nrecording  {report['recording']}\nreport     {file}")
    for fault in report["faults"]:
        print(f"not as expected: {fault}", file=sys.stderr)
    print("the call went as expected" if not report["faults"] else "the demo FAILED")
    return 1 if report["faults"] else 0
