"""How long a caller waits: real calls over SIP on loopback, timed on the caller's side."""

import asyncio
import itertools
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from assistant.backend.call_tables import TurnRecord
from assistant.backend.database import Database
from assistant.bench_calls import QUESTIONS, Question, ask, hear_greeting, hotline
from assistant.channels.sip_light import LightCall, Refused, in_pace
from assistant.settings import Settings

STAGES = ("endpoint", "recognised", "understood", "first_audio")
RECORDED_S = 1.0
"""The last turn is in the records this long after its call."""


@dataclass(frozen=True)
class Distribution:
    """Answer latencies of one kind, in milliseconds."""

    latencies: tuple[float, ...]
    stages: dict[str, "Distribution"] = field(default_factory=dict)
    """On the hotline's side, from the end of the voice: endpoint, recognised, understood and
    first_audio. The wire's own time, both ways, is what is left."""

    @property
    def n(self) -> int:
        """How many turns were answered."""
        return len(self.latencies)

    @property
    def p50_ms(self) -> float:
        """The median."""
        return statistics.median(self.latencies) if self.latencies else float("nan")

    @property
    def p95_ms(self) -> float:
        """The value that 95 % of the turns do not exceed (nearest rank)."""
        ranked = sorted(self.latencies)
        return ranked[max(0, -(-95 * len(ranked) // 100) - 1)] if ranked else float("nan")

    @property
    def worst_ms(self) -> float:
        """The slowest turn."""
        return max(self.latencies, default=float("nan"))

    def as_json(self) -> dict[str, Any]:
        """As `hotline bench latency --json` prints it."""
        found: dict[str, Any] = {}
        if self.latencies:
            found = {"p50_ms": round(self.p50_ms), "p95_ms": round(self.p95_ms)}
        found["n"] = self.n
        if self.stages:
            found["stages"] = {name: each.as_json() for name, each in self.stages.items()}
        return found


async def latency(config: Path, overrides: Sequence[str], turns: int) -> dict[str, Distribution]:
    """`cached`: fixed prompts rendered ahead; `new`: every sentence is synthesised.

    Raises StartError when the hotline cannot start.
    """
    return {
        kind: await _measure(config, [*overrides, f"speech.prompt_cache={cached}"], turns)
        for kind, cached in (("cached", "true"), ("new", "false"))
    }


async def _measure(config: Path, overrides: Sequence[str], turns: int) -> Distribution:
    questions = [Question.load(file) for file in QUESTIONS]
    latencies: list[float] = []
    async with hotline(config, overrides) as running:
        for number, question in zip(range(turns), itertools.cycle(questions), strict=False):
            answered = await _ask(running.uri, question)
            if answered is not None:
                latencies.append(answered)
            _tell(f"turn {number + 1} of {turns}: {answered and round(answered)} ms")
        await asyncio.sleep(RECORDED_S)
        return Distribution(tuple(latencies), await _stages(running.settings))


def draw(found: dict[str, Distribution], file: Path) -> None:
    """The share of answers begun by then, and where the median turn spends its time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    answered = {kind: each for kind, each in found.items() if each.n}
    for kind, each in answered.items():
        ranked = sorted(each.latencies)
        shares = [(rank + 1) / each.n for rank in range(each.n)]
        left.step(ranked, shares, where="post", label=f"{kind}, n = {each.n}")
    begun = [0.0] * len(answered)
    for stage in (*STAGES, "wire"):
        ended = [each.stages.get(stage, each).p50_ms for each in answered.values()]
        took = [end - begin for begin, end in zip(begun, ended, strict=True)]
        right.barh(list(answered), took, left=begun, label=stage)
        begun = ended
    left.set(
        xlabel="ms from the caller's last sample to the answer's first", ylabel="share of turns"
    )
    left.set(xlim=(0, None), ylim=(0, 1))
    left.legend(loc="lower right")
    right.set(xlabel="ms, medians, from the end of the voice", ylim=(-0.5, len(answered) + 0.2))
    right.legend(loc="upper center", ncols=3, fontsize="small")
    figure.savefig(file)


async def _stages(settings: Settings) -> dict[str, Distribution]:
    """What the records of the calls say of each stage."""
    database = Database(settings.backend.database)
    try:
        async with database.reading() as session:
            wanted = select(TurnRecord.latencies).where(TurnRecord.kind == "speech")
            turns = list(await session.scalars(wanted))
    finally:
        await database.close()
    return {
        stage: Distribution(tuple(turn[f"{stage}_ms"] for turn in turns if f"{stage}_ms" in turn))
        for stage in STAGES
    }


async def _ask(uri: str, question: Question) -> float | None:
    """One call: hear the greeting, ask, hang up when the answer begins; its latency in ms."""
    try:
        async with LightCall(uri) as call, in_pace({call}):
            await hear_greeting(call)
            return (await ask(call, question)).latency_ms
    except Refused as refused:
        _tell(str(refused))
        return None


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
