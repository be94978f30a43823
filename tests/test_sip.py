"""Guards the SIP channel: real calls over loopback by independent phones (baresip, sipp).

Signalling as RFC 3261 wants it, a packet every 20 ms, audio both ways, keys counted once, playback
that stops at once, and a line that ends without leaving anything behind.
"""

import asyncio
import itertools
import os
import shutil
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from assistant.channels import sip_call
from assistant.channels.channel import Audio, ChannelClosed, ChannelError, Key, Pcm
from assistant.channels.sip import SipListener
from assistant.channels.sip_call import CallFailed, SipChannel
from assistant.channels.sip_headers import caller_number
from assistant.channels.sip_keys import ECHO_MS, PRESSES_PER_S, KeyPresses, Method
from assistant.channels.sip_media import AHEAD, FADE, FRAME, RATE, Playout
from assistant.settings import Sip
from tests.baresip import Baresip, free_port
from tests.rtp import RtpSink

SCENARIOS = Path(__file__).parent / "sipp"
LOUD = 500

Handler = Callable[[SipChannel], Awaitable[None]]


def settings(**changes: object) -> Sip:
    """A listener on loopback beside whatever else runs on this machine."""
    rtp_port = 10_000 + os.getpid() % 200 * 100
    return Sip.model_validate({"port": 0, "rtp_port": rtp_port, **changes})


def tone(hertz: float, seconds: float) -> Pcm:
    """A sine of amplitude 8,000."""
    wave = np.sin(2 * np.pi * hertz * np.arange(round(RATE * seconds)) / RATE)
    return (8000 * wave).astype(np.int16)


def pitch(pcm: Pcm) -> float:
    """The strongest frequency, in Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(pcm))) * RATE / pcm.size)


def is_loud(frame: Pcm) -> bool:
    """Whether a frame carries sound."""
    return bool(np.abs(frame.astype(np.int32)).max(initial=0) > LOUD)


def write_tone(folder: Path, hertz: float, seconds: float) -> Path:
    """A tone in a WAV file."""
    path = folder / f"{hertz:.0f}.wav"
    soundfile.write(path, tone(hertz, seconds), RATE)
    return path


class Desk:
    """An `on_call` whose calls the test looks at: gathers keys and frames, then runs `then`."""

    def __init__(self, then: Handler | None = None) -> None:
        self.calls: asyncio.Queue[SipChannel] = asyncio.Queue()
        self.done: asyncio.Queue[SipChannel] = asyncio.Queue()
        self.keys = ""
        self.heard: list[Pcm] = []
        self.sent: list[Pcm] = []
        self.frames = 0
        self._changed = asyncio.Event()
        self._then = then

    async def __call__(self, channel: SipChannel) -> None:
        channel.tap = self._tap
        self.calls.put_nowait(channel)
        then = asyncio.ensure_future(self._then(channel)) if self._then else None
        try:
            async for item in channel.frames():
                if isinstance(item, Key):
                    self.keys += item.digit
                else:
                    assert isinstance(item, Audio)
                    self.frames += 1
                self._changed.set()
            if then:
                await then
        finally:
            self.done.put_nowait(channel)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a frame or a key brings about."""
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def more_frames(self, count: int) -> None:
        """Wait until so many more frames have come."""
        enough = self.frames + count
        await self.until(lambda: self.frames >= enough)

    def _tap(self, heard: Pcm, sent: Pcm) -> None:
        self.heard.append(heard)
        self.sent.append(sent)


async def in_time(queue: "asyncio.Queue[SipChannel]") -> SipChannel:
    """The next call; a test that waits for ever tells nothing."""
    return await asyncio.wait_for(queue.get(), 30)


