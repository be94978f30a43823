"""Guards the line against bad packets, bad peers and bad manners: real calls over loopback.

What well-behaved phones do is in test_sip.py; here the caller is two bare sockets (sip_peer.py)
that lose, delay, repeat, change and forge what they send.
"""

import asyncio
import random
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from assistant.call import Call
from assistant.channels import sip_call, sip_source
from assistant.channels.channel import Pcm
from assistant.channels.sip import SipListener
from assistant.channels.sip_call import SipChannel
from assistant.channels.sip_media import FRAME, RATE
from assistant.channels.sip_source import SourceLock
from assistant.dialogue.dialogue import CallStarted, Keys, Silence
from assistant.hearing import Hearing
from assistant.journal import Event, Journal
from assistant.line_trouble import MUTED
from assistant.playback import Playback
from assistant.settings import Privacy, Settings, Turns
from tests.sip_peer import COMFORT_NOISE, PCMA, PCMU, Peer, encode_alaw
from tests.test_call import GOODBYE, GREETING, Ears, Mouth, NoRecords, Script, speech, spoken
from tests.test_sip import Desk, in_time, is_loud, pitch, settings, tone

Schedule = list[tuple[float, bytes]]


class Line:
    """One answered call between a peer and a desk: `async with Line() as line`."""

    def __init__(self, desk: Desk | None = None) -> None:
        self.desk = desk or Desk()
        self.sip = SipListener(settings(), self.desk)

    async def __aenter__(self) -> "Line":
        await self.sip.start()
        self.peer = Peer(self.sip.port)
        await self.peer.__aenter__()
        assert await self.peer.invite() == 200
        self.channel = await in_time(self.desk.calls)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.peer.__aexit__()
        await self.sip.stop()

    async def settle(self) -> None:
        """Wait until the jitter buffer is empty."""
        await self.desk.more_frames(25)

    @property
    def sound(self) -> Pcm:
        """What was heard, from the first loud frame to the last."""
        loud = [n for n, frame in enumerate(self.desk.heard) if is_loud(frame)]
        assert loud, "nothing was heard"
        return np.concatenate(self.desk.heard[loud[0] : loud[-1] + 1])

    @property
    def seconds(self) -> float:
        """How much of what was heard is loud."""
        return sum(map(is_loud, self.desk.heard)) * FRAME / RATE


# -- packets that come late, twice, out of order, or not at all ------------------------------------


def lost(schedule: Schedule) -> Schedule:
    return [each for each in schedule if random.Random(each[0]).random() >= 0.05]


def jittered(schedule: Schedule) -> Schedule:
    chance = random.Random(7)
    return [(at + chance.uniform(0, 60), packet) for at, packet in schedule]


def swapped(schedule: Schedule) -> Schedule:
    return [(at + (30 if n % 5 == 0 else 0), packet) for n, (at, packet) in enumerate(schedule)]


def doubled(schedule: Schedule) -> Schedule:
    return [each for at, packet in schedule for each in ((at, packet), (at + 5, packet))]


def all_at_once(schedule: Schedule) -> Schedule:
    return lost(jittered(doubled(schedule)))


@pytest.mark.parametrize("spoil", [lost, jittered, swapped, doubled, all_at_once])
async def test_a_voice_survives_a_bad_network(spoil: Callable[[Schedule], Schedule]) -> None:
    async with Line() as line:
        packets = line.peer.packets(tone(1000, 2))
        await line.peer.send_at(spoil([(20.0 * n, packet) for n, packet in enumerate(packets)]))
        await line.settle()
        assert pitch(line.sound) == pytest.approx(1000, abs=5)
        assert line.seconds == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("ptime_ms", [10, 30, 40, 60])
async def test_packets_of_any_length_are_understood(ptime_ms: int) -> None:
    async with Line() as line:
        await line.peer.speak(tone(1000, 1.2), ptime_ms)
        await line.settle()
        assert pitch(line.sound) == pytest.approx(1000, abs=5)
        assert line.seconds == pytest.approx(1.2, abs=0.15)


