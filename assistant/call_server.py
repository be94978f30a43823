"""One call-server process: its SIP door, its link to the front door, what it can still carry."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Self

from assistant import call_servers
from assistant.admission import Admission
from assistant.channels.sip import SipListener
from assistant.channels.sip_link import Link, Report
from assistant.reception import Reception
from assistant.settings import Settings

MEASURE_S = 1.0


class CallServer:
    """Takes calls for `reception` while the block runs. Raises ChannelError on entering."""

    def __init__(
        self, settings: Settings, reception: Reception, admission: Admission, name: str = ""
    ) -> None:
        """`name` is its name behind a front door; empty: it is the hotline's only one."""
        self._settings, self._reception, self._name = settings, reception, name
        sip = call_servers.share(settings.sip, name) if name else settings.sip
        self._lines = sip.max_calls
        self._admission = admission
        self._listener = SipListener(sip, reception.take, behind_front=bool(name))
        self._listener.admits = self._admits
        self._link = Link(settings.sip.workers_port + 1, self._report, reception.elsewhere)
        self._stack = AsyncExitStack()
        self._measuring: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._listener)
        if self._name:
            self._listener.on_change = self._link.changed
            await self._stack.enter_async_context(self._link)
        self._measuring = asyncio.create_task(self._measure(), name="admission")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._measuring:
            self._measuring.cancel()
        await self._stack.aclose()

    @property
    def uri(self) -> str:
        """Where it is reached: by phones, or by the front door."""
        return self._listener.uri

    def on_refused(self, tell: Callable[[], None]) -> None:
        """Have `tell` called for each new caller who gets 486 here."""
        self._listener.on_refused = tell

    def close(self) -> None:
        """No new callers from now on."""
        self._listener.accepting = False
        self._link.changed()

    def _admits(self) -> bool:
        return self._admission.admits(len(self._listener.channels), time.monotonic())

    def _report(self) -> Report:
        return Report(
            self._name,
            ("127.0.0.1", self._listener.port),
            self._lines,
            calls=len(self._listener.channels),
            admits=self._admits(),
            closing=not self._listener.accepting,
        )

    async def _measure(self) -> None:
        while True:
            await asyncio.sleep(MEASURE_S)
            self._admission.measured(
                self._listener.clock.take_worst_ms(),
                self._reception.oldest_wait_s() * 1000,
                time.monotonic(),
            )
