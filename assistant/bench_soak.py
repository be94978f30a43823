"""Whether the hotline stays as it is: back-to-back calls at half load, what each process holds.

The first minutes are not counted: there a process loads what it loads once, and its allocator
grows to what the longest sentence takes.
"""

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from assistant.bench_calls import QUESTIONS, Question, hotline
from assistant.bench_load import Callers, Step
from assistant.processes import Cost, costs
from assistant.supervisor import Supervisor

ROUND_S = 30.0
"""A call's length: the greeting, one or two questions, goodbye."""

WARM_UP_MINUTES = 10
"""At most a quarter of the measured time, and one round at least."""

AT_AN_END = 5
"""Rounds over which is taken what a process holds: its allocator breathes from one to the next."""

MEMORY_GROWTH = 1.03
"""More than this is a leak."""

MORE_OPEN = 3
"""Files, sockets and threads that a process may hold more than at the start."""


@dataclass(frozen=True)
class Held:
    """What one service held after the first calls and after the last."""

    service: str
    before: Cost
    after: Cost

    @classmethod
    def over(cls, service: str, rounds: Sequence[Cost]) -> Self:
        """What the service held after each round, first and last ones in the middle."""
        return cls(service, _median(rounds[:AT_AN_END]), _median(rounds[-AT_AN_END:]))

    @property
    def grew(self) -> bool:
        """Whether it holds more than calls explain."""
        pairs = (
            (self.before.files, self.after.files),
            (self.before.sockets, self.after.sockets),
            (self.before.threads, self.after.threads),
        )
        more_open = any(after - before > MORE_OPEN for before, after in pairs)
        return more_open or self.after.own_mb > self.before.own_mb * MEMORY_GROWTH

    def as_json(self) -> dict[str, Any]:
        """As `hotline bench soak --json` prints it."""
        return {
            "service": self.service,
            "own_mb": [round(self.before.own_mb), round(self.after.own_mb)],
            "files": [self.before.files, self.after.files],
            "sockets": [self.before.sockets, self.after.sockets],
            "threads": [self.before.threads, self.after.threads],
            "grew": self.grew,
        }


async def soak(
    config: Path, overrides: Sequence[str], calls: int, minutes: float
) -> tuple[list[Step], list[Held]]:
    """Rounds of `calls` calls at once for so long, after those that warm up. Raises StartError."""
    questions = [Question.load(file) for file in QUESTIONS]
    rounds: list[Step] = []
    held: list[dict[str, Cost]] = []
    async with hotline(config, overrides, 2 * calls) as running:

        async def one_round() -> Step:
            callers = Callers(running.uri, calls, questions)
            await callers.run(ROUND_S)
            return callers.step

        begin = time.monotonic() + min(WARM_UP_MINUTES, minutes / 4) * 60
        await one_round()
        while time.monotonic() < begin:
            await one_round()
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until:
            rounds.append(await one_round())
            held.append(_by_service(running.supervisor))
            megabytes = {name: round(cost.own_mb) for name, cost in held[-1].items()}
            print(
                f"round {len(rounds)}: {rounds[-1].as_json()}, MB {megabytes}",
                file=sys.stderr,
                flush=True,
            )
    return rounds, [Held.over(name, [each.get(name, Cost()) for each in held]) for name in held[0]]


def _median(costs: Sequence[Cost]) -> Cost:
    """Of each of their figures."""
    return Cost(
        statistics.median(each.cpu_s for each in costs),
        statistics.median(each.memory_mb for each in costs),
        round(statistics.median(each.files for each in costs)),
        round(statistics.median(each.threads for each in costs)),
        round(statistics.median(each.sockets for each in costs)),
        statistics.median(each.own_mb for each in costs),
    )


def _by_service(supervisor: Supervisor) -> dict[str, Cost]:
    found = costs(supervisor.pids().values())
    return {name: found[pid] for name, pid in supervisor.pids().items()}


def table(rounds: Sequence[Step], held: Sequence[Held]) -> str:
    """The figures for a person."""
    turns = sum(each.latency.n for each in rounds)
    lost = sum(each.refused + each.broken + each.unanswered for each in rounds)
    calls = sum(each.calls for each in rounds)
    gaps = sum(each.long_gaps for each in rounds)
    lines = [
        f"{calls} calls, {turns} turns answered, {lost} lost, {gaps} gaps over 40 ms",
        f"{'service':10} {'MB':>13} {'files':>9} {'sockets':>9} {'threads':>9}",
    ]
    for each in held:
        before, after = each.before, each.after
        lines.append(
            f"{each.service:10} {before.own_mb:6.0f}{after.own_mb:7.0f} "
            f"{before.files:4}{after.files:5} {before.sockets:4}{after.sockets:5} "
            f"{before.threads:4}{after.threads:5}{'  grew' if each.grew else ''}"
        )
    return "\n".join(lines)