async def sipp(scenario: str, port: int, rtp_port: int = 0, folder: Path | None = None) -> None:
    """Play a scenario against the listener; fails unless every step went as written.

    `folder` gets the messages as messages.log.
    """
    if not shutil.which("sipp"):
        pytest.fail("sipp is not installed: apt-get install sip-tester")
    log = ["-trace_msg", "-message_file", str(folder / "messages.log")] if folder else []
    process = await asyncio.create_subprocess_exec(
        "sipp", f"127.0.0.1:{port}", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-m", "1",
        "-i", "127.0.0.1", "-p", str(free_port()), "-key", "rtp_port", str(rtp_port or free_port()),
        "-nostdin", "-timeout", "30", *log,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode(errors="replace")[-3000:]


# -- decisions, without a network ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("signals", "presses"),
    [
        ([("1", "rtp", 0), ("1", "rtp", 200)], "11"),
        ([("1", "rtp", 0), ("1", "info", 150)], "1"),
        ([("1", "info", 0), ("1", "rtp", 20), ("1", "rtp", 300), ("1", "info", 320)], "11"),
        ([("1", "rtp", 0), ("2", "info", 150)], "12"),
        ([("1", "rtp", 0), ("1", "info", ECHO_MS)], "11"),
        ([("7", "info", at) for at in range(500)], "7" * PRESSES_PER_S),
    ],
)
def test_a_press_counts_once(signals: list[tuple[str, Method, float]], presses: str) -> None:
    keys = KeyPresses()
    assert "".join(each[0] for each in signals if keys.accept(*each)) == presses


@pytest.mark.parametrize(
    ("headers", "number"),
    [
        ('From: "张三" <sip:13800001234@10.0.0.1>;tag=1', "13800001234"),
        ("f: <sip:+8613800001234;phone-context=x@pbx;user=phone>;tag=1", "+8613800001234"),
        ("From: <sip:a@b>;tag=1\r\nP-Asserted-Identity: <tel:+861234>", "+861234"),
        ("From: <sip:anonymous@anonymous.invalid>;tag=1", ""),
        ("From: <sip:10.0.0.1>;tag=1", ""),
        ("From: nonsense", ""),
        ("", ""),
    ],
)
def test_caller_number(headers: str, number: str) -> None:
    message = f"INVITE sip:12333@h SIP/2.0\r\n{headers}\r\n\r\nFrom: <sip:body@x>"
    assert caller_number(message) == number


def test_playout_completes_a_short_piece_with_silence() -> None:
    playout = Playout()
    playout.put(np.full(FRAME, 1, np.int16))
    playout.put_tail(np.full(3, 2, np.int16))
    assert playout.take().tolist() == [1] * FRAME
    assert playout.take().tolist() == [2] * 3 + [0] * (FRAME - 3)
    assert playout.empty
    assert not playout.take().any()


def test_playout_counts_what_it_drops() -> None:
    playout = Playout()
    for _ in range(AHEAD):
        playout.put(np.ones(FRAME, np.int16))
    playout.put_tail(np.ones(7, np.int16))
    assert playout.full
    assert playout.clear() == AHEAD * FRAME + 7
    assert playout.clear() == 0


def test_a_voice_that_is_cut_off_fades_and_does_not_click() -> None:
    playout = Playout()
    for _ in range(AHEAD):
        playout.put(np.full(FRAME, 8000, np.int16))
    playout.take()
    playout.clear()
    assert playout.empty
    playout.put(np.full(FRAME, 5, np.int16))  # the answer to the interruption
    fading = playout.take().astype(np.int32)
    assert fading[0] == 8000
    assert np.abs(np.diff(fading)).max() <= 8000 / (FADE - 1) + 1
    assert not fading[FADE:].any()
    assert playout.take().tolist() == [5] * FRAME


# -- audio and keys with baresip -----------------------------------------------------------------


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_tones_pass_both_ways_and_keys_arrive_once(tmp_path: Path, transport: str) -> None:
    async def greet(channel: SipChannel) -> None:
        await channel.play(tone(440, 1))
        await channel.drain()
        greeted.set()

    desk, greeted = Desk(greet), asyncio.Event()
    async with SipListener(settings(), desk) as sip, Baresip(tmp_path) as phone:
        await phone.dial(f"{sip.uri};transport={transport}")
        channel = await in_time(desk.calls)
        assert (channel.kind, channel.caller, channel.rate) == ("sip", "13800001234", RATE)
        assert (channel.codec, channel.telephone_event) == ("PCMA/8000", True)
        await asyncio.wait_for(greeted.wait(), 30)
        await phone.say(write_tone(tmp_path, 1000, 1))
        await desk.until(lambda: sum(map(is_loud, desk.heard)) >= 45)
        await phone.press("44#0*")
        await desk.until(lambda: len(desk.keys) >= 5)
        await phone.hangup()
        await in_time(desk.done)
        assert channel.ended_by == "peer"
        with pytest.raises(ChannelClosed):
            await channel.play(tone(440, 1))
    assert desk.keys == "44#0*"
    assert pitch(np.concatenate(desk.heard)) == pytest.approx(1000, abs=5)
    assert pitch(phone.heard()) == pytest.approx(440, abs=5)