async def test_a_new_stream_in_the_same_call_is_heard() -> None:
    """A PBX that puts another phone on the line starts a new SSRC, sequence and clock."""
    async with Line() as line:
        peer = line.peer
        await peer.speak(tone(1000, 0.5))
        peer.ssrc, peer.sequence, peer.timestamp = 0x99887766, 60_000, 5
        await peer.speak(tone(1000, 1))
        await line.settle()
        assert line.seconds == pytest.approx(1.5, abs=0.2)


async def test_a_phone_that_sends_nothing_in_its_pauses_is_heard_after_them() -> None:
    async with Line() as line:
        peer = line.peer
        for _ in range(3):
            await peer.speak(tone(1000, 0.4))
            await peer.send([peer.packet(b"\x40", COMFORT_NOISE, ticks=160)])
            await asyncio.sleep(0.6)
            peer.timestamp += round(0.6 * RATE)
        await line.settle()
        # the decoder draws out what breaks off, 80 ms each time
        assert 1.1 <= line.seconds <= 1.2 + 3 * 0.1
        assert line.desk.frames >= 130, "the call's clock goes on in the pauses"


async def test_a_voice_that_begins_late_is_heard_from_its_beginning() -> None:
    async with Line() as line:
        await asyncio.sleep(1.5)
        await line.peer.speak(tone(1000, 0.6))
        await line.settle()
        assert line.seconds == pytest.approx(0.6, abs=0.1)
        assert line.desk.frames >= 75


async def test_a_peer_that_stops_without_a_word_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sip_call, "RTP_TIMEOUT_S", 2)
    async with Line() as line:
        await line.peer.speak(tone(1000, 0.5))
        channel = await in_time(line.desk.done)
        assert channel.ended_by == "us"
        await asyncio.wait_for(line.peer.hung_up.wait(), 5)


# -- packets that are none -------------------------------------------------------------------------

GARBAGE = [
    b"",
    b"\x80",
    b"\x80\x08",
    bytes(12),
    b"\xff" * 200,
    b"GET / HTTP/1.1\r\n\r\n",
    bytes(range(256)) * 5,
    b"\x80\x08" * 30_000,
]


def oddities(peer: Peer) -> list[bytes]:
    """Packets with a proper header and an improper rest."""
    loud = encode_alaw(tone(300, 0.02))
    return [
        peer.packet(b"", PCMA),
        peer.packet(loud, 96),
        peer.packet(loud, 3),
        peer.packet(loud, COMFORT_NOISE),
        peer.packet(loud * 8, 18),
        peer.packet(b"\x01", 101),
        peer.packet(b"", 101),
        b"\xbf" + peer.packet(loud)[1:],  # padding, extension and 15 sources that are not there
        b"\x40" + peer.packet(loud)[1:],  # RTP version 1
    ]


async def test_garbage_on_the_rtp_port_costs_nobody_a_word() -> None:
    async with Line() as line:
        peer = line.peer
        packets = peer.packets(tone(1000, 1.5))
        schedule = [(20.0 * n, packet) for n, packet in enumerate(packets)]
        strange = [*GARBAGE, *oddities(Peer(0))] * 4
        schedule += [(20.0 * n + 10, packet) for n, packet in enumerate(strange)]
        await peer.send_at([each for each in schedule if len(each[1]) < 60_001])
        await line.settle()
        assert not line.channel.closed
        assert pitch(line.sound) == pytest.approx(1000, abs=5)
        assert line.seconds == pytest.approx(1.5, abs=0.2)
        assert line.desk.keys == ""


async def test_a_packet_of_a_second_is_no_end() -> None:
    async with Line() as line:
        peer = line.peer
        await peer.send([peer.packet(encode_alaw(tone(1000, 1)))])
        await peer.speak(tone(1000, 1))
        await line.settle()
        assert not line.channel.closed
        assert pitch(line.sound) == pytest.approx(1000, abs=20)


