"""`hotline bench …`: measures the hotline as a caller experiences it."""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from assistant import settings as configuration
from assistant.commands import bench_asr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistant.bench_load import Step
    from assistant.bench_nlu import Case, Result


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
    latency.add_argument("--plot", type=Path, metavar="PNG", help="draw the distributions")
    latency.set_defaults(run=run)
    nlu = benches.add_parser(
        "nlu",
        help="callers never met before: right cards, false accepts, latency",
        description="Asks the served dialogue every sentence of a file, clean and with a fifth of "
        "the characters misheard. A line is the text, a tab, and what is meant: a card's id, or "
        "an intent such as out_of_scope.",
    )
    nlu.add_argument("file", nargs="?", type=Path, help="default: tests/data/held_out.tsv")
    nlu.add_argument("--json", action="store_true", help="one JSON object on standard output")
    nlu.add_argument("--picture", type=Path, metavar="PNG", help="draw the confusion matrix")
    nlu.set_defaults(run=run_nlu)
    bench_asr.register(benches)
    interrupt = benches.add_parser(
        "interrupt",
        help="how soon the hotline falls silent for a caller, and whether it does for less",
        description="Real calls on loopback. In the middle of the greeting comes a caller's voice, "
        "a cough, an 嗯, or the line's echo of the greeting, 20 dB down; timed on the wire, from "
        "the first sample of the sound to the last one of the hotline's.",
    )
    interrupt.add_argument("--each", type=int, default=20, help="how many of each sound")
    interrupt.add_argument("--json", action="store_true", help="one JSON object on standard output")
    interrupt.add_argument("--plot", type=Path, metavar="PNG", help="draw every reaction")
    interrupt.set_defaults(run=run_interrupt)
    endpoint = benches.add_parser(
        "endpoint",
        help="whether callers who pause are let finish, and how long the others wait",
        description="Utterances nothing was trained on, each with a pause of 200 to 700 ms, heard "
        "by the real detector and recogniser in virtual time.",
    )
    endpoint.add_argument("--json", action="store_true", help="one JSON object on standard output")
    endpoint.add_argument("--most", type=int, default=240, help="utterances; default: 240")
    endpoint.add_argument("--list", action="store_true", help="print every turn that was cut off")
    endpoint.set_defaults(run=run_endpoint)
    load = benches.add_parser(
        "load",
        help="how many calls at once: more callers until the answers come late",
        description="Real SIP and RTP on loopback, 1, 2, 4, 6 … callers at once who hear the "
        "greeting, ask recorded questions and hear some seconds of each answer; until the p95 of "
        "the answers is over 1.5 s, or two packets are more than 40 ms apart, twice in a row.",
    )
    load.add_argument("--most", type=int, default=12, help="calls at once at most")
    load.add_argument("--seconds", type=float, default=45, help="length of a step")
    load.add_argument("--json", action="store_true", help="one JSON object on standard output")
    load.add_argument("--plot", type=Path, metavar="PNG", help="draw the curves")
    load.set_defaults(run=run_load)
    soak = benches.add_parser(
        "soak",
        help="calls back to back at half load: does a process grow?",
        description="Real calls on loopback, half as many at once as there are lines. Prints what "
        "each process holds after it has warmed up and at the end; exit code 1 if one grew.",
    )
    soak.add_argument("--minutes", type=float, default=10)
    soak.add_argument("--calls", type=int, default=2, help="at once")
    soak.add_argument("--json", action="store_true", help="one JSON object on standard output")
    soak.set_defaults(run=run_soak)


def run(args: argparse.Namespace) -> int:
    """Measure and print; returns 1 when the hotline did not answer enough turns."""
    from assistant.bench import Distribution, draw, latency
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
    if args.plot:
        draw(found, args.plot)
    if args.json:
        print(json.dumps({kind: each.as_json() for kind, each in found.items()}))
    else:
        print(f"{'answer':8} {'n':>4} {'p50 ms':>8} {'p95 ms':>8} {'worst':>8}")
        for kind, each in found.items():
            values = f"{each.n:4} {each.p50_ms:8.0f} {each.p95_ms:8.0f} {each.worst_ms:8.0f}"
            print(f"{kind:8} {values}")
            for stage, times in each.stages.items():
                print(f"  {stage:11} {times.n:4} {times.p50_ms:6.0f} {times.p95_ms:8.0f}")
    return 0 if all(each.n >= args.turns for each in found.values()) else 1


