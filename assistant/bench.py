"""How long a caller waits: real calls over SIP on loopback, timed on the caller's side."""

import asyncio
import itertools
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from assistant import services
from assistant import settings as configuration
from assistant.backend.call_tables import TurnRecord
from assistant.backend.database import Database
from assistant.dialogue import training
from assistant.ports import free_ports
from assistant.running import tell_state
from assistant.scripted_call import place_call
from assistant.settings import project_path
from assistant.supervisor import Supervisor

QUESTIONS = ("12.wav", "16.wav", "14.wav", "21.wav", "30.wav")
"""Recorded callers, without noise, whose questions are answered by a policy card."""

CALL_LIMIT_S = 60
"""A greeting, a question, the first of its answer, and some: a call that takes longer hangs."""

QUIET_MS = 2000
"""The greeting is over: longer than any pause inside it, or the question would interrupt it."""

STAGES = ("endpoint", "recognised", "understood", "first_audio")
RECORDED_S = 1.0
"""The last turn is in the records this long after its call."""

HANG_UP_MS = 200
"""The caller has heard enough of the answer to have timed it."""


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
    # In a folder of its own: the operator keeps neither these calls nor their recordings.
    with tempfile.TemporaryDirectory() as folder:
        apart = [
            *overrides,
            "sip.bind=127.0.0.1",
            "speech.render_when_idle=false",
            f'recording.folder="{folder}"',
            f'backend.database="sqlite+aiosqlite:///{folder}/hotline.db"',
        ]
        return {
            "cached": await _measure(config, [*apart, "speech.prompt_cache=true"], turns),
            "new": await _measure(config, [*apart, "speech.prompt_cache=false"], turns),
        }


async def _measure(config: Path, overrides: Sequence[str], turns: int) -> Distribution:
    chosen = [*overrides, *free_ports()]
    settings = configuration.load(config, chosen)
    stages = services.stages(
        settings, training.model(_tell), services.config_arguments(config, chosen)
    )
    latencies: list[float] = []
    async with Supervisor(stages, on_state=tell_state) as hotline:
        uri = hotline.announced["answer"]["sip"]
        for number, question in zip(range(turns), itertools.cycle(QUESTIONS), strict=False):
            answered = await _ask(uri, project_path("audio/callers") / question)
            # Below zero the question fell into the greeting: no answer to it was timed.
            if answered is not None and answered > 0:
                latencies.append(answered)
            _tell(f"turn {number + 1} of {turns}: {answered} ms")
        await asyncio.sleep(RECORDED_S)
        return Distribution(tuple(latencies), await _stages(settings))


async def _stages(settings: configuration.Settings) -> dict[str, Distribution]:
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


async def _ask(uri: str, question: Path) -> float | None:
    """One call: hear the greeting, ask, hang up when the answer begins; its latency in ms."""
    lines: list[dict[str, object]] = [
        {"say": str(question)},
        {"wait_ms": 1, "interrupt_ms": HANG_UP_MS},
    ]
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = await place_call(
                uri, lines, Path(folder), CALL_LIMIT_S, "--quiet-ms", str(QUIET_MS)
            )
        except TimeoutError:
            _tell("a call took too long and was ended")
            return None
    turns: list[dict[str, float | None]] = found["turns"] if found else []
    return turns[0]["latency_ms"] if turns else None


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
