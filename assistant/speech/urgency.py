"""Whose inference comes first: one pool for all calls, the most urgent work before the others.

A caller who hears nothing yet is more urgent than one who still has seconds of the answer in hand;
nobody's look-ahead stands before somebody's first word. Of equally urgent work the oldest is first.
"""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import ContextVar
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

NEVER = float("inf")

needed_by: ContextVar[float] = ContextVar("needed_by", default=0.0)
"""When the result is needed at the latest, in seconds of time.monotonic(): the moment at which the
caller has heard what there is. 0: at once; NEVER: nobody waits."""


MOST_REPLACED = 16
"""Each thread that hangs keeps its memory, and perhaps a core: then only a restart helps."""


class UrgencyPool(Executor):
    """Threads that take the work with the earliest `needed_by` of whoever has submitted it."""

    def __init__(self, threads: int, name: str, limit_s: float | None = None) -> None:
        """A thread whose work takes longer than `limit_s` is replaced, as a call into an engine
        that never returns cannot be ended."""
        self._name, self._limit_s = name, limit_s
        self._running: dict[int, float] = {}
        """Threads at work, by number, and since when."""
        self._started = itertools.count()
        self._replaced = 0
        self._work: list[tuple[float, int, float, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._there = threading.Condition()
        self._closed = False
        self._closing = threading.Event()
        for _ in range(threads):
            self._start()
        if limit_s is not None:
            threading.Thread(
                target=self._watch, args=(limit_s,), name=f"{name}-watch", daemon=True
            ).start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See Executor; the urgency is the submitter's `needed_by`."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - belongs to whoever waits
                future.set_exception(error)

        with self._there:
            if self._closed:
                raise RuntimeError("the pool is closed")
            entry = (needed_by.get(), next(self._numbers), time.monotonic(), work)
            heapq.heappush(self._work, entry)
            self._there.notify()
        return future

    def oldest_wait_s(self) -> float:
        """How long the oldest work has been waiting for a thread; 0 when none waits."""
        with self._there:
            since = [entry[2] for entry in self._work if entry[0] < NEVER]
        return time.monotonic() - min(since) if since else 0.0

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads after the work in progress; what waits is dropped."""
        with self._there:
            self._closed = True
            self._work.clear()
            self._there.notify_all()
        self._closing.set()

    def _start(self) -> None:
        number = next(self._started)
        threading.Thread(
            target=self._run, args=(number,), name=f"{self._name}-{number}", daemon=True
        ).start()

    def _watch(self, limit_s: float) -> None:
        while not self._closing.wait(limit_s / 10):
            with self._there:
                late = time.monotonic() - limit_s
                hung = [number for number, since in self._running.items() if since < late]
                hung = hung[: MOST_REPLACED - self._replaced]
                for number in hung:
                    del self._running[number]
                self._replaced += len(hung)
            for number in hung:
                log.error(
                    "%s-%d has hung for %g s and is replaced; its caller was asked again. Replaced "
                    "so far: %d of at most %d; restart the hotline before they are used up",
                    self._name, number, limit_s, self._replaced, MOST_REPLACED,
                )  # fmt: skip
                self._start()

    def _run(self, number: int) -> None:
        while True:
            with self._there:
                while not self._work and not self._closed:
                    self._there.wait()
                if self._closed:
                    return
                work = heapq.heappop(self._work)[3]
                self._running[number] = time.monotonic()
            work()
            with self._there:
                if self._running.pop(number, None) is None:
                    return  # it came back after all, and another one has its place
