"""Guards the front door: real calls through it (sipp, baresip, pjsua) to several call servers.

The call servers are processes of their own without engines (echo_server.py): what is tested is who
carries which call, and that every request and response finds its way.
"""

import asyncio
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assistant.channels.channel import ChannelError
from assistant.channels.sip_front import FrontDoor
from assistant.channels.sip_link import Link, Report
from assistant.ports import free_ports
from assistant.settings import Sip, load
from tests.baresip import Baresip, free_port
from tests.test_sip import SCENARIOS, pitch, sipp

RTP_PORT = 12_000 + os.getpid() % 200 * 100


class Servers:
    """Call servers as child processes, ended by their own ids."""

    def __init__(self, front: FrontDoor, workers_port: int) -> None:
        self._front, self._port = front, workers_port
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str, lines: int) -> None:
        """One more, linked when this returns."""
        place = len(self.processes)
        self.processes[name] = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.echo_server", name, str(self._port)),
            *(str(lines), str(RTP_PORT + place * 40)),
        )
        await until(lambda: any(each.name == name for each in self._front.lines.servers))

    def calls(self) -> dict[str, int]:
        """Calls in progress by their own count."""
        return {each.name: each.calls for each in self._front.lines.servers}

    async def stop(self) -> None:
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()


def workers_port(front: FrontDoor) -> int:
    """Where call servers reach it."""
    return front._settings.workers_port


def carries(servers: Servers, expected: dict[str, int]) -> bool:
    """Whether the call servers have so many calls."""
    return servers.calls() == expected


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def front_door(*lines: int) -> AsyncIterator[tuple[FrontDoor, Servers]]:
    """A front door with a call server for each number of lines."""
    port = load(overrides=free_ports()).sip.workers_port
    async with FrontDoor(Sip(port=0, workers_port=port, max_calls=8)) as front:
        servers = Servers(front, port)
        try:
            for number, each in enumerate(lines, 1):
                await servers.start(f"answer-{number}", each)
            yield front, servers
        finally:
            await servers.stop()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_call_is_heard_keyed_and_ended_by_the_caller(
    tmp_path: Path, transport: str
) -> None:
    async with front_door(1) as (front, servers), Baresip(tmp_path) as phone:
        await phone.dial(f"{front.uri};transport={transport}")
        await phone.event("CALL_ESTABLISHED")
        await until(lambda: servers.calls() == {"answer-1": 1})
        await asyncio.sleep(1)
        await phone.hangup()
        await until(lambda: servers.calls() == {"answer-1": 0})
        heard = phone.heard()
    assert pitch(heard[-4000:]) == pytest.approx(440, abs=5)
    assert np.abs(heard.astype(np.int32)).max() > 4000


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_the_hotline_hangs_up(tmp_path: Path, transport: str) -> None:
    async with front_door(1) as (front, servers), Baresip(tmp_path) as phone:
        await phone.dial(f"{front.uri};transport={transport}")
        await phone.event("CALL_ESTABLISHED")
        await phone.press("9")
        await phone.event("CALL_CLOSED")
        await until(lambda: servers.calls() == {"answer-1": 0})


async def test_hold_and_resume_pass(tmp_path: Path) -> None:
    async with front_door(1) as (front, servers), Baresip(tmp_path) as phone:
        await phone.dial(front.uri)
        await phone.event("CALL_ESTABLISHED")
        await phone.command("hold")
        await phone.command("resume")
        await phone.press("9")
        await phone.event("CALL_CLOSED")
        assert servers.calls() == {"answer-1": 0}


async def test_calls_are_spread_and_one_too_many_is_busy() -> None:
    async with front_door(1, 2) as (front, servers):
        calls = []
        for expected in ({"answer-1": 1, "answer-2": 0}, {"answer-1": 1, "answer-2": 1},
                         {"answer-1": 1, "answer-2": 2}):  # fmt: skip
            calls.append(asyncio.create_task(sipp("long_call", front.port)))
            await until(partial(carries, servers, expected))
        await sipp("busy", front.port)
        assert front.proxy
        assert front.proxy.refused == 1
        await asyncio.gather(*calls)
        await until(lambda: servers.calls() == {"answer-1": 0, "answer-2": 0})
        await sipp("short_call", front.port)


