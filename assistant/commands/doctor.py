"""`hotline doctor`: what is there, what is missing, what to do."""

import argparse
import asyncio
import json
from dataclasses import asdict

from assistant import settings as configuration


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = subparsers.add_parser(
        "doctor",
        help="what is there, what is missing, what to do",
        description="Exit code 1 when something is missing that `hotline serve` needs.",
    )
    command.add_argument("--json", action="store_true", help="one JSON object a line")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a finding a line; returns 1 if the hotline cannot serve as it is."""
    from assistant import doctor

    findings = asyncio.run(doctor.examine(configuration.load(args.config, args.overrides)))
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        if args.json:
            print(json.dumps(asdict(finding), ensure_ascii=False))
            continue
        verdict = "ok" if finding.ok else "MISSING" if finding.needed else "absent"
        print(f"{verdict:8} {finding.what:{width}}  {finding.detail}")
        if not finding.ok and finding.remedy:
            print(f"{'':8} {'':{width}}  → {finding.remedy}")
    return int(any(finding.needed and not finding.ok for finding in findings))