async def test_g722_is_understood(tmp_path: Path) -> None:
    desk = Desk(lambda channel: channel.play(tone(440, 1)))
    chosen = settings(codecs=["G722/16000"])
    async with SipListener(chosen, desk) as sip, Baresip(tmp_path, codec="g722") as phone:
        await phone.dial(sip.uri)
        channel = await in_time(desk.calls)
        assert (channel.codec, channel.rate) == ("G722/16000", RATE)
        await phone.say(write_tone(tmp_path, 1000, 1))
        await desk.until(lambda: sum(map(is_loud, desk.heard)) >= 45)
    assert pitch(np.concatenate(desk.heard)) == pytest.approx(1000, abs=5)
    assert pitch(phone.heard()) == pytest.approx(440, abs=5)


async def test_hold_rests_and_resumes(tmp_path: Path) -> None:
    desk = Desk()
    async with SipListener(settings(), desk) as sip, Baresip(tmp_path) as phone:
        await phone.dial(sip.uri)
        channel = await in_time(desk.calls)
        await phone.command("hold")
        await desk.more_frames(25)
        playing = asyncio.create_task(channel.play(tone(440, 0.5)))
        await desk.more_frames(50)  # the call's clock goes on
        assert not playing.done()  # nobody would have heard it
        await phone.command("resume")
        await asyncio.wait_for(playing, 30)
        await channel.drain()
        await phone.say(write_tone(tmp_path, 1000, 1))
        await desk.until(lambda: any(map(is_loud, desk.heard)))


async def test_stopping_hangs_up_whoever_is_on_the_line(tmp_path: Path) -> None:
    desk = Desk()
    async with Baresip(tmp_path) as phone:
        async with SipListener(settings(), desk) as sip:
            await phone.dial(sip.uri)
            channel = await in_time(desk.calls)
        assert channel.ended_by == "us"
        assert desk.done.qsize() == 1
        await phone.event("CALL_CLOSED")


