"""Guards: services start in order, come back when they die, stop in reverse, leave no orphan.

Real child processes throughout; only the back-off policy is tested in virtual time.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from assistant import ports, settings, supervision
from assistant.ports import Port
from assistant.supervision import UNUSABLE, RestartPolicy, StartError
from assistant.supervisor import Service, Supervisor
from tests.baresip import free_port

HTTP_SERVICE = """
import http.server, signal, sys
name, port, journal = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def note(what):
    with open(journal, "a") as file:
        print(what, name, file=file)
def stop(*_):
    note("stop")
    raise SystemExit
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
signal.signal(signal.SIGTERM, stop)
server = http.server.HTTPServer(("127.0.0.1", port), Handler)
note("start")
server.serve_forever()
"""

TALKER = """
import json, signal, sys
def stop(*_):
    print(json.dumps({"event": "goodbye"}), flush=True)
    raise SystemExit
signal.signal(signal.SIGTERM, stop)
print(json.dumps({"event": "ready", "sip": "sip:12333@127.0.0.1:5060"}), flush=True)
print("a library chatters", flush=True)
print(json.dumps({"event": "call"}), flush=True)
signal.pause()
signal.pause()
"""

DEADLINE_S = 20.0


def python(name: str, code: str, *arguments: str, **how: object) -> Service:
    return Service(name, [sys.executable, "-c", code, *arguments], os.environ, **how)  # type: ignore[arg-type]


def http(name: str, journal: Path, **how: object) -> Service:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    return python(name, HTTP_SERVICE, name, str(port), str(journal), health=url, **how)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


class TestPolicy:
    def test_delay_doubles_up_to_a_limit(self) -> None:
        policy = RestartPolicy()
        policy.ready(0.0)
        delays = [policy.died(1.0, 1) for _ in range(9)]
        assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]

    def test_a_long_healthy_life_is_forgiven(self) -> None:
        policy = RestartPolicy()
        policy.ready(0.0)
        assert [policy.died(1.0, 1) for _ in range(3)][-1] == 2
        policy.ready(10.0)
        assert policy.died(10.0 + supervision.HEALTHY_S, 1) == supervision.FIRST_DELAY_S

    def test_a_short_life_is_not_forgiven(self) -> None:
        policy = RestartPolicy()
        for now, expected in [(0.0, 0.5), (10.0, 1.0), (20.0, 2.0)]:
            policy.ready(now)
            assert policy.died(now + 5.0, 1) == expected

    def test_a_stated_reason_before_the_first_readiness_is_final(self) -> None:
        assert RestartPolicy().died(1.0, UNUSABLE) is None

    def test_a_stated_reason_later_is_tried_again(self) -> None:
        policy = RestartPolicy()
        policy.ready(0.0)
        assert policy.died(1.0, UNUSABLE) is not None

    @pytest.mark.parametrize("code", [1, -9, None])
    def test_never_ready_gives_up_after_a_few_attempts(self, code: int | None) -> None:
        policy = RestartPolicy()
        verdicts = [policy.died(float(now), code) for now in range(3)]
        assert verdicts == [0.5, 1.0, None]

    def test_ten_thousand_deaths_do_not_overflow(self) -> None:
        policy = RestartPolicy()
        policy.ready(0.0)
        assert {policy.died(1.0, 1) for _ in range(10_000)} >= {supervision.LONGEST_DELAY_S}


async def test_stages_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    states: list[tuple[str, str]] = []
    stages = [[http("one", journal)], [http("two", journal)], [http("three", journal)]]
    async with Supervisor(stages, on_state=lambda *s: states.append(s[:2]), logs=tmp_path) as up:
        pids = up.pids()
        assert list(pids) == ["one", "two", "three"]
        assert journal.read_text().split("\n")[:-1] == ["start one", "start two", "start three"]
    assert journal.read_text().split("\n")[3:-1] == ["stop three", "stop two", "stop one"]
    assert all(gone(pid) for pid in pids.values())
    assert states[:3] == [("one", "starting"), ("one", "ready"), ("two", "starting")]
    assert states[-2:] == [("one", "stopping"), ("one", "stopped")]


async def test_the_services_of_a_stage_stop_together(tmp_path: Path) -> None:
    states: list[tuple[str, str]] = []
    stages = [[python(name, TALKER) for name in ("one", "two")]]
    async with Supervisor(stages, on_state=lambda *s: states.append(s[:2]), logs=tmp_path):
        states.clear()
    assert {state for _, state in states[:2]} == {"stopping"}
    assert {state for _, state in states[2:]} == {"stopped"}


async def test_what_computes_runs_behind_what_carries_calls(tmp_path: Path) -> None:
    stages = [[python("front", TALKER), python("behind", TALKER, niceness=7)]]
    async with Supervisor(stages, logs=tmp_path) as up:
        behind, front, own = (
            os.getpriority(os.PRIO_PROCESS, pid)
            for pid in (up.pids()["behind"], up.pids()["front"], os.getpid())
        )
        sessions = {os.getsid(pid) for pid in up.pids().values()}
    assert (front, behind) == (own, own + 7)
    assert sessions == {os.getsid(0)}, "else Linux looks at the session first"


async def test_a_dead_service_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "FIRST_DELAY_S", 0.01)
    journal = tmp_path / "journal"
    states: list[tuple[str, str, str]] = []
    stages = [[http("one", journal), http("two", journal)]]
    async with Supervisor(stages, on_state=lambda *s: states.append(s), logs=tmp_path) as up:
        before = up.pids()
        os.kill(before["one"], signal.SIGKILL)
        await until(lambda: states.count(("one", "ready", "")) == 2)
        after = up.pids()
    assert after["one"] != before["one"]
    assert after["two"] == before["two"]
    (died,) = [state for state in states if state[1] == "died"]
    assert died[0] == "one"
    assert died[2].startswith("killed by SIGKILL; again in 0.01 s; log: ")


async def test_a_stated_reason_is_the_one_line_and_the_rest_is_stopped(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    code = "import sys; sys.stderr.write('noise\\nno model X; pull it\\n'); sys.exit(2)"
    stages = [[http("fine", journal)], [python("broken", code)], [http("later", journal)]]
    with pytest.raises(StartError) as failure:
        async with Supervisor(stages, logs=tmp_path):
            pytest.fail("it must not be ready")
    message = str(failure.value)
    assert message.startswith("broken cannot start: no model X; pull it (exit code 2; log: ")
    assert "\n" not in message
    assert journal.read_text() == "start fine\nstop fine\n"


async def test_a_crash_at_start_is_tried_again_before_giving_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "FIRST_DELAY_S", 0.01)
    states: list[str] = []
    stages = [[python("broken", "raise OSError('disk is on fire')")]]
    with pytest.raises(StartError, match="OSError: disk is on fire"):
        async with Supervisor(stages, on_state=lambda *s: states.append(s[1]), logs=tmp_path):
            pytest.fail("it must not be ready")
    assert states.count("starting") == supervision.FIRST_START_ATTEMPTS


async def test_what_never_answers_is_given_up_and_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "FIRST_START_ATTEMPTS", 1)
    mute = python("mute", "import time; time.sleep(600)", start_s=0.3)
    with pytest.raises(StartError, match=r"it said nothing \(not ready after 0.3 s"):
        async with Supervisor([[mute]], logs=tmp_path):
            pytest.fail("it must not be ready")


async def test_a_missing_program_is_named(tmp_path: Path) -> None:
    missing = Service("rasa", [str(tmp_path / "no" / "rasa")], os.environ, health="http://x/")
    with pytest.raises(StartError, match=r"no/rasa: No such file.*hotline doctor"):
        async with Supervisor([[missing]], logs=tmp_path):
            pytest.fail("it must not be ready")


async def test_events_are_passed_on_to_the_last_goodbye(tmp_path: Path) -> None:
    events: list[object] = []
    talker = python("answer", TALKER)
    async with Supervisor(
        [[talker]], on_event=lambda e: events.append(e["event"]), logs=tmp_path
    ) as up:
        assert up.announced["answer"]["sip"] == "sip:12333@127.0.0.1:5060"
        await until(lambda: len(events) == 2)
    assert events == ["ready", "call", "goodbye"]
    assert "a library chatters" in (tmp_path / "answer.log").read_text()


async def test_one_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    code = (
        "import json, signal, subprocess\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "helper = subprocess.Popen(['sleep', '600'])\n"
        "print(json.dumps({'event': 'ready', 'helper': helper.pid}), flush=True)\n"
        "helper.wait()\n"
    )
    async with Supervisor([[python("stubborn", code, stop_s=0.2)]], logs=tmp_path) as up:
        pids = [up.pids()["stubborn"], up.announced["stubborn"]["helper"]]
    await until(lambda: all(gone(pid) for pid in pids))


async def test_being_cancelled_while_starting_leaves_nothing(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    mute = python("mute", "import time; time.sleep(600)")
    supervisor = Supervisor([[http("one", journal)], [mute]], logs=tmp_path)
    start = asyncio.create_task(supervisor.__aenter__())
    await until(lambda: len(supervisor.pids()) == 2)
    pids = supervisor.pids()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert all(gone(pid) for pid in pids.values())


async def test_no_orphan_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, json, os, sys\n"
        "from pathlib import Path\n"
        "from assistant.supervisor import Service, Supervisor\n"
        "argv = [sys.executable, '-c', sys.argv[1]]\n"
        "async def main():\n"
        "    stages = [[Service(name, argv, os.environ) for name in 'ab']]\n"
        "    async with Supervisor(stages, logs=Path(sys.argv[2])) as up:\n"
        "        print(json.dumps(up.pids()), flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, TALKER, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout is not None
    pids = list(json.loads(await supervisor.stdout.readline()).values())
    assert not any(gone(pid) for pid in pids)
    supervisor.kill()
    await supervisor.wait()
    await until(lambda: all(gone(pid) for pid in pids))


class TestPorts:
    async def test_a_taken_port_is_named_before_anything_starts(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            number = taken.getsockname()[1]
            port = Port("127.0.0.1", number, "dialogue.rasa_port")
            service = python("rasa", TALKER, ports=[port])
            with pytest.raises(StartError) as failure:
                async with Supervisor([[service]], logs=tmp_path):
                    pytest.fail("it must not be ready")
        assert str(failure.value) == (
            f"port {number} (dialogue.rasa_port) is in use; is another hotline running? "
            "stop it or set dialogue.rasa_port"
        )
        assert not (tmp_path / "rasa.log").exists()

    def test_udp_is_looked_at_too(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            number = taken.getsockname()[1]
            assert "in use" in ports.trouble(Port("127.0.0.1", number, "sip.port", udp=True))
            assert not ports.trouble(Port("127.0.0.1", number, "backend.port"))

    def test_an_address_that_is_not_ours(self) -> None:
        fault = ports.trouble(Port("192.0.2.1", 5060, "sip.port", udp=True))
        assert fault.startswith("cannot listen on 192.0.2.1 (sip.bind), port 5060 (sip.port): ")

    def test_zero_is_always_free(self) -> None:
        assert not ports.trouble(Port("127.0.0.1", 0, "sip.port", udp=True))

    def test_free_ports_are_overrides_without_repetition(self) -> None:
        chosen = settings.load(overrides=ports.free_ports())
        numbers = {
            chosen.backend.port,
            chosen.dialogue.rasa_port,
            chosen.dialogue.actions_port,
        }
        assert len(numbers) == 3
        assert chosen.sip.port == 0
