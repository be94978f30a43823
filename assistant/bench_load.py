"""How many calls at once: real SIP and RTP on loopback, more callers from step to step.

Every caller dials, hears the greeting out, asks a recorded question, hears some seconds of the
answer and asks the next, until the step is over: livelier than people are, who hear answers out.
"""

import asyncio
import itertools
import math
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assistant.bench import Distribution
from assistant.bench_calls import (
    QUESTIONS,
    Question,
    Running,
    ask,
    hear_greeting,
    hotline,
    unless_ended,
)
from assistant.channels.sip_light import LightCall, Refused, in_pace
from assistant.processes import Cost, busy_s, costs

LIMIT_MS = 1500
"""95 % of the answers begin within this."""

GAP_MS = 40
"""No packet comes later than this after the one before."""

TRIES = 2
"""Of a step: a single late packet on a busy machine is no limit yet."""

APART_S = 0.7
"""Callers dial one after another: all at once would speak all at once."""

LISTEN_S = 8.0
"""Seconds of an answer that a caller hears before the next question."""


@dataclass
class Step:
    """What so many calls at once were like."""

    calls: int
    latencies_ms: list[float] = field(default_factory=list)
    gaps_ms: list[float] = field(default_factory=list)
    refused: int = 0
    """Calls that got 486 or 503."""
    broken: int = 0
    """Calls that were not answered, or that the hotline ended."""
    unanswered: int = 0
    cut_short: int = 0
    """Turns in which the hotline spoke before the caller had finished; they have no latency."""
    cores: float = 0.0
    """Processors that the hotline kept busy."""
    caller_cores: float = 0.0
    """Processors that this benchmark kept busy."""
    other_cores: float = 0.0
    """Processors that other programs kept busy: with many, this measures them."""
    memory_mb: float = 0.0
    """Of all processes of the hotline."""

    @property
    def latency(self) -> Distribution:
        """End of the caller's speech to the first sound of the answer."""
        return Distribution(tuple(self.latencies_ms))

    @property
    def worst_gap_ms(self) -> float:
        """The longest time between two packets."""
        return max(self.gaps_ms, default=float("nan"))

    @property
    def long_gaps(self) -> int:
        """Packets that came later than GAP_MS after the one before."""
        return sum(gap > GAP_MS for gap in self.gaps_ms)

    @property
    def carried(self) -> bool:
        """Whether so many calls are served as they should be."""
        failed = self.refused or self.broken or self.unanswered or self.long_gaps
        return bool(self.latencies_ms) and not failed and self.latency.p95_ms <= LIMIT_MS

    def as_json(self) -> dict[str, Any]:
        """As `hotline bench load --json` prints it."""
        return {
            "calls": self.calls,
            "turns": self.latency.n,
            "p50_ms": _rounded(self.latency.p50_ms),
            "p95_ms": _rounded(self.latency.p95_ms),
            "worst_ms": _rounded(self.latency.worst_ms),
            "worst_gap_ms": _rounded(self.worst_gap_ms),
            "gaps_over_40_ms": self.long_gaps,
            "packets": len(self.gaps_ms),
            "refused": self.refused,
            "broken": self.broken,
            "unanswered": self.unanswered,
            "cut_short": self.cut_short,
            "cores": round(self.cores, 2),
            "caller_cores": round(self.caller_cores, 2),
            "other_cores": round(self.other_cores, 2),
            "memory_mb": round(self.memory_mb),
            "carried": self.carried,
        }


def _rounded(ms: float) -> int | None:
    """For JSON, which has no NaN."""
    return None if math.isnan(ms) else round(ms)


class Callers:
    """So many callers at once, for a while; what they found is in `step`."""

    def __init__(self, uri: str, calls: int, questions: Sequence[Question]) -> None:
        self._uri = uri
        self._questions = questions
        self._calls: set[LightCall] = set()
        self.step = Step(calls)

    async def run(self, seconds: float) -> None:
        """Call and talk for so long, then hang up."""
        until = time.monotonic() + seconds
        callers = [self._caller(number, until) for number in range(self.step.calls)]
        async with in_pace(self._calls):
            await asyncio.gather(*callers)

    async def _caller(self, number: int, until: float) -> None:
        await asyncio.sleep(number * APART_S)
        try:
            async with LightCall(self._uri, f"138{number:08}") as call:
                self._calls.add(call)
                try:
                    await self._converse(call, number, until)
                finally:
                    self._calls.discard(call)
                    self.step.gaps_ms += [gap * 1000 for gap in call.wire.gaps_s]
                    self.step.broken += call.ended.is_set()
        except Refused as refusal:
            if refusal.status in (486, 503):
                self.step.refused += 1
            else:
                self.step.broken += 1

    async def _converse(self, call: LightCall, number: int, until: float) -> None:
        await hear_greeting(call)
        for turn in itertools.count():
            if time.monotonic() >= until or call.ended.is_set():
                return
            answer = await ask(call, self._questions[(number + turn) % len(self._questions)])
            if answer.cut_short:
                self.step.cut_short += 1
            elif answer.latency_ms is None:
                self.step.unanswered += 1
            else:
                self.step.latencies_ms.append(answer.latency_ms)
            await unless_ended(call, asyncio.sleep(LISTEN_S))