async def test_a_killed_call_server_loses_its_own_calls_only(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with (
        front_door(4, 4) as (front, servers),
        Baresip(tmp_path / "a") as first,
        Baresip(tmp_path / "b", "1001") as second,
    ):
        await first.dial(front.uri)
        await first.event("CALL_ESTABLISHED")
        await until(lambda: servers.calls()["answer-1"] == 1)
        await second.dial(front.uri)
        await second.event("CALL_ESTABLISHED")
        await until(lambda: servers.calls()["answer-2"] == 1)
        servers.processes["answer-1"].send_signal(signal.SIGKILL)
        await first.event("CALL_CLOSED")  # no silence: the front door hangs up for it
        assert servers.calls() == {"answer-2": 1}
        await sipp("short_call", front.port)
        await servers.start("answer-3", 4)
        assert set(servers.calls()) == {"answer-2", "answer-3"}
        await second.press("9")
        await second.event("CALL_CLOSED")


async def test_without_a_call_server_it_is_503() -> None:
    async with front_door() as (front, _):
        await sipp("unavailable", front.port)


async def test_cancel_takes_the_way_of_its_invite() -> None:
    """The call server rings for ever here: sipp, linked by the test."""
    async with front_door() as (front, _):
        port = free_port()
        ringing = await asyncio.create_subprocess_exec(
            *("sipp", "-sf", str(SCENARIOS / "rings.xml"), "-i", "127.0.0.1", "-p", str(port)),
            *("-m", "1", "-nostdin", "-timeout", "20"),
            stdout=asyncio.subprocess.DEVNULL,
        )
        report = Report("answer-1", ("127.0.0.1", port), 4)
        async with Link(workers_port(front) + 1, lambda: report, lambda calls: None):
            await until(lambda: len(front.lines.servers) == 1)
            await sipp("cancel", front.port)
            assert await asyncio.wait_for(ringing.wait(), 20) == 0
            await until(lambda: front.lines.calls(time.monotonic()) == 0)


async def test_a_pbx_asks_whether_we_are_there() -> None:
    async with front_door(1) as (front, servers):
        await sipp("options", front.port)
        assert servers.calls() == {"answer-1": 0}


async def test_noise_ends_nothing() -> None:
    async with front_door(1) as (front, _):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
            for junk in (b"", b"\0" * 9, b"INVITE", os.urandom(2000), b"SIP/2.0 200 OK\r\n\r\n"):
                noise.sendto(junk, ("127.0.0.1", front.port))
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await sipp("short_call", front.port)


async def test_a_port_chosen_by_the_system_that_is_taken_for_tcp_is_left_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, refused = asyncio.start_server, list[int]()

    async def start_server(accept: Any, host: str, port: int) -> asyncio.Server:
        if not refused and port != inner + 1:
            refused.append(port)
            raise OSError(errno.EADDRINUSE, "address already in use")
        return await real(accept, host, port)

    inner = load(overrides=free_ports()).sip.workers_port
    monkeypatch.setattr(asyncio, "start_server", start_server)
    async with FrontDoor(Sip(port=0, workers_port=inner, max_calls=8)) as front:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", *refused))  # given back
        _, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.close()


async def test_a_front_door_that_cannot_open_leaves_no_port_taken() -> None:
    inner = load(overrides=free_ports()).sip.workers_port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Sip(port=taken.getsockname()[1], workers_port=inner, max_calls=8)
        with pytest.raises(ChannelError, match=r"sip\.port"):
            async with FrontDoor(settings):
                pass
    await asyncio.sleep(0)  # asyncio closes a socket in its next round
    async with FrontDoor(settings):
        pass


async def test_a_taken_port_is_named() -> None:
    async with front_door() as (front, _):
        with pytest.raises(ChannelError, match=r"sip\.port"):
            async with FrontDoor(Sip(port=front.port, workers_port=load(
                overrides=free_ports()).sip.workers_port)):  # fmt: skip
                pass
