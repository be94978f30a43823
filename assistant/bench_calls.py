"""What the benchmarks share: a hotline of their own, and a caller who asks it questions."""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant import services
from assistant import settings as configuration
from assistant.channels import g711
from assistant.channels.sip_light import LightCall
from assistant.channels.sip_script import load_line, speech_end
from assistant.dialogue import training
from assistant.ports import free_ports
from assistant.running import tell_state
from assistant.settings import Settings, project_path
from assistant.supervisor import Supervisor

QUESTIONS = ("12.wav", "16.wav", "14.wav", "21.wav", "30.wav")
"""Recorded callers, without noise, whose questions are answered by a policy card."""

QUIET_S = 2.0
"""The greeting is over: longer than any pause inside it, or the question would interrupt it."""

PATIENCE_S = 10.0
"""A turn that is not answered by then counts as unanswered."""

BARGE_IN_S = 0.8
"""What the hotline was saying has stopped by then; what begins later, before the caller has
finished, cuts the caller short."""


@dataclass(frozen=True, slots=True)
class Running:
    """A hotline that answers."""

    supervisor: Supervisor
    settings: Settings

    @property
    def uri(self) -> str:
        """The address to dial."""
        return str(self.supervisor.announced["answer"]["sip"])


@asynccontextmanager
async def hotline(
    config: Path, overrides: Sequence[str], most: int | None = None
) -> AsyncIterator[Running]:
    """A hotline with `most` lines, on free ports, with records and recordings that end with it.

    Raises StartError.
    """
    with tempfile.TemporaryDirectory() as folder:
        chosen = [
            *overrides,
            *free_ports(),
            "sip.bind=127.0.0.1",
            *([f"sip.max_calls={most}"] if most else []),
            "speech.render_when_idle=false",
            f'recording.folder="{folder}"',
            f'backend.database="sqlite+aiosqlite:///{folder}/hotline.db"',
        ]
        settings = configuration.load(config, chosen)
        model = training.model(lambda line: print(line, file=sys.stderr))
        stages = services.stages(settings, model, services.config_arguments(config, chosen))
        async with Supervisor(stages, on_state=tell_state) as supervisor:
            yield Running(supervisor, settings)


@dataclass(frozen=True, slots=True)
class Question:
    """A recorded question, as it is sent."""

    speech: bytes
    """A-law, 8 kHz."""
    tail_s: float
    """Of it, what follows the last word."""

    @classmethod
    def load(cls, file: str) -> "Question":
        """From audio/callers."""
        pcm = load_line(project_path("audio/callers") / file)
        return cls(g711.encode(pcm), (pcm.size - speech_end(pcm)) / 8000)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question."""

    latency_ms: float | None
    """Last sample of the caller's words to the first of the answer, both on the wire; None where
    none came in time, or too soon."""
    cut_short: bool = False
    """The hotline spoke before the caller had finished."""


async def hear_greeting(call: LightCall) -> None:
    """Until the hotline has been quiet for QUIET_S."""
    deadline = time.time() + 3 * PATIENCE_S
    while time.time() < deadline and not call.ended.is_set():
        heard = call.wire.last_sound_s
        if heard is not None and time.time() - heard > QUIET_S:
            return
        await asyncio.sleep(0.1)


async def ask(call: LightCall, question: Question) -> Answer:
    """Ask, and wait until the answer begins; inside in_pace()."""
    left: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    began = time.time()

    def said(at_s: float) -> None:
        if not left.done():
            left.set_result(at_s)

    call.say(question.speech, said)
    await unless_ended(call, left)
    ended = (left.result() if left.done() else time.time()) - question.tail_s
    onset = await _onset(call, ended)
    if call.wire.onset_after(began + BARGE_IN_S) != onset:
        return Answer(None, cut_short=True)
    return Answer(None if onset is None else (onset - ended) * 1000)


async def unless_ended(call: LightCall, work: "asyncio.Future[Any] | Any") -> None:
    """Until it is done, or the hotline has hung up."""
    tasks = {asyncio.ensure_future(work), asyncio.ensure_future(call.ended.wait())}
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _onset(call: LightCall, ended: float) -> float | None:
    deadline = time.time() + PATIENCE_S
    while time.time() < deadline and not call.ended.is_set():
        if (onset := call.wire.onset_after(ended)) is not None:
            return onset
        await asyncio.sleep(0.05)
    return None
