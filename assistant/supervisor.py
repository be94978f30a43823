"""Starts services in order, keeps them alive, stops them in reverse; knows none of them.

Which services there are, with their commands and ports, is in services.py. When a dead one is
started again is decided in supervision.py; child.py holds the process itself.
"""

import asyncio
import json
import signal
import time
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import aiohttp

from assistant.child import Child
from assistant.ports import Port, require_free
from assistant.settings import ROOT, project_path
from assistant.supervision import UNUSABLE, RestartPolicy, StartError

LOGS = project_path("var/log")

POLL_S = 0.2
"""Between two looks at a service that is starting."""

POLL_TIMEOUT_S = 2.0
"""A service that accepts a connection and does not answer is not ready."""

DRAIN_S = 1.0
"""For what an ended child has printed last; it is in the pipe already."""

State = Literal["starting", "ready", "died", "stopping", "stopped"]
OnState = Callable[[str, State, str], None]
Event = dict[str, Any]


@dataclass(frozen=True)
class Service:
    """One process to keep alive."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path = ROOT
    health: str = ""
    """URL that answers 200 once it is ready; empty: it prints JSON lines, the first when ready."""
    ports: Sequence[Port] = ()
    start_s: float = 60.0
    """A start that takes longer than this has failed."""
    stop_s: float = 5.0
    """Time between SIGTERM and SIGKILL."""
    niceness: int = 0
    """Above 0: it runs behind the others, as far as the system can tell."""


@dataclass
class _Kept:
    """A service with what is known of it now."""

    service: Service
    stage: int
    first_ready: "asyncio.Future[None]"
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    child: Child | None = None
    keeper: "asyncio.Task[None] | None" = None


class _End(NamedTuple):
    """How one life of a service ended."""

    code: int | None
    """None: it never became ready and was stopped."""
    how: str
    last_words: str
    """The last line of its log."""


class Supervisor:
    """Keeps services alive while the `async with` block runs.

    `stages` are started one after another, the services of one stage together. Entering the
    block returns when all are ready, or raises StartError with everything stopped again.
    `on_state(service, state, detail)` tells of progress and restarts; `on_event` gets each JSON
    line of a service that prints them.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[Service]],
        *,
        on_state: OnState = lambda service, state, detail: None,
        on_event: Callable[[Event], None] = lambda event: None,
        logs: Path = LOGS,
    ) -> None:
        self._stages = stages
        self._on_state = on_state
        self._on_event = on_event
        self._logs = logs
        self._kept: list[_Kept] = []
        self.announced: dict[str, Event] = {}
        """The ready line of each service that prints one, by the service's name."""

    async def __aenter__(self) -> Self:
        require_free(port for stage in self._stages for each in stage for port in each.ports)
        try:
            for number, stage in enumerate(self._stages):
                await asyncio.gather(*[self._begin(service, number) for service in stage])
        except BaseException:  # Ctrl-C cancels: then, too, nothing may be left behind
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def pids(self) -> dict[str, int]:
        """The process id of each service that runs now."""
        return {kept.service.name: kept.child.pid for kept in self._kept if kept.child is not None}

    async def stop(self) -> None:
        """Stop everything, the last stage first, each service within its `stop_s`."""
        while self._kept:
            last = self._kept[-1].stage
            stage = [kept for kept in self._kept if kept.stage == last]
            self._kept = [kept for kept in self._kept if kept.stage != last]
            await asyncio.gather(*[self._stop(kept) for kept in reversed(stage)])

    async def _stop(self, kept: _Kept) -> None:
        assert kept.keeper is not None
        self._on_state(kept.service.name, "stopping", "")
        kept.keeper.cancel()
        await asyncio.wait([kept.keeper])
        self._on_state(kept.service.name, "stopped", "")

    def _begin(self, service: Service, stage: int) -> "asyncio.Future[None]":
        loop = asyncio.get_running_loop()
        kept = _Kept(service, stage, loop.create_future())
        kept.keeper = loop.create_task(self._keep(kept))
        self._kept.append(kept)
        return kept.first_ready

    async def _keep(self, kept: _Kept) -> None:
        name = kept.service.name
        log = self._logs / f"{name}.log"
        while True:
            self._on_state(name, "starting", "")
            end = await self._run(kept, log)
            delay = kept.policy.died(time.monotonic(), end.code)
            if delay is None:
                reason = f"{end.last_words or 'it said nothing'} ({end.how}; log: {log})"
                if not kept.first_ready.done():  # cancelled, when the start was
                    kept.first_ready.set_exception(StartError(f"{name} cannot start: {reason}"))
                return
            self._on_state(name, "died", f"{end.how}; again in {delay:g} s; log: {log}")
            await asyncio.sleep(delay)

    async def _run(self, kept: _Kept, log: Path) -> _End:
        """One life of a service, from launch to end."""
        service = kept.service
        argv, talks = service.argv, not service.health
        try:
            child = await Child.launch(
                argv, service.cwd, service.env, log, talks=talks, niceness=service.niceness
            )
        except OSError as error:
            remedy = f"{argv[0]}: {error.strerror}; see `hotline doctor`"
            return _End(UNUSABLE, "not launched", remedy)
        kept.child = child
        ready = asyncio.Event()
        watcher = asyncio.create_task(self._watch(service, child, ready))
        ended = asyncio.create_task(child.wait())
        first = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait({ended, first}, timeout=service.start_s, return_when=FIRST_COMPLETED)
            if ready.is_set():
                self._is_ready(kept)
            elif not ended.done():
                await child.stop(service.stop_s)
                how = f"not ready after {service.start_s:g} s"
                return _End(None, how, child.last_words())
            code = await ended
            return _End(code, _how(code), child.last_words())
        finally:
            first.cancel()
            ended.cancel()
            await child.stop(service.stop_s)
            if service.health:
                watcher.cancel()
            await asyncio.wait([watcher], timeout=DRAIN_S)
            kept.child = None

    def _is_ready(self, kept: _Kept) -> None:
        kept.policy.ready(time.monotonic())
        if not kept.first_ready.done():
            kept.first_ready.set_result(None)
        self._on_state(kept.service.name, "ready", "")

    async def _watch(self, service: Service, child: Child, ready: asyncio.Event) -> None:
        """Set `ready` when the service says so; then pass its events on, if it has any."""
        if child.stdout is None:
            await _answers(service.health)
            ready.set()
            return
        async for line in child.stdout:
            try:
                event: Event = json.loads(line)
            except json.JSONDecodeError:  # a library's own print is no event
                child.log(line)
                continue
            if not ready.is_set():
                self.announced[service.name] = event
                ready.set()
            self._on_event(event)


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def cancel_on_signals() -> None:
    """From now on the first SIGINT or SIGTERM cancels the current task.

    Later ones change nothing: the stop that is under way is bounded in time.
    """
    task = asyncio.current_task()
    assert task is not None
    pending = [task]

    def cancel() -> None:
        if pending:
            pending.pop().cancel()

    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, cancel)


async def _answers(url: str) -> None:
    """Return when `url` answers 200."""
    timeout = aiohttp.ClientTimeout(total=POLL_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass  # it is still starting
            await asyncio.sleep(POLL_S)