async def test_transfer_reaches_the_other_phone(tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    async with (
        Baresip(tmp_path / "desk", "1001", answer=True) as other,
        Baresip(tmp_path) as phone,
    ):
        desk = Desk(lambda channel: channel.transfer(other.uri))
        async with SipListener(settings(), desk) as sip:
            await phone.dial(sip.uri)
            await other.event("CALL_ESTABLISHED")
            channel = await in_time(desk.done)
            assert channel.ended_by


async def test_a_failed_transfer_returns_to_the_call(tmp_path: Path) -> None:
    async with SipListener(settings(), Desk()) as sip, Baresip(tmp_path) as phone:
        sip._on_call = desk = Desk()
        await phone.dial(sip.uri)
        channel = await in_time(desk.calls)
        with pytest.raises(ChannelError, match="failed: "):
            await channel.transfer(f"sip:nobody@127.0.0.1:{free_port()};transport=tcp")
        assert not channel.closed
        await desk.more_frames(10)


# -- signalling with sipp ------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["call", "no_sdp"])
async def test_a_packet_leaves_every_20_ms_in_silence(scenario: str) -> None:
    desk = Desk()
    async with SipListener(settings(), desk) as sip, RtpSink() as sink:
        await sipp(scenario, sip.port, sink.port)
        await in_time(desk.done)
        packets = sink.packets
    talk_ms = {"call": 1500, "no_sdp": 500}[scenario]
    assert len(packets) == pytest.approx(talk_ms / 20, rel=0.1, abs=3)
    for before, after in itertools.pairwise(packets):
        assert (after.sequence - before.sequence) % 2**16 == 1
        assert (after.timestamp - before.timestamp) % 2**32 == FRAME
    assert {len(packet.payload) for packet in packets} == {FRAME}


@pytest.mark.parametrize(
    ("scenario", "changes"),
    [
        ("wrong_codec", {}),
        ("wrong_codec", {"codecs": ["G722/16000"]}),
    ],
)
async def test_no_common_codec_is_488(scenario: str, changes: dict[str, object]) -> None:
    desk = Desk()
    async with SipListener(settings(**changes), desk) as sip:
        await sipp(scenario, sip.port)
        await sipp(scenario, sip.port)
    assert desk.calls.empty()


async def test_one_caller_too_many_is_486() -> None:
    desk, busy = Desk(), 0

    def count() -> None:
        nonlocal busy
        busy += 1

    async with SipListener(settings(max_calls=1), desk) as sip:
        sip.on_refused = count
        first = asyncio.create_task(sipp("await_bye", sip.port))
        channel = await in_time(desk.calls)
        for _ in range(6):  # more than the library has lines: each is given back
            await sipp("busy", sip.port)
        assert sip.refused == 6
        await channel.hangup()
        await first
        await in_time(desk.done)
        await sipp("short_call", sip.port)  # the line is free again
        await in_time(desk.done)
    assert desk.calls.qsize() == 1
    assert busy == 6


async def test_a_machine_at_its_limit_is_486() -> None:
    async with SipListener(settings(), Desk()) as sip:
        sip.admits = lambda: False
        await sipp("busy", sip.port)


async def test_the_largest_number_of_calls_is_carried() -> None:
    desk = Desk()
    async with SipListener(settings(max_calls=4), desk) as sip:
        calls = [asyncio.create_task(sipp("await_bye", sip.port)) for _ in range(4)]
        channels = [await in_time(desk.calls) for _ in calls]
        await sipp("busy", sip.port)
        for channel in channels:
            await channel.hangup()
        await asyncio.gather(*calls)


async def test_a_closing_hotline_is_503() -> None:
    async with SipListener(settings(), Desk()) as sip:
        sip.accepting = False
        await sipp("unavailable", sip.port)


async def test_a_call_may_begin_on_hold() -> None:
    desk = Desk()
    async with SipListener(settings(), desk) as sip:
        await sipp("inactive", sip.port)
        await in_time(desk.done)
    assert desk.frames
    assert not any(map(is_loud, desk.heard))


async def test_calls_leave_nothing_behind() -> None:
    def open_here() -> tuple[int, int]:
        return len(asyncio.all_tasks()), len(psutil.Process().net_connections("inet"))

    desk = Desk(lambda channel: channel.play(tone(440, 5)))
    before = open_here()
    async with SipListener(settings(), desk) as sip:
        idle = open_here()
        for _ in range(3):
            await sipp("short_call", sip.port)
            await in_time(desk.done)
        await asyncio.sleep(0)  # lets the last call's task end
        assert open_here() == idle
        assert not sip.channels
    assert open_here() == before


async def test_keys_by_info(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    async with SipListener(settings(), desk) as sip:
        await sipp("info", sip.port)
        channel = await in_time(desk.done)
    assert desk.keys == "55#"
    assert not channel.telephone_event
    assert "telephone-event" in caplog.text


async def test_a_withheld_number_may_be_asserted() -> None:
    desk = Desk()
    async with SipListener(settings(), desk) as sip:
        await sipp("withheld", sip.port)
        channel = await in_time(desk.done)
    assert channel.caller == "+8613900005678"


async def test_the_caller_hangs_up_while_we_speak() -> None:
    async def speak(channel: SipChannel) -> None:
        try:
            await channel.play(tone(440, 60))
        except ChannelClosed:
            outcome.append("closed")
            raise

    desk, outcome = Desk(speak), list[str]()
    async with SipListener(settings(), desk) as sip:
        await sipp("short_call", sip.port)
        channel = await in_time(desk.done)
        assert outcome == ["closed"]
        assert channel.clear() == 0
        await channel.drain()
        await channel.hangup()
        assert not sip.channels


async def test_clear_stops_the_wire_at_once() -> None:
    handed = tone(440, 10)

    async def speak(channel: SipChannel) -> None:
        playing = asyncio.create_task(channel.play(handed))
        await desk.until(lambda: sum(map(is_loud, desk.sent)) >= 20)
        dropped.append(channel.clear())
        marks.append(len(desk.sent))
        await asyncio.wait_for(playing, 5)

    desk, dropped, marks = Desk(speak), list[int](), list[int]()
    async with SipListener(settings(), desk) as sip, RtpSink() as sink:
        await sipp("call", sip.port, sink.port)
        await in_time(desk.done)
        on_wire = sum(map(is_loud, sink.audio()))
    loud = sum(map(is_loud, desk.sent))
    assert loud == on_wire
    # the first of what was dropped fades in a last frame
    assert (loud - 1) * FRAME + dropped[0] == handed.size
    # a tick may have been on its way to the event loop when clear() ran
    assert sum(map(is_loud, desk.sent[marks[0] :])) <= 3


async def test_a_peer_that_sends_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_call, "RTP_TIMEOUT_S", 2)
    desk = Desk()
    async with SipListener(settings(), desk) as sip:
        await sipp("await_bye", sip.port)
        channel = await in_time(desk.done)
    assert channel.ended_by == "us"


async def test_sip_and_rtp_are_bound_where_told() -> None:
    def bound() -> set[tuple[str, int]]:
        sockets = psutil.Process().net_connections("inet")
        return {(each.laddr.ip, each.laddr.port) for each in sockets}

    before = bound()
    desk, chosen = Desk(), settings()
    async with SipListener(chosen, desk) as sip:
        call = asyncio.create_task(sipp("call", sip.port))
        await in_time(desk.calls)
        opened = bound() - before
        await call
    assert {host for host, _ in opened} == {"127.0.0.1"}
    rtp = {port for _, port in opened} - {sip.port}
    assert rtp
    assert all(chosen.rtp_port <= port < chosen.rtp_port + 100 for port in rtp)


async def test_the_advertised_address_is_told(tmp_path: Path) -> None:
    async with SipListener(settings(advertise="192.0.2.7"), Desk()) as sip:
        assert sip.uri == f"sip:12333@192.0.2.7:{sip.port}"
        await sipp("short_call", sip.port, folder=tmp_path)
    messages = (tmp_path / "messages.log").read_text()
    assert "c=IN IP4 192.0.2.7" in messages
    assert f"Contact: <sip:12333@192.0.2.7:{sip.port}" in messages


async def test_registers_with_a_pbx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTLINE_SIP_PASSWORD", "secret")
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "sipp", "-sf", str(SCENARIOS / "registrar.xml"), "-m", "1", "-i", "127.0.0.1",
        "-p", str(port), "-nostdin", "-timeout", "20", stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    chosen = settings(registrar=f"sip:127.0.0.1:{port}", registrar_user="line1")
    async with SipListener(chosen):
        assert await process.wait() == 0


# -- what goes wrong at the start ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
async def test_a_taken_port_is_one_clear_error(kind: str) -> None:
    with socket.socket(socket.AF_INET, getattr(socket, kind)) as other:
        other.bind(("127.0.0.1", 0))
        if kind == "SOCK_STREAM":
            other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ChannelError, match=rf"sip.port {port} on 127.0.0.1 is in use"):
            await SipListener(settings(port=port)).start()
    async with SipListener(settings(port=port)) as sip:  # and nothing is left behind
        assert sip.port == port


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bind": "192.0.2.1"}, "sip.bind 192.0.2.1"),
        ({"codecs": ["OPUS/48000"]}, "OPUS/48000 is not known; choose from .*PCMA/8000"),
        ({"max_calls": 100}, "at most 4 calls"),
    ],
)
async def test_settings_that_cannot_work(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ChannelError, match=message):
        await SipListener(settings(**changes)).start()


async def test_dialling_nobody_names_the_status() -> None:
    async with SipListener(settings()) as sip:
        with pytest.raises(CallFailed) as failed:
            await sip.dial(f"sip:nobody@127.0.0.1:{free_port()};transport=tcp")
        assert failed.value.status >= 400
        with pytest.raises(ChannelError, match="cannot be called"):
            await sip.dial("not a uri")
        assert not sip.channels
