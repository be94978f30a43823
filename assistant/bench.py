"""How long a caller waits: real calls over SIP on loopback, timed on the caller's side."""

import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant import services
from assistant import settings as configuration
from assistant.dialogue import training
from assistant.ports import free_ports
from assistant.running import tell_state
from assistant.settings import project_path
from assistant.supervisor import Supervisor

QUESTIONS = ("12.wav", "16.wav", "14.wav", "21.wav", "30.wav")
"""Recorded callers, without noise, whose questions are answered by a policy card."""

TURN_LIMIT_S = 45
"""A question, its answer heard to the end, and some: a call that takes longer hangs."""


@dataclass(frozen=True)
class Distribution:
    """Answer latencies of one kind, in milliseconds."""

    latencies: tuple[float, ...]

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

    def as_json(self) -> dict[str, float]:
        """As `hotline bench latency --json` prints it."""
        return {"p50_ms": round(self.p50_ms), "p95_ms": round(self.p95_ms), "n": self.n}


async def latency(config: Path, overrides: Sequence[str], turns: int) -> dict[str, Distribution]:
    """`cached`: fixed prompts rendered ahead; `new`: every sentence is synthesised.

    Raises StartError when the hotline cannot start.
    """
    return {
        "cached": await _measure(config, overrides, turns, cache=True),
        "new": await _measure(config, overrides, turns, cache=False),
    }


async def _measure(
    config: Path, overrides: Sequence[str], turns: int, *, cache: bool
) -> Distribution:
    chosen = [
        *overrides,
        *free_ports(),
        "sip.bind=127.0.0.1",
        f"speech.prompt_cache={str(cache).lower()}",
    ]
    settings = configuration.load(config, chosen)
    stages = services.stages(
        settings, training.model(_tell), services.config_arguments(config, chosen)
    )
    latencies: list[float] = []
    async with Supervisor(stages, on_state=tell_state) as hotline:
        uri = hotline.announced["answer"]["sip"]
        while len(latencies) < turns:
            answered = await _call(uri)
            if not answered:
                break
            latencies += answered
            _tell(f"{'cached' if cache else 'new'}: {len(latencies)} of {turns} turns")
    return Distribution(tuple(latencies[:turns]))


async def _call(uri: str) -> list[float]:
    """One call that asks all questions; the latency of each answer."""
    with tempfile.TemporaryDirectory() as folder:
        lines, report = Path(folder) / "lines.json", Path(folder) / "report.json"
        folder_of_callers = project_path("audio/callers")
        script = [{"say": str(folder_of_callers / name)} for name in QUESTIONS]
        lines.write_text(json.dumps(script), encoding="utf-8")
        caller = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "assistant.channels.sip_caller", uri,
            "--lines", str(lines), "--report", str(report),
            stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await asyncio.wait_for(caller.wait(), TURN_LIMIT_S * len(QUESTIONS))
        except TimeoutError:
            _tell("a call took too long and was ended")
        finally:
            if caller.returncode is None:
                caller.kill()
                await caller.wait()
        if not report.exists():
            return []
        found: dict[str, Any] = json.loads(report.read_text("utf-8"))
    return [turn["latency_ms"] for turn in found["turns"] if turn["latency_ms"] is not None]


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
