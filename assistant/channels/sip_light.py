"""A caller that costs next to nothing: SIP and RTP over two UDP sockets, for many calls at once.

    async with LightCall("sip:12333@127.0.0.1:5060") as call:      # raises Refused with the status
        call.say(payload)                                          # A-law, 8 kHz
        ...
        call.wire.onset_after(...)

It times what is on the wire, not when Python looked at it: the kernel stamps every packet that
arrives, so that a busy machine does not make the hotline look worse (or better) than it is.
"""

import asyncio
import contextlib
import re
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Self

import numpy as np

from assistant.channels import g711
from assistant.channels.sip_lines import Address
from assistant.channels.sip_message import Malformed, Message, parse

FRAME = 160
"""Bytes of A-law in a packet: 20 ms."""

FRAME_S = 0.02

LOUD = 200
"""Amplitude above which a packet is sound; G.711's idle noise is at most 8."""

ONSET_GAP_S = 0.2
"""The hotline begins to speak when sound follows at least this much silence."""

REPEAT_S = 0.5
ANSWER_S = 8.0
"""A call that is not answered by then is given up."""

_SO_TIMESTAMPNS = 35  # asm-generic/socket.h
_QUIET = bytes([g711.SILENCE]) * FRAME


class Refused(ConnectionError):
    """The call was not answered; `status` is SIP's, 408 for silence."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the call was not answered: {status}")
        self.status = status


class Wire:
    """What came from the hotline. Pure: fed with arrival times in seconds and amplitudes."""

    def __init__(self) -> None:
        self.gaps_s: list[float] = []
        """Between one packet and the next."""
        self.onsets_s: list[float] = []
        self.last_sound_s: float | None = None
        self._last_s: float | None = None

    def arrived(self, at_s: float, amplitude: int) -> None:
        """One packet."""
        if self._last_s is not None:
            self.gaps_s.append(at_s - self._last_s)
        self._last_s = at_s
        if amplitude <= LOUD:
            return
        if self.last_sound_s is None or at_s - self.last_sound_s > ONSET_GAP_S:
            self.onsets_s.append(at_s)
        self.last_sound_s = at_s

    def onset_after(self, at_s: float) -> float | None:
        """When the hotline first began to speak at or after `at_s`; None: not yet."""
        return next((onset for onset in self.onsets_s if onset >= at_s), None)


class LightCall:
    """One call, answered on entering the block and hung up on leaving it."""

    def __init__(self, uri: str, number: str = "13800001234") -> None:
        found = re.fullmatch(r"sip:[^@]+@([0-9.]+):(\d+)", uri)
        if not found:
            raise ValueError(f"{uri}: a caller of the benchmark needs sip:user@address:port")
        self._uri, self._server = uri, (found[1], int(found[2]))
        self._number = number
        self.wire = Wire()
        self.ended = asyncio.Event()
        self._call_id, self._tag = secrets.token_hex(8), secrets.token_hex(4)
        self._to, self._target, self._routes = f"<{uri}>", uri, list[str]()
        self._sip = _bound()
        self._rtp = _bound()
        # not on macOS, where the time of reading has to do
        with contextlib.suppress(OSError):
            self._rtp.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._peer: Address | None = None
        self._final: asyncio.Future[Message] | None = None
        self._heard_back = False
        self._speech = memoryview(b"")
        self._said: Callable[[float], None] = lambda at_s: None
        self._echo_gain = 0.0
        self._echo: deque[bytes] = deque()
        self._sequence, self._stamp, self._source = 0, 0, secrets.randbits(32)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._final = loop.create_future()
        loop.add_reader(self._sip, self._on_sip)
        loop.add_reader(self._rtp, self._on_rtp)
        try:
            answer = await self._invite()
        except BaseException:
            self._close()
            raise
        contact = re.search(r"<(.*?)>", answer.first("contact"))
        self._to, self._target = answer.first("to"), contact[1] if contact else self._uri
        self._routes = list(reversed(answer.all("record-route")))
        self._request("ACK", 1)
        media = re.search(rb"c=IN IP4 ([0-9.]+)", answer.body)
        port = re.search(rb"m=audio (\d+)", answer.body)
        if not media or not port:
            raise Refused(488)
        self._peer = media[1].decode(), int(port[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.ended.is_set():
            self._request("BYE", 2)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), 2)
        self._close()

    def say(self, speech: bytes, said: Callable[[float], None]) -> None:
        """Send A-law from the next tick on; `said` gets the moment at which the last of it left."""
        self._speech, self._said = memoryview(speech), said

    def returns(self, level_db: float, after_ms: int) -> None:
        """From now on the line gives back what comes from the hotline, softer and later."""
        self._echo_gain = 10 ** (level_db / 20)
        frames = round(after_ms / 1000 / FRAME_S)
        self._echo.extend([_QUIET] * (frames - len(self._echo)))

    def tick(self) -> None:
        """Send the packet of this 20 ms."""
        if self._peer is None or self.ended.is_set():
            return
        payload, self._speech = self._speech[:FRAME], self._speech[FRAME:]
        data = bytes(payload) + _QUIET[len(payload) :]
        if self._echo_gain:
            data = self._with_echo(data)
        header = struct.pack("!BBHII", 0x80, 8, self._sequence, self._stamp, self._source)
        self._sequence = (self._sequence + 1) % 2**16
        self._stamp = (self._stamp + FRAME) % 2**32
        with contextlib.suppress(OSError):
            self._rtp.sendto(header + data, self._peer)
        if payload and not self._speech:
            self._said(time.time())

    # -- inside ----------------------------------------------------------------------------------

    def _with_echo(self, data: bytes) -> bytes:
        echo = self._echo.popleft() if self._echo else _QUIET
        samples = [g711.LEVELS[np.frombuffer(each, np.uint8)] for each in (data, echo)]
        mixed = samples[0] + self._echo_gain * samples[1]
        return g711.encode(mixed.clip(-32768, 32767).astype(np.int16))

    async def _invite(self) -> Message:
        host, port = self._rtp.getsockname()
        sdp = (
            f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\n"
            "a=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n"
        )
        assert self._final
        deadline = time.monotonic() + ANSWER_S
        branch = _new_branch()
        while not self._heard_back and not self._final.done() and time.monotonic() < deadline:
            self._request("INVITE", 1, sdp, branch)
            await asyncio.wait({self._final}, timeout=REPEAT_S)
        await asyncio.wait({self._final}, timeout=max(0.0, deadline - time.monotonic()))
        if not self._final.done():
            raise Refused(408)
        answer = self._final.result()
        if answer.status >= 300:
            self._to = answer.first("to")
            self._request("ACK", 1, branch=branch)
            raise Refused(answer.status)
        return answer

    def _request(self, method: str, number: int, body: str = "", branch: str = "") -> None:
        host, port = self._sip.getsockname()
        lines = [
            f"{method} {self._target} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};branch={branch or _new_branch()};rport",
            *(f"Route: {route}" for route in self._routes),
            "Max-Forwards: 70",
            f"From: <sip:{self._number}@{host}:{port}>;tag={self._tag}",
            f"To: {self._to}",
            f"Call-ID: {self._call_id}",
            f"CSeq: {number} {method}",
            f"Contact: <sip:{self._number}@{host}:{port}>",
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        self._send("\r\n".join([*lines, "", body]).encode())

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._sip.sendto(data, self._server)

    def _on_sip(self) -> None:
        try:
            message = parse(self._sip.recv(65_535))
        except (OSError, Malformed):
            return
        self._heard_back = True
        if message.method == "BYE":
            kept = ("via", "from", "to", "call-id", "cseq")
            headers = [(name, value) for name in kept for value in message.all(name)]
            answer = Message("SIP/2.0 200 OK", [*headers, ("Content-Length", "0")])
            self._send(bytes(answer))
            self.ended.set()
        elif message.status >= 200 and message.cseq_method == "BYE":
            self.ended.set()
        elif message.status >= 200 and message.cseq_method == "INVITE" and self._final:
            if self._final.done():
                self._request("ACK", 1)  # ours was lost
            else:
                self._final.set_result(message)

    def _on_rtp(self) -> None:
        while True:
            try:
                data, ancillary, _, _ = self._rtp.recvmsg(2048, 64)
            except OSError:
                return
            at_s = time.time()
            for level, kind, stamp in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                    seconds, nanoseconds = struct.unpack("qq", stamp[:16])
                    at_s = seconds + nanoseconds / 1e9
            if self._echo_gain and len(data) == 12 + FRAME:
                self._echo.append(data[12:])
            self.wire.arrived(at_s, g711.loudest(data[12:]) if data[1] & 0x7F == 8 else 0)

    def _close(self) -> None:
        loop = asyncio.get_running_loop()
        for each in (self._sip, self._rtp):
            loop.remove_reader(each)
            each.close()


@asynccontextmanager
async def in_pace(calls: Collection[LightCall]) -> AsyncIterator[None]:
    """One clock for all: a packet of each call every 20 ms while the block runs."""
    pacer = asyncio.create_task(_keep_pace(calls))
    try:
        yield
    finally:
        pacer.cancel()


async def _keep_pace(calls: Collection[LightCall]) -> None:
    due = time.monotonic()
    while True:
        for call in list(calls):
            call.tick()
        due += FRAME_S
        await asyncio.sleep(max(0.0, due - time.monotonic()))


def _bound() -> socket.socket:
    """A UDP socket of its own on loopback."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    return made


def _new_branch() -> str:
    return f"z9hG4bK{secrets.token_hex(8)}"
