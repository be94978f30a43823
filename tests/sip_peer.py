"""A caller made of two bare UDP sockets, for what no well-behaved phone does.

    async with Peer(sip.port) as peer:
        assert await peer.invite() == 200
        await peer.speak(tone(1000, 1))            # RTP, 20 ms A-law frames in real time
        await peer.invite(peer.sdp(codecs=(0,)))   # a second INVITE is a re-INVITE
        await peer.bye()

Every message and every packet can be bent: `sdp()` and `packet()` make good ones to start from.
"""

import asyncio
import itertools
import re
import struct
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from assistant.channels.channel import Pcm
from assistant.channels.sip_media import RATE

PCMU, PCMA, COMFORT_NOISE, KEYS = 0, 8, 13, 101
ANSWER_S = 20.0

_RTPMAP = {PCMU: "PCMU/8000", PCMA: "PCMA/8000", COMFORT_NOISE: "CN/8000"}
_NUMBER = itertools.count(1)

OnDatagram = Callable[[bytes, tuple[str, int]], None]


class Peer:
    """One caller: a SIP dialog and an RTP stream on loopback ports of its own."""

    def __init__(self, port: int) -> None:
        """`port` is the hotline's."""
        self._hotline = ("127.0.0.1", port)
        self._id = f"peer-{next(_NUMBER)}"
        self._to = ""
        self._cseq = 0
        self._answers: asyncio.Queue[str] = asyncio.Queue()
        self.sip = _Socket()
        self.rtp = _Socket()
        self.wire: tuple[str, int] = ("", 0)
        """Where the hotline wants its RTP."""
        self.sequence, self.timestamp, self.ssrc = 1000, 160_000, 0x11223344
        self.hung_up = asyncio.Event()
        """The hotline has sent BYE."""

    async def __aenter__(self) -> Self:
        await self.sip.open(self._signalled)
        await self.rtp.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sip.close()
        self.rtp.close()

    # -- signalling --------------------------------------------------------------------------------

    def sdp(
        self,
        *attributes: str,
        codecs: Sequence[int] = (PCMA,),
        keys: bool = True,
        address: str = "127.0.0.1",
    ) -> str:
        """An offer; `attributes` are further a= lines, such as "sendonly"."""
        formats = [*codecs, *([KEYS] if keys else [])]
        lines = [
            "v=0", f"o=- 1 {self._cseq + 1} IN IP4 127.0.0.1", "s=-",
            f"c=IN IP4 {address}", "t=0 0",
            f"m=audio {self.rtp.port} RTP/AVP {' '.join(map(str, formats))}",
            *(f"a=rtpmap:{codec} {_RTPMAP[codec]}" for codec in codecs),
            *([f"a=rtpmap:{KEYS} telephone-event/8000", f"a=fmtp:{KEYS} 0-15"] if keys else []),
            *(f"a={attribute}" for attribute in attributes),
        ]  # fmt: skip
        return "".join(f"{line}\r\n" for line in lines)

    async def invite(self, sdp: str | None = None) -> int:
        """Call, or re-INVITE; acknowledges the final answer and returns its status."""
        answer = await self.request("INVITE", self.sdp() if sdp is None else sdp)
        self._to = _header(answer, "To")
        self._send("ACK", "", "", self._cseq)
        if wanted := re.search(r"^m=audio (\d+)", answer, re.M):
            self.wire = ("127.0.0.1", int(wanted[1]))
        return _status(answer)

    async def bye(self) -> None:
        """Hang up."""
        await self.request("BYE")

    async def press_info(self, digit: str) -> None:
        """One key by SIP INFO."""
        body = f"Signal={digit}\r\nDuration=160\r\n"
        await self.request("INFO", body, "application/dtmf-relay")

    async def request(self, method: str, body: str = "", kind: str = "application/sdp") -> str:
        """Send a request; returns its final answer."""
        self._cseq += 1
        self._send(method, body, kind, self._cseq)
        async with asyncio.timeout(ANSWER_S):
            while True:
                answer = await self._answers.get()
                ours = _header(answer, "CSeq").split() == [str(self._cseq), method]
                if ours and _status(answer) >= 200:
                    return answer

    def send_raw(self, message: bytes) -> None:
        """Any bytes to the hotline's SIP port."""
        self.sip.send(message, self._hotline)

    def _send(self, method: str, body: str, kind: str, cseq: int) -> None:
        host = f"127.0.0.1:{self.sip.port}"
        hotline = f"127.0.0.1:{self._hotline[1]}"
        lines = [
            f"{method} sip:12333@{hotline} SIP/2.0",
            f"Via: SIP/2.0/UDP {host};branch=z9hG4bK-{self._id}-{method}-{cseq}",
            f"From: <sip:13800001234@{host}>;tag={self._id}",
            f"To: {self._to or f'<sip:12333@{hotline}>'}",
            f"Call-ID: {self._id}@127.0.0.1",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:13800001234@{host}>",
            "Max-Forwards: 70",
            *([f"Content-Type: {kind}"] if body else []),
            f"Content-Length: {len(body.encode())}",
        ]
        self.send_raw(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def _signalled(self, data: bytes, source: tuple[str, int]) -> None:
        message = data.decode(errors="replace")
        if message.startswith("SIP/2.0"):
            self._answers.put_nowait(message)
            return
        copied = [f"{name}: {_header(message, name)}" for name in ("Via", "From", "To", "Call-ID")]
        answer = ["SIP/2.0 200 OK", *copied, f"CSeq: {_header(message, 'CSeq')}"]
        self.sip.send(("\r\n".join(answer) + "\r\nContent-Length: 0\r\n\r\n").encode(), source)
        if message.startswith("BYE"):
            self.hung_up.set()

    # -- sound -------------------------------------------------------------------------------------

    def packet(self, payload: bytes, kind: int = PCMA, ticks: int | None = None) -> bytes:
        """The next RTP packet (RFC 3550); the timestamp then moves by `ticks` samples."""
        header = struct.pack("!BBHII", 0x80, kind, self.sequence, self.timestamp, self.ssrc)
        self.sequence = (self.sequence + 1) % 2**16
        self.timestamp += len(payload) if ticks is None else ticks
        return header + payload

    def packets(self, pcm: Pcm, ptime_ms: int = 20, kind: int = PCMA) -> list[bytes]:
        """`pcm` (int16, 8 kHz) as RTP packets, encoded as G.711."""
        encoded = encode_alaw(pcm) if kind == PCMA else encode_ulaw(pcm)
        step = RATE * ptime_ms // 1000
        whole = len(encoded) // step * step
        return [self.packet(encoded[at : at + step], kind) for at in range(0, whole, step)]

    async def speak(self, pcm: Pcm, ptime_ms: int = 20, kind: int = PCMA) -> None:
        """Send `pcm` in real time."""
        await self.send(self.packets(pcm, ptime_ms, kind), ptime_ms)

    async def send(self, packets: Sequence[bytes], ptime_ms: int = 20) -> None:
        """Send packets, one each `ptime_ms`."""
        await self.send_at([(n * ptime_ms, packet) for n, packet in enumerate(packets)])

    async def send_at(self, schedule: Sequence[tuple[float, bytes]]) -> None:
        """Send packets at the given milliseconds from now, whatever their order."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for at_ms, packet in sorted(schedule, key=lambda each: each[0]):
            await asyncio.sleep(begun + at_ms / 1000 - loop.time())
            self.rtp.send(packet, self.wire)

    async def press(self, digit: str) -> None:
        """One key of 100 ms as RFC 4733 events: five updates, the end sent three times."""
        event = "0123456789*#ABCD".index(digit)
        for update in range(8):
            ended = update >= 5
            payload = struct.pack("!BBH", event, 0x8A if ended else 0x0A, min(update + 1, 6) * 160)
            self.rtp.send(self.packet(payload, KEYS, ticks=0), self.wire)
            await asyncio.sleep(0.005 if ended else 0.02)
        self.timestamp += 6 * 160


class _Socket(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.port = 0
        self.received: list[bytes] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._on_datagram: OnDatagram | None = None

    async def open(self, on_datagram: OnDatagram | None = None) -> None:
        self._on_datagram = on_datagram
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        self.port = self._transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._on_datagram:
            self._on_datagram(data, addr)
        else:
            self.received.append(data)

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        assert self._transport
        self._transport.sendto(data, to)

    def close(self) -> None:
        if self._transport:
            self._transport.close()


def encode_alaw(pcm: Pcm) -> bytes:
    """int16 to G.711 A-law (ITU-T G.711, table 1)."""
    value = pcm.astype(np.int32) >> 3
    magnitude = np.where(value >= 0, value, -value - 1)
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 4, 0)
    mantissa = np.where(exponent > 0, magnitude >> exponent, magnitude >> 1) & 15
    code = np.where(value >= 0, 0x80, 0) | exponent << 4 | mantissa
    return bytes((code ^ 0x55).astype(np.uint8))


def encode_ulaw(pcm: Pcm) -> bytes:
    """int16 to G.711 µ-law (ITU-T G.711, table 2)."""
    value = pcm.astype(np.int32) >> 2
    magnitude = np.minimum(np.abs(value), 8158) + 33
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 5
    code = np.where(value < 0, 0x80, 0) | exponent << 4 | magnitude >> (exponent + 1) & 15
    return bytes((~code & 0xFF).astype(np.uint8))


def _status(answer: str) -> int:
    return int(answer.split()[1])


def _header(message: str, name: str) -> str:
    found = re.search(rf"^{name}: *(.*?)\r?$", message, re.M | re.I)
    return found[1] if found else ""
