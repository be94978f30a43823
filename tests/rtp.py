"""A bare UDP socket as the peer of an RTP stream: counts and decodes what the hotline sends."""

import asyncio
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from assistant.channels.channel import Pcm


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet (RFC 3550, 5.1)."""

    payload_type: int
    sequence: int
    timestamp: int
    payload: bytes


class RtpSink(asyncio.DatagramProtocol):
    """Receives RTP on a loopback port of its own: `async with RtpSink() as sink: sink.port`."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._transport
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Keep the packet."""
        flags, sequence, timestamp, _ = struct.unpack("!HHII", data[:12])
        self.packets.append(Packet(flags & 0x7F, sequence, timestamp, data[12:]))

    def audio(self) -> list[Pcm]:
        """The decoded G.711 A-law packets, in order of arrival."""
        return [decode_alaw(each.payload) for each in self.packets if each.payload_type == 8]


def decode_alaw(payload: bytes) -> Pcm:
    """G.711 A-law to int16 (ITU-T G.711, table 1)."""
    code = np.frombuffer(payload, np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    size = np.where(
        exponent == 0, mantissa * 2 + 1, (mantissa * 2 + 33) << np.maximum(exponent - 1, 0)
    )
    pcm: Pcm = (np.where(code & 0x80, size, -size) * 8).astype(np.int16)
    return pcm