async def ramp(
    config: Path, overrides: Sequence[str], most: int, seconds: float
) -> AsyncIterator[Step]:
    """One step after another, until one is not carried, nor when it is tried once more.

    Raises StartError.
    """
    questions = [Question.load(file) for file in QUESTIONS]
    async with hotline(config, overrides, most) as running:
        await Callers(running.uri, 1, questions).run(1)  # the first call of a process is slower
        for calls in (1, *range(2, most + 1, 2)):
            for _ in range(TRIES):
                step = await measure(running, calls, seconds, questions)
                yield step
                if step.carried:
                    break
            else:
                return


async def measure(
    running: Running, calls: int, seconds: float, questions: Sequence[Question]
) -> Step:
    """One step."""
    callers = Callers(running.uri, calls, questions)
    before, began, own, all_ = _total(running), time.monotonic(), time.process_time(), busy_s()
    await callers.run(seconds)
    after, took, busy = _total(running), time.monotonic() - began, busy_s() - all_
    step = callers.step
    step.cores = (after.cpu_s - before.cpu_s) / took
    step.caller_cores = (time.process_time() - own) / took
    step.other_cores = max(0.0, busy / took - step.cores - step.caller_cores)
    step.memory_mb = after.memory_mb
    return step


def _total(running: Running) -> Cost:
    return sum(costs(running.supervisor.pids().values()).values(), Cost())


def table(steps: Sequence[Step]) -> str:
    """The figures for a person."""
    lines = [
        f"{'calls':>5} {'turns':>5} {'p50 ms':>7} {'p95 ms':>7} {'worst':>6} {'gap ms':>7} "
        f"{'>40 ms':>6} {'lost':>5} {'cores':>6} {'others':>6} {'MB':>6}"
    ]
    for each in steps:
        latency, lost = each.latency, each.refused + each.broken + each.unanswered
        lines.append(
            f"{each.calls:5} {latency.n:5} {latency.p50_ms:7.0f} {latency.p95_ms:7.0f} "
            f"{latency.worst_ms:6.0f} {each.worst_gap_ms:7.1f} {each.long_gaps:6} {lost:5} "
            f"{each.cores:6.2f} {each.other_cores:6.2f} {each.memory_mb:6.0f}"
        )
    carried = max((each.calls for each in steps if each.carried), default=0)
    cores = os.cpu_count() or 1
    lines.append(
        f"carried: {carried} calls at once, {carried / cores:g} a core "
        f"(p95 at most {LIMIT_MS} ms, no gap over {GAP_MS} ms)"
    )
    return "\n".join(lines)


def draw(steps: Sequence[Step], file: Path) -> None:
    """Latency, gaps and processors by the number of calls, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    calls = [each.calls for each in steps]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    left.plot(calls, [each.latency.p50_ms for each in steps], "o-", label="p50")
    left.plot(calls, [each.latency.p95_ms for each in steps], "o-", label="p95")
    left.axhline(LIMIT_MS, color="grey", linestyle="--", label=f"limit {LIMIT_MS} ms")
    left.set(xlabel="calls at once", ylabel="answer latency, ms", ylim=(0, None))
    left.legend()
    right.plot(calls, [each.worst_gap_ms for each in steps], "o-", label="longest gap, ms")
    right.axhline(GAP_MS, color="grey", linestyle="--", label=f"limit {GAP_MS} ms")
    right.set(xlabel="calls at once", ylabel="gap between packets, ms", ylim=(0, None))
    cores = right.twinx()
    cores.plot(calls, [each.cores for each in steps], "s:", color="tab:green", label="cores")
    cores.set(ylabel="processors busy", ylim=(0, os.cpu_count()))
    right.legend(loc="upper left")
    cores.legend(loc="lower right")
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
