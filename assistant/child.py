"""One child process that can neither outlive its supervisor nor leave children of its own."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

LOG_LIMIT = 5_000_000
"""Bytes of a service's log above which the next start begins a new one and keeps the last."""

TAIL_BYTES = 8_192
"""As much of the log's end as is searched for a child's last words."""

LONGEST_LINE = 1_048_576
"""Bytes of one line on stdout: an event with a long n-best list passes asyncio's 64 KiB."""

PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Child:
    """A running process: its own process group, its stderr in a log file.

    Its own group keeps a terminal's Ctrl-C from it: the supervisor decides who stops when. It is no
    session of its own: Linux shares the processors out among sessions first, whatever niceness
    says (sched(7), autogroup).
    """

    def __init__(self, process: Process, log: Path, log_start: int) -> None:
        self._process = process
        self._log = log
        self._log_start = log_start

    @classmethod
    async def launch(
        cls,
        argv: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        *,
        talks: bool,
        niceness: int = 0,
    ) -> "Child":
        """Start `argv`; stdout is `stdout` if it `talks`, else it is logged too.

        Raises OSError where the program cannot be run.
        """
        with _open_log(log) as sink:
            log_start = sink.tell()
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=cwd,
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=PIPE if talks else sink,
                stderr=sink,
                process_group=0,
                preexec_fn=_dies_with(os.getpid()),
                limit=LONGEST_LINE,
            )
            own = os.getpriority(os.PRIO_PROCESS, 0)
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                os.setpriority(os.PRIO_PROCESS, process.pid, own + niceness)
            return cls(process, log, log_start)

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group."""
        return self._process.pid

    @property
    def stdout(self) -> asyncio.StreamReader | None:
        """What it prints, for one that talks; None for one whose output is logged."""
        return self._process.stdout

    async def wait(self) -> int:
        """Wait for its end; returns the exit code (negative: the signal that ended it)."""
        code = await self._process.wait()
        self._kill_group()
        return code

    async def stop(self, grace_s: float) -> None:
        """Ask it to end (SIGTERM), give it `grace_s` seconds, then end its whole group."""
        if self._process.returncode is None:
            # the leader alone is told: it still needs its helpers to say goodbye
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), grace_s)
        except TimeoutError:
            pass
        finally:
            self._kill_group()
            await self._process.wait()

    def _kill_group(self) -> None:
        # macOS says EPERM for a group of zombies
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def log(self, line: bytes) -> None:
        """Add a line to its log."""
        with self._log.open("ab") as log:
            log.write(line)

    def last_words(self) -> str:
        """The last line it wrote to its log, or an empty string."""
        with self._log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _open_log(log: Path) -> BinaryIO:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    return log.open("ab")


def _dies_with(parent: int) -> Callable[[], None] | None:
    """What a child does before exec on Linux, so that it ends even when the parent is SIGKILLed."""
    if _libc is None:
        return None
    prctl = _libc.prctl

    def bind_to_parent() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return bind_to_parent