@pytest.mark.parametrize("packets_per_s", [50, 1000])
async def test_a_stranger_cannot_take_over_the_sound(packets_per_s: int) -> None:
    desk = Desk(lambda channel: channel.play(tone(440, 5)))
    async with Line(desk) as line, Peer(0) as stranger:
        peer = line.peer
        await peer.speak(tone(1000, 2.5))  # for two whole seconds it was nobody else
        stranger.wire = peer.wire
        line.desk.heard.clear()
        count = 2 * packets_per_s
        forged = [stranger.packet(encode_alaw(tone(300, 0.02))) for _ in range(count)]
        await asyncio.gather(
            peer.speak(tone(1000, 2)),
            stranger.send_at([(n * 1000 / packets_per_s, p) for n, p in enumerate(forged)]),
        )
        await line.settle()
        assert pitch(line.sound) == pytest.approx(1000, abs=5)
        assert line.seconds == pytest.approx(2, abs=0.5)
        assert not stranger.rtp.received, "the hotline's voice went to a stranger"


async def test_a_caller_behind_nat_is_heard_and_answered_where_it_sends_from() -> None:
    desk = Desk(lambda channel: channel.play(tone(440, 3)))
    async with Line(desk) as line, Peer(0) as nat:
        nat.wire = line.peer.wire
        await nat.speak(tone(1000, 2))
        await line.settle()
        assert line.seconds == pytest.approx(2, abs=0.3)
        assert nat.rtp.received


async def test_a_caller_who_moves_to_another_address_is_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sip_source, "OPEN_AGAIN_S", 1)
    async with Line() as line, Peer(0) as moved:
        await line.peer.speak(tone(1000, 2.5))
        line.peer.rtp.close()  # whoever sends there now is told so by ICMP
        moved.wire = line.peer.wire
        line.desk.heard.clear()
        await moved.speak(tone(1000, 3))
        await line.settle()
        assert line.seconds >= 1.5
        assert moved.rtp.received


async def test_a_new_address_in_a_new_offer_is_heard_at_once() -> None:
    async with Line() as line, Peer(0) as moved:
        peer = line.peer
        await peer.speak(tone(1000, 2.5))
        peer.rtp, moved.rtp = moved.rtp, peer.rtp
        assert await peer.invite() == 200
        line.desk.heard.clear()
        await peer.speak(tone(1000, 1))
        await line.settle()
        assert line.seconds == pytest.approx(1, abs=0.2)


def test_an_address_is_trusted_after_a_second_and_given_up_in_silence() -> None:
    lock = SourceLock()
    assert lock.second("a:1", new_packets=True) == ""
    assert lock.second("b:2", new_packets=True) == ""
    assert lock.second("b:2", new_packets=True) == "b:2"
    assert lock.second("a:1", new_packets=True) == "b:2"
    heard = [lock.second("b:2", new_packets=False) for _ in range(sip_source.OPEN_AGAIN_S)]
    assert heard == ["b:2"] * (sip_source.OPEN_AGAIN_S - 1) + [""]


# -- changes in the middle of a call ---------------------------------------------------------------


async def test_the_codec_changes_in_the_middle_of_a_call() -> None:
    async with Line() as line:
        peer = line.peer
        assert line.channel.codec == "PCMA/8000"
        await peer.speak(tone(1000, 0.6))
        assert await peer.invite(peer.sdp(codecs=(PCMU,))) == 200
        peer.rtp.received.clear()
        playing = asyncio.create_task(line.channel.play(tone(440, 0.5)))
        await peer.speak(tone(1000, 0.6), kind=PCMU)
        await playing
        await line.settle()
        assert line.channel.codec == "PCMU/8000"
        assert pitch(line.sound) == pytest.approx(1000, abs=5)
        assert line.seconds == pytest.approx(1.2, abs=0.15)
        kinds = {packet[1] & 0x7F for packet in peer.rtp.received[3:]}
        assert kinds == {PCMU}
        await peer.bye()


