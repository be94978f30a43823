"""Guards who is served first, when a caller is one too many, and what the load benchmark reads."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from assistant import call_servers, cli, services, settings
from assistant.admission import LATE_SECONDS, TICKS_S, WINDOW_S, Admission
from assistant.bench_load import Step
from assistant.bench_soak import Held
from assistant.channels import g711
from assistant.channels.channel import Pcm
from assistant.channels.sip_light import LightCall, Refused, Wire
from assistant.channels.sip_link import Report
from assistant.channels.sip_media import ClockWatch
from assistant.playback import Playback
from assistant.processes import Cost, costs
from assistant.settings import ConfigError, Load, Sip
from assistant.speech.urgency import NEVER, UrgencyPool, needed_by
from tests.rtp import decode_alaw
from tests.test_front import front_door, until

RULES = Load(answer_ms=2000, late_ms=50)


# -- admission -----------------------------------------------------------------------------------


def test_nobody_is_refused_on_an_idle_machine() -> None:
    admission = Admission(RULES)
    for second in range(20):
        admission.answered(9000, second)
        admission.measured(500, 9000, second)
    assert not admission.admits(1, 20.0)
    assert admission.admits(0, 20.0)
    admission.measured(0, 0, 21.0)
    assert admission.admits(1, 21.0), "what was measured before the last call ended is forgotten"


def test_the_median_of_the_answers_decides() -> None:
    admission = Admission(RULES)
    for ms in (9000, 9000):
        admission.answered(ms, 1.0)
    assert admission.admits(2, 1.0), "two are too few to tell"
    for ms in (900, 900, 900):
        admission.answered(ms, 2.0)
    assert admission.admits(2, 2.0)
    for _ in range(5):
        admission.answered(2500, 3.0)
    assert not admission.admits(2, 3.0)
    assert admission.admits(2, 3.0 + WINDOW_S + 1), "old answers tell nothing of now"


def test_once_full_it_must_ease_before_it_opens() -> None:
    admission = Admission(RULES)
    admission.measured(0, 2100, 0.0)
    assert not admission.admits(2, 0.0)
    admission.measured(0, 1900, 1.0)
    assert not admission.admits(2, 1.0)
    admission.measured(0, 1300, 2.0)
    assert admission.admits(2, 2.0)
    admission.measured(0, 1900, 3.0)
    assert admission.admits(2, 3.0)


def test_a_late_clock_counts_when_it_is_late_again_and_again() -> None:
    admission = Admission(RULES)
    for second in range(LATE_SECONDS - 1):
        admission.measured(80, 0, second)
    assert admission.admits(2, 2.0)
    admission.measured(80, 0, 3.0)
    assert not admission.admits(2, 3.0)
    assert admission.admits(2, 3.0 + TICKS_S + 1)


def test_the_clock_is_watched_while_somebody_needs_it() -> None:
    clock = ClockWatch()
    for at in (10.0, 10.0, 10.02, 10.09, 10.11):
        clock.tick(at)
    assert clock.take_worst_ms() == pytest.approx(50)
    clock.rest()
    clock.tick(99.0)
    clock.tick(99.02)
    assert clock.take_worst_ms() == pytest.approx(0, abs=1e-6)


# -- urgency -------------------------------------------------------------------------------------


async def test_the_most_urgent_comes_first_and_the_oldest_of_equals() -> None:
    pool, loop = UrgencyPool(1, "test"), asyncio.get_running_loop()
    gate, order = threading.Event(), list[str]()

    async def submit(name: str, deadline: float) -> None:
        needed_by.set(deadline)
        await loop.run_in_executor(pool, order.append, name)

    held = loop.run_in_executor(pool, gate.wait)
    tasks = [
        asyncio.create_task(submit(name, deadline))
        for name, deadline in
        [("ahead", 90.0), ("render", NEVER), ("first", 0.0), ("soon", 5.0), ("first too", 0.0)]
    ]  # fmt: skip
    await asyncio.sleep(0)
    assert pool.oldest_wait_s() > 0
    gate.set()
    await asyncio.gather(held, *tasks)
    assert order == ["first", "first too", "soon", "ahead", "render"]
    assert pool.oldest_wait_s() == 0
    pool.shutdown()


async def test_work_that_was_given_up_is_not_done_and_a_fault_reaches_its_owner() -> None:
    pool, loop = UrgencyPool(1, "test"), asyncio.get_running_loop()
    gate, done = threading.Event(), list[str]()
    held = loop.run_in_executor(pool, gate.wait)
    dropped = loop.run_in_executor(pool, done.append, "dropped")
    faulty = loop.run_in_executor(pool, int, "x")
    dropped.cancel()
    gate.set()
    await held
    with pytest.raises(ValueError, match="invalid literal"):
        await faulty
    assert done == []
    pool.shutdown()
    with pytest.raises(RuntimeError):
        pool.submit(int)


async def test_look_ahead_is_as_urgent_as_what_the_caller_has_in_hand() -> None:
    class Voice:
        name, voice, rate = "voice", "voice", 8000
        deadlines: ClassVar[list[float]] = []

        async def speak(self, text: str, speed: float = 1.0) -> AsyncIterator[Pcm]:
            self.deadlines.append(needed_by.get())
            yield np.zeros(8000, np.int16)

    class Line:
        kind, caller, rate, tap = "sip", "", 8000, None

        async def play(self, pcm: Pcm) -> None:
            pass

        async def drain(self) -> None:
            pass

    channel: Any = Line()  # stands for one that takes audio at once
    began = time.monotonic()
    await Playback(channel, [Voice()]).say("您好。请讲。再见。")
    first, second, third = Voice.deadlines
    assert first == 0.0
    assert second - began == pytest.approx(1, abs=0.5)
    assert third - second == pytest.approx(1, abs=0.01)


# -- several processes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "lines"), [(4, []), (5, [3, 2]), (8, [4, 4]), (10, [4, 3, 3]), (200, [4] * 50)]
)
def test_calls_are_shared_evenly_and_ports_never_overlap(most: int, lines: list[int]) -> None:
    sip = Sip(max_calls=most)
    shares = [call_servers.share(sip, name) for name in call_servers.names(sip)]
    assert [share.max_calls for share in shares] == lines
    ports = [share.rtp_port + port for share in shares for port in range(4 * share.max_calls)]
    assert len(set(ports)) == len(ports)


def test_one_process_needs_no_front_door() -> None:
    few = settings.load(overrides=["sip.max_calls=4"])
    many = settings.load(overrides=["sip.max_calls=10"])
    direct, behind = (services.stages(each, Path("model"), []) for each in (few, many))
    for stages in (direct, behind):
        assert [each.name for each in stages[0]].count("speech") == 1, "one, however many answer"
    assert [[each.name for each in stage] for stage in direct[1:]] == [["answer"]]
    assert direct[1][0].argv[-1] == "answer"
    front, servers = behind[1:]
    assert [each.name for each in front] == ["answer"]
    assert front[0].argv[-1] == "front"
    assert [each.name for each in servers] == ["answer-1", "answer-2", "answer-3"]
    more = len(services.ports(many)) - len(services.ports(few))
    assert more == 2 + 2, "the front door's inner ports, and metrics of two more call servers"


def test_a_front_door_does_not_register() -> None:
    with pytest.raises(ConfigError, match=r"sip\.registrar = 'sip:pbx': .*as a trunk"):
        settings.load(overrides=["sip.max_calls=5", 'sip.registrar="sip:pbx"'])
    assert settings.load(overrides=['sip.registrar="sip:pbx"']).sip.registrar == "sip:pbx"


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"7", b'{"sip": 1}', b'{"sip": ["a", "b"]}'])
def test_a_report_that_is_none(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its words differ
        Report.from_line(line)


def test_a_report_is_read_as_it_was_written() -> None:
    report = Report("answer-1", ("127.0.0.1", 4000), 4, calls=2, admits=False)
    assert Report.from_line(report.to_line()) == report


@pytest.mark.parametrize(
    "arguments",
    [("load", "--most", "0"), ("load", "--seconds", "0"), ("soak", "--calls", "0"),
     ("soak", "--minutes", "0"), ("load", "--most", "201")],
)  # fmt: skip
def test_a_benchmark_that_cannot_be(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", *arguments]) == 2
    assert "is 1 to" in capsys.readouterr().err


# -- the benchmark -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("megabytes", "files", "grew"),
    [
        ([400, 430, 400, 401, 399, *[405] * 9, 412, 411, 440, 411, 410], [10] * 19, False),
        ([*[400] * 5, *[408] * 9, *[413] * 5], [10] * 19, True),
        ([400] * 19, [*[10] * 14, *[14] * 5], True),
        ([400] * 19, [*[10] * 14, *[13] * 5], False),
        ([400, 410], [10, 10], False),
    ],
)
def test_what_grows_in_a_soak_is_told_from_what_breathes(
    megabytes: list[int], files: list[int], grew: bool
) -> None:
    rounds = [
        Cost(memory_mb=900 + place * 9, files=opened, threads=4, sockets=2, own_mb=held)
        for place, (held, opened) in enumerate(zip(megabytes, files, strict=True))
    ]
    assert Held.over("speech", rounds).grew is grew


def test_alaw_is_the_standards() -> None:
    codes = bytes(range(256))
    assert (g711.LEVELS[np.frombuffer(codes, np.uint8)] == decode_alaw(codes)).all()
    assert g711.encode(decode_alaw(codes)) == codes
    assert g711.encode(np.array([0, 1, -1], np.int16)) == bytes([0xD5, 0xD5, 0x55])
    assert g711.loudest(bytes([g711.SILENCE] * 160)) <= 8


def test_gaps_and_onsets_on_the_wire() -> None:
    wire = Wire()
    for at, amplitude in [(1.0, 0), (1.02, 900), (1.07, 900), (1.2, 0), (1.5, 900), (1.52, 900)]:
        wire.arrived(at, amplitude)
    assert wire.gaps_s == pytest.approx([0.02, 0.05, 0.13, 0.3, 0.02])
    assert wire.onsets_s == [1.02, 1.5]
    assert wire.onset_after(1.1) == 1.5
    assert wire.onset_after(1.6) is None


@pytest.mark.parametrize(
    ("changes", "carried"),
    [
        ({}, True),
        ({"latencies_ms": []}, False),
        ({"latencies_ms": [900.0] * 9 + [1600.0]}, False),
        ({"gaps_ms": [20.0, 41.0]}, False),
        ({"refused": 1}, False),
        ({"broken": 1}, False),
        ({"unanswered": 1}, False),
        ({"cut_short": 1}, True),
    ],
)
def test_when_a_step_is_carried(changes: dict[str, object], carried: bool) -> None:
    values: dict[str, object] = {"latencies_ms": [900.0], "gaps_ms": [20.0], **changes}
    step = Step(2, **values)  # type: ignore[arg-type]
    assert step.carried is carried
    assert step.as_json()["carried"] is carried


def test_what_this_process_costs() -> None:
    group = os.getpgid(0)
    cost = costs([group, 2**22 + 1])
    assert cost[2**22 + 1] == Cost()
    assert cost[group].memory_mb > 10
    assert cost[group].threads >= 1
    assert (cost[group] + cost[group]).files == 2 * cost[group].files


async def test_the_light_caller_is_served_times_the_wire_and_hangs_up() -> None:
    """Against a real call server (pjsua) behind the real front door."""
    async with front_door(1) as (front, servers):
        async with LightCall(front.uri) as call:
            left = list[float]()
            call.say(bytes([0x2A]) * 330, left.append)
            for _ in range(40):
                call.tick()
                await asyncio.sleep(0.02)
            with pytest.raises(Refused, match="486"):
                async with LightCall(front.uri):
                    pass
            assert len(left) == 1
            assert len(call.wire.gaps_s) >= 20
            assert np.median(call.wire.gaps_s) == pytest.approx(0.02, abs=0.005)
            assert call.wire.onset_after(0) is not None
        await until(lambda: servers.calls() == {"answer-1": 0})
