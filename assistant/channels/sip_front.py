"""The front door: one SIP address in front of several call servers.

    async with FrontDoor(settings.sip) as front:
        print(front.uri)                           # what phones dial

What is sent where is decided in sip_proxy.py and sip_lines.py; here are the sockets. A message
that cannot be read is dropped or answered with 400; none can end the front door.
"""

import asyncio
import json
import logging
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Self

from assistant.channels.channel import ChannelError
from assistant.channels.sip_lines import Address, Lines, Server
from assistant.channels.sip_link import Report
from assistant.channels.sip_message import LONGEST, Malformed, length_of, parse
from assistant.channels.sip_proxy import Hop, Proxy, Sent
from assistant.settings import Sip

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"

MOST_CONNECTIONS = 1000
IDLE_S = 3600.0
"""A TCP connection on which nothing came for so long is closed; calls last at most two hours, and
a connection that is missed is opened again."""

CONNECT_S = 3.0

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[object, object, None]]
"""Serves one connection to its end."""


class FrontDoor:
    """SIP over UDP and TCP outside, over UDP to the call servers on loopback."""

    def __init__(self, settings: Sip) -> None:
        self._settings = settings
        self.lines = Lines()
        self.port = settings.port
        """The port actually bound, once started."""
        self.proxy: Proxy | None = None
        self._outside: asyncio.DatagramTransport | None = None
        self._inside: asyncio.DatagramTransport | None = None
        self._connections: dict[int, asyncio.StreamWriter] = {}
        self._opened = 0
        self._links: dict[Server, asyncio.StreamWriter] = {}
        self._told = -1
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Bind and listen. Raises ChannelError naming the setting to change."""
        sip, inner = self._settings, self._settings.workers_port
        try:
            self._inside = await self._udp(_Inside(self), LOOPBACK, inner, "sip.workers_port")
            await self._tcp(self._link, LOOPBACK, inner + 1, "sip.workers_port")
            await self._listen_outside()
        except ChannelError:
            await self._stack.aclose()
            raise
        host = sip.advertise or _reachable(sip.bind)
        self.proxy = Proxy(
            self.lines, (host, self.port), (LOOPBACK, inner), secrets.token_bytes(16)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    @property
    def uri(self) -> str:
        """What a phone dials."""
        host = self._settings.advertise or _reachable(self._settings.bind)
        return f"sip:{self._settings.user}@{host}:{self.port}"

    # -- what comes ------------------------------------------------------------------------------

    def received_outside(self, data: bytes, came: Hop) -> None:
        """One message of a phone or a PBX."""
        assert self.proxy
        try:
            self._send(self.proxy.from_outside(parse(data), came, time.monotonic()))
        except Malformed as fault:
            log.info("a malformed SIP message: %s", fault)
            if fault.message is not None:
                self._send(self.proxy.bad_request(fault.message, came))
        except ValueError as fault:
            log.info("a SIP message that leads nowhere: %s", fault)
        self._tell_calls()

    def received_inside(self, data: bytes) -> None:
        """One message of a call server."""
        assert self.proxy
        try:
            self._send(self.proxy.from_inside(parse(data), time.monotonic()))
        except ValueError as fault:
            log.warning("a message of a call server that leads nowhere: %s", fault)
        self._tell_calls()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A phone has connected, or we to it: its messages until it closes."""
        if len(self._connections) >= MOST_CONNECTIONS:
            writer.close()
            return
        self._opened += 1
        number, (host, port) = self._opened, writer.get_extra_info("peername")[:2]
        self._connections[number] = writer
        try:
            await self._read_messages(reader, writer, Hop("tcp", host, port, number))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # it has closed, or nobody speaks any more
        except Malformed as fault:
            log.info("a malformed SIP stream is closed: %s", fault)
        finally:
            del self._connections[number]
            writer.close()

    async def _read_messages(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, came: Hop
    ) -> None:
        data = b""
        while True:
            while data.startswith(b"\r\n\r\n"):  # a ping that keeps the connection (RFC 5626)
                writer.write(b"\r\n")
                data = data[4:]
            if data.startswith(b"\r\n") and len(data) > 2 and data[2:4] != b"\r\n":
                data = data[2:]
            length = length_of(data)
            if length is not None and len(data) >= length:
                self.received_outside(data[:length], came)
                data = data[length:]
                continue
            more = await asyncio.wait_for(reader.read(LONGEST), IDLE_S)
            if not more:
                return
            data += more

    # -- what goes -------------------------------------------------------------------------------

    def _send(self, messages: Sequence[Sent]) -> None:
        assert self._inside
        assert self._outside
        for each in messages:
            data = bytes(each.message)
            if not isinstance(each.to, Hop):
                self._inside.sendto(data, each.to)
            elif writer := self._connections.get(each.to.connection):
                writer.write(data)
            elif each.to.transport == "tcp" or not _is_address(each.to.host):
                self._later(self._send_to(data, each.to))
            else:
                self._outside.sendto(data, (each.to.host, each.to.port))

    async def _send_to(self, data: bytes, hop: Hop) -> None:
        """Where a name has to be looked up or a connection opened first."""
        assert self._outside
        try:
            async with asyncio.timeout(CONNECT_S):
                if hop.transport == "udp":
                    found = await asyncio.get_running_loop().getaddrinfo(
                        hop.host, hop.port, type=socket.SOCK_DGRAM, family=socket.AF_INET
                    )
                    self._outside.sendto(data, found[0][4])
                    return
                reader, writer = await asyncio.open_connection(hop.host, hop.port)
        except OSError as error:  # a timeout is one too
            log.warning("a phone cannot be reached: %s", error or "no answer")
            return
        writer.write(data)
        self._later(self._connection(reader, writer))

    # -- call servers ----------------------------------------------------------------------------

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A call server is there, for as long as its connection lasts."""
        server: Server | None = None
        try:
            while line := await reader.readline():
                report = Report.from_line(line)
                if server is None:
                    server = Server(report.name, report.sip, report.lines)
                    self.lines.join(server)
                    self._links[server] = writer
                    log.info("%s is there with %d lines", server.name, server.lines)
                    self._told = -1
                server.calls, server.admits = report.calls, report.admits
                server.closing = report.closing
                self._tell_calls()
        except (OSError, ValueError) as error:
            log.warning("the link of a call server broke: %s", error)
        finally:
            writer.close()
            if server:
                del self._links[server]
                self._gone(server)

    def _gone(self, server: Server) -> None:
        assert self.proxy
        byes = self.proxy.server_gone(server)
        if byes:
            log.error("%s is gone, %d calls with it; they are hung up", server.name, len(byes))
        elif not server.closing:
            log.warning("%s is gone", server.name)
        if not self._inside or self._inside.is_closing():
            return
        self._send(byes)

    def _tell_calls(self) -> None:
        calls = self.lines.calls(time.monotonic())
        if calls != self._told:
            self._told = calls
            for writer in self._links.values():
                writer.write(json.dumps({"calls": calls}).encode() + b"\n")

    # -- sockets ---------------------------------------------------------------------------------

    async def _listen_outside(self) -> None:
        """UDP and TCP on one port. Port 0 is chosen by UDP; TCP may find the same one taken."""
        bind, port = self._settings.bind, self._settings.port
        for last_try in (False, False, True):
            self._outside = await self._udp(_Outside(self), bind, port, "sip.port")
            self.port = self._outside.get_extra_info("sockname")[1]
            try:
                await self._tcp(self._connection, bind, self.port, "sip.port")
                return
            except ChannelError:
                if last_try or port:
                    raise
                self._outside.close()

    async def _udp(
        self, protocol: asyncio.DatagramProtocol, host: str, port: int, key: str
    ) -> asyncio.DatagramTransport:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: protocol, local_addr=(host, port)
            )
        except OSError as error:
            raise _cannot(host, port, key, error) from None
        self._stack.callback(transport.close)
        return transport

    async def _tcp(self, serve: Serve, host: str, port: int, key: str) -> None:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._later(serve(reader, writer))

        try:
            server = await asyncio.start_server(accept, host, port)
        except OSError as error:
            raise _cannot(host, port, key, error) from None
        self._stack.callback(server.close)

    def _later(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Outside(asyncio.DatagramProtocol):
    """Datagrams of phones."""

    def __init__(self, front: FrontDoor) -> None:
        self._front = front

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if data.strip(b"\r\n\0 "):  # else it keeps a NAT open
            self._front.received_outside(data, Hop("udp", addr[0], addr[1]))


class _Inside(asyncio.DatagramProtocol):
    """Datagrams of call servers."""

    def __init__(self, front: FrontDoor) -> None:
        self._front = front

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if data.strip(b"\r\n\0 "):
            self._front.received_inside(data)


def _reachable(bind: str) -> str:
    """What phones reach where we are bound to every address: the one of the default route."""
    if bind not in ("0.0.0.0", ""):
        return bind
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return LOOPBACK
        address: str = probe.getsockname()[0]
        return address


def _is_address(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        return False
    return True


def _cannot(host: str, port: int, key: str, error: OSError) -> ChannelError:
    return ChannelError(
        f"cannot listen on {host} port {port} ({key}): {error.strerror or error}; "
        f"stop the other program or set {key}"
    )