@pytest.mark.parametrize("hold", ["sendonly", "inactive", "0.0.0.0"])
async def test_on_hold_the_playback_rests(hold: str) -> None:
    async with Line() as line:
        peer = line.peer
        await peer.speak(tone(1000, 0.3))
        held = peer.sdp(address=hold) if hold == "0.0.0.0" else peer.sdp(hold)
        assert await peer.invite(held) == 200
        await line.desk.more_frames(10)
        playing = asyncio.create_task(line.channel.play(tone(440, 0.5)))
        await line.desk.more_frames(50)
        assert not playing.done(), "nobody would have heard it"
        assert line.channel.held
        assert await peer.invite(peer.sdp("sendrecv")) == 200
        assert not line.channel.held
        await asyncio.wait_for(playing, 10)
        line.desk.heard.clear()
        await peer.speak(tone(1000, 0.5))
        await line.settle()
        assert line.seconds == pytest.approx(0.5, abs=0.1)


# -- keys ------------------------------------------------------------------------------------------


async def test_a_key_signalled_both_ways_counts_once() -> None:
    async with Line() as line:
        for digit in "4403":
            await line.peer.press(digit)
            await line.peer.press_info(digit)
            await asyncio.sleep(0.05)
        await line.settle()
        assert line.desk.keys == "4403"


async def test_keys_pressed_while_packets_are_lost_and_repeated_count_once() -> None:
    async with Line() as line:
        peer = line.peer
        for digit in "15#":
            before = peer.sequence
            await peer.press(digit)
            assert peer.sequence > before
        await line.settle()
        assert line.desk.keys == "15#"


# -- bad signalling --------------------------------------------------------------------------------


async def test_an_options_ping_is_answered() -> None:
    async with SipListener(settings(), Desk()) as sip, Peer(sip.port) as peer:
        assert (await peer.request("OPTIONS")).startswith("SIP/2.0 200")


NO_SIP = [
    b"",
    b"\r\n\r\n",
    b"\x00" * 1400,
    b"INVITE\r\n\r\n",
    b"INVITE sip:12333@x SIP/2.0\r\n\r\n",
    b"SIP/2.0 200 OK\r\n\r\n",
    b"INVITE sip:12333@127.0.0.1 SIP/2.0\r\nVia: nonsense\r\nFrom: <\r\nTo: >\r\nCSeq: x\r\n\r\n",
    b"INVITE " + b"a" * 3000 + b" SIP/2.0\r\n\r\n",
    "你好，我想查养老金".encode(),
    b"INVITE sip:1@127.0.0.1 SIP/2.0\r\nContent-Length: 999999999\r\n\r\nv=0",
]


async def test_malformed_messages_are_survived() -> None:
    desk = Desk()
    async with SipListener(settings(), desk) as sip, Peer(sip.port) as peer:
        for message in NO_SIP * 3:
            peer.send_raw(message)
        with socket.create_connection(("127.0.0.1", sip.port)) as tcp:
            for message in NO_SIP:
                tcp.sendall(message)
            await asyncio.sleep(0.2)
        assert await peer.invite() == 200
        await in_time(desk.calls)
        await peer.bye()


@pytest.mark.parametrize(
    "body",
    [
        "nonsense",
        "v=0\r\n",
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n",
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=audio 99999 RTP/AVP 8\r\n",
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 nowhere.invalid\r\nt=0 0\r\n"
        "m=audio 4000 RTP/AVP 8\r\n",
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=video 4000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=audio 0 RTP/AVP 8\r\n",
    ],
    ids=["nonsense", "no media", "no m line", "no such port", "no such host", "video", "port 0"],
)
async def test_an_offer_that_cannot_be_met_is_refused(body: str) -> None:
    desk = Desk()
    async with SipListener(settings(), desk) as sip, Peer(sip.port) as peer:
        assert 400 <= await peer.invite(body) < 700
        assert not sip.channels
        async with Peer(sip.port) as other:
            assert await other.invite() == 200
            await in_time(desk.calls)


async def test_an_oversized_offer_is_answered_and_the_next_caller_served() -> None:
    desk = Desk()
    async with SipListener(settings(), desk) as sip, Peer(sip.port) as peer:
        peer.send_raw(b"INVITE sip:12333@127.0.0.1 SIP/2.0\r\n" + b"X: y\r\n" * 9000 + b"\r\n")
        padded = peer.sdp(*(f"x-{n}:{'z' * 60}" for n in range(40)))
        assert await peer.invite(padded) in (200, 400, 413, 488)
        async with Peer(sip.port) as other:
            assert await other.invite() == 200


