"""How a call server tells the front door of itself: one TCP connection on loopback, JSON lines.

    server -> front    {"name": "answer-1", "sip": ["127.0.0.1", 41234], "lines": 4,
                        "calls": 1, "admits": true, "closing": false}     on change, and each second
    front -> server    {"calls": 5}                                       on all servers, on change

The connection is the sign of life: where it ends the call server is gone.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass

log = logging.getLogger(__name__)

REPORT_S = 1.0
RETRY_S = 0.5
LONGEST_LINE = 4096


@dataclass(frozen=True, slots=True)
class Report:
    """What a call server says of itself."""

    name: str
    sip: tuple[str, int]
    """Where it speaks SIP."""
    lines: int
    calls: int = 0
    admits: bool = True
    """False: the machine is beyond its limit."""
    closing: bool = False

    def to_line(self) -> bytes:
        """As it is sent."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Report":
        """Raises ValueError for what is no report."""
        try:
            values = json.loads(line)
            host, port = values.pop("sip")
            return cls(sip=(str(host), int(port)), **values)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no report: {error}") from None


class Link:
    """A call server's end; reconnects for as long as the block runs."""

    def __init__(
        self, port: int, report: Callable[[], Report], on_calls: Callable[[int], None]
    ) -> None:
        """`report` is asked for news often; `on_calls` gets the calls on all call servers."""
        self._port = port
        self._report = report
        self._on_calls = on_calls
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Link":
        self._task = asyncio.create_task(self._keep(), name="link to the front door")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def changed(self) -> None:
        """There is news: report now."""
        self._news.set()

    async def _keep(self) -> None:
        told = False
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                if not told:
                    log.warning("the front door is not there: no new calls until it is")
                told = True
                await asyncio.sleep(RETRY_S)
                continue
            told = False
            talking = {
                asyncio.create_task(self._tell(writer)),
                asyncio.create_task(self._listen(reader)),
            }
            try:
                await asyncio.wait(talking, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in talking:
                    task.cancel()
                await asyncio.gather(*talking, return_exceptions=True)
                writer.close()
            await asyncio.sleep(RETRY_S)

    async def _tell(self, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                writer.write(self._report().to_line())
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), REPORT_S)
                self._news.clear()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                self._on_calls(int(json.loads(line)["calls"]))