def run_load(args: argparse.Namespace) -> int:
    """Measure step by step and print; returns 1 when not even one call was carried."""
    from assistant import bench_load
    from assistant.supervision import StartError

    if not 1 <= args.most <= 200 or args.seconds < 1:
        print("hotline: --most is 1 to 200, --seconds at least 1", file=sys.stderr)
        return 2
    configuration.load(args.config, args.overrides)
    try:
        steps = asyncio.run(_load(args))
    except StartError as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({"steps": [step.as_json() for step in steps]}))
    else:
        print(bench_load.table(steps))
    if args.plot:
        bench_load.draw(steps, args.plot)
    return 0 if any(step.carried for step in steps) else 1


async def _load(args: argparse.Namespace) -> "list[Step]":
    from assistant import bench_load

    steps = []
    async for step in bench_load.ramp(args.config, args.overrides, args.most, args.seconds):
        steps.append(step)
        print(json.dumps(step.as_json()), file=sys.stderr, flush=True)
    return steps


def run_soak(args: argparse.Namespace) -> int:
    """Call for so long and print what the processes hold; returns 1 when one grew."""
    from assistant import bench_soak
    from assistant.supervision import StartError

    if not 1 <= args.calls <= 100 or args.minutes <= 0:
        print("hotline: --calls is 1 to 100, --minutes more than 0", file=sys.stderr)
        return 2
    configuration.load(args.config, args.overrides)
    try:
        rounds, held = asyncio.run(
            bench_soak.soak(args.config, args.overrides, args.calls, args.minutes)
        )
    except StartError as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 2
    if args.json:
        found = {"rounds": [each.as_json() for each in rounds],
                 "services": [each.as_json() for each in held]}  # fmt: skip
        print(json.dumps(found))
    else:
        print(bench_soak.table(rounds, held))
    return 1 if any(each.grew for each in held) else 0


def run_nlu(args: argparse.Namespace) -> int:
    """Measure understanding and print it."""
    from assistant import bench_nlu

    settings = configuration.load(args.config, args.overrides)
    cases = bench_nlu.read_cases(args.file or bench_nlu.HELD_OUT)
    results = asyncio.run(_understanding(settings, args, cases))
    found = bench_nlu.report(results)
    print(json.dumps(found, ensure_ascii=False) if args.json else bench_nlu.table(found))
    if args.picture:
        bench_nlu.draw(results, args.picture)
    return 0


async def _understanding(
    settings: configuration.Settings, args: argparse.Namespace, cases: "Sequence[Case]"
) -> "dict[str, Result]":
    from assistant import bench_nlu
    from assistant.running import running_services

    async with running_services(settings, args.config, args.overrides) as serving:
        return await bench_nlu.measure(serving, cases)


def run_interrupt(args: argparse.Namespace) -> int:
    """Interrupt the hotline and print how it took it."""
    from assistant import bench_interrupt
    from assistant.models import ModelError
    from assistant.supervision import StartError

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        measured = asyncio.run(
            bench_interrupt.measure(args.config, args.overrides, args.each, tell)
        )
    except (ModelError, StartError) as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 2
    found = bench_interrupt.report(measured)
    print(json.dumps(found, ensure_ascii=False) if args.json else bench_interrupt.table(found))
    if args.plot:
        bench_interrupt.draw(measured, args.plot)
    return 0


def run_endpoint(args: argparse.Namespace) -> int:
    """Hear out callers who pause and print whether they were."""
    from assistant import asr_corpus, bench_endpoint
    from assistant.models import ModelError
    from assistant.speech import recognizers

    settings = configuration.load(args.config, args.overrides)
    try:
        recognizer = recognizers.load(settings.speech).recognizer
        utterances = asr_corpus.own(progress=lambda line: print(line, file=sys.stderr))
    except ModelError as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 2
    rules = settings.turns
    ended = list(bench_endpoint.listen_to_all(recognizer, rules, utterances, args.most))
    if args.list:
        for each in ended:
            if each.cut:
                print(f"{each.pause_ms} ms  {each.text}  heard: {each.heard}", file=sys.stderr)
    found = bench_endpoint.report(ended)
    print(json.dumps(found) if args.json else bench_endpoint.table(found))
    return 0