async def test_fifty_callers_in_a_second() -> None:
    desk = Desk()
    async with SipListener(settings(), desk) as sip:
        peers = [Peer(sip.port) for _ in range(50)]
        for peer in peers:
            await peer.__aenter__()

        async def call(peer: Peer, after_s: float) -> int:
            await asyncio.sleep(after_s)
            return await peer.invite()

        statuses = await asyncio.gather(*(call(peer, n / 50) for n, peer in enumerate(peers)))
        assert statuses.count(200) == 4
        assert set(statuses) <= {200, 486, 503}
        for peer, status in zip(peers, statuses, strict=True):
            if status == 200:
                await peer.bye()
        for _ in range(4):
            await in_time(desk.done)
        async with Peer(sip.port) as next_caller:
            assert await next_caller.invite() == 200
        for peer in peers:
            await peer.__aexit__()


# -- a whole call over the wire --------------------------------------------------------------------


class Conversation:
    """A real call on the channel, with scripted ears, mind and voice; asks again after 2 s."""

    def __init__(self) -> None:
        self.dialogue = Script({CallStarted(): GREETING, Silence(3): GOODBYE})
        self.events: list[Event] = []
        self.workers = ThreadPoolExecutor(1)

    async def __call__(self, channel: SipChannel) -> None:
        chosen = Settings(turns=Turns(no_input_s=2))
        records: Any = NoRecords()
        call = Call(
            "c1",
            channel,
            Hearing(channel, Ears(["好"]), chosen.turns, self.workers),
            Playback(channel, [Mouth()]),
            self.dialogue,
            Journal("c1", "sip", "", self.events.append, records, Privacy()),
            chosen,
        )
        await call.run()

    async def said(self, what: object) -> None:
        """Wait until the dialogue was told `what`."""
        async with asyncio.timeout(20):
            while what not in self.dialogue.said:
                await asyncio.sleep(0.05)

    async def spoke(self, text: str) -> None:
        """Wait until `text` was spoken."""
        async with asyncio.timeout(20):
            while text not in spoken(self.events):
                await asyncio.sleep(0.05)


def hiss(seconds: float) -> Pcm:
    """The noise of an open microphone."""
    return np.random.default_rng(7).integers(-40, 41, round(seconds * RATE)).astype(np.int16)


async def test_a_muted_phone_is_told_so() -> None:
    call = Conversation()
    async with SipListener(settings(), call) as sip, Peer(sip.port) as peer:
        assert await peer.invite() == 200
        sending = asyncio.create_task(peer.speak(np.zeros(RATE * 10, np.int16)))
        await call.spoke(MUTED)
        sending.cancel()
        await peer.bye()
    assert call.dialogue.said == [CallStarted()]


async def test_on_hold_nobody_is_asked_and_afterwards_somebody_is() -> None:
    call = Conversation()
    async with SipListener(settings(), call) as sip, Peer(sip.port) as peer:
        assert await peer.invite() == 200
        await call.spoke(GREETING[0].text)
        await peer.speak(hiss(1))
        assert await peer.invite(peer.sdp("sendonly")) == 200
        await asyncio.sleep(4)
        assert call.dialogue.said == [CallStarted()]
        assert await peer.invite(peer.sdp("sendrecv")) == 200
        sending = asyncio.create_task(peer.speak(hiss(10)))
        await call.said(Silence(1))
        sending.cancel()
        await peer.bye()


async def test_keys_in_the_middle_of_speech_are_the_only_turn() -> None:
    call = Conversation()
    async with SipListener(settings(), call) as sip, Peer(sip.port) as peer:
        assert await peer.invite() == 200
        await call.spoke(GREETING[0].text)
        await peer.speak(hiss(0.6))
        speaking = asyncio.create_task(peer.speak(np.concatenate([speech(1.6), hiss(2)])))
        await asyncio.sleep(0.8)
        for digit in "12#":
            await peer.press(digit)
        await call.said(Keys("12"))
        await speaking
        await peer.bye()
    assert call.dialogue.said == [CallStarted(), Keys("12")]
