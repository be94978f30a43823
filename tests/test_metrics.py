"""Guards the metrics: a call is counted and timed, scraped over HTTP, and tells of no person."""

import asyncio
import socket

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from assistant import ports, services, settings
from assistant.dialogue.dialogue import CallStarted, Silence
from assistant.metrics import MeasuredSynthesizer, Metrics
from assistant.metrics_server import serve_metrics
from assistant.observers import Observers
from assistant.records import CallRow, TurnRow
from assistant.speech.synthesizer import Synthesizer
from assistant.supervision import StartError
from tests.test_call import GOODBYE, GREETING, LONG, Mouth, Script, Wire, hold, speech

Samples = dict[tuple[str, str], float]
"""Value by name and the value of its one label, which may be empty."""


async def scrape(metrics: Metrics) -> Samples:
    """What a Prometheus server gets."""
    chosen = settings.Metrics(port=0)
    async with (
        serve_metrics(chosen, metrics.registry) as url,
        aiohttp.ClientSession() as session,
        session.get(url) as answer,
    ):
        assert answer.status == 200
        text = await answer.text()
    return {
        (sample.name, "/".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def after(call: Script, wire: Wire, ears: list[str], *, broken_voice: bool = False) -> Samples:
    """The metrics after one call."""
    metrics = Metrics()
    mouths: list[Synthesizer] = [MeasuredSynthesizer(Mouth(broken_voice), metrics), Mouth()]
    hold(wire, call, ears, mouths, records=metrics)
    return asyncio.run(scrape(metrics))


def test_a_call_is_counted_and_its_answers_are_timed() -> None:
    dialogue = Script({CallStarted(): GREETING, "再见": GOODBYE}, delay_s=0.3)
    found = after(dialogue, Wire({2.0: speech(1.0)}), ["再见"])
    assert found["hotline_calls_total", "completed"] == 1
    assert found["hotline_calls_in_progress", ""] == 0
    assert found["hotline_turns_total", "start"] == found["hotline_turns_total", "speech"] == 1
    seconds = {
        stage: found["hotline_answer_latency_seconds_sum", stage]
        for stage in ("endpoint", "recognised", "understood", "first_audio")
    }
    assert 0.3 <= seconds["endpoint"] <= 1.0
    assert seconds["understood"] == pytest.approx(seconds["recognised"] + 0.3, abs=0.01)
    assert seconds["first_audio"] >= seconds["understood"]
    assert found["hotline_answer_latency_seconds_count", "first_audio"] == 1, "not the greeting"
    assert found["hotline_synthesis_real_time_factor_count", "tone"] == 2


def test_a_call_that_lasts_is_in_progress() -> None:
    metrics = Metrics()
    dialogue = Script({CallStarted(): GREETING, "再见": GOODBYE})
    seen: list[float | None] = []

    class Watcher:
        def started(self, call: CallRow) -> None: ...
        def turn(self, turn: TurnRow) -> None:
            seen.append(metrics.registry.get_sample_value("hotline_calls_in_progress"))

        def ended(self, call: CallRow) -> None: ...

    wire = Wire({2.0: speech(1.0)})
    hold(wire, dialogue, ["再见"], records=Observers(metrics, Watcher()))
    assert seen == [1, 1]


def test_barge_ins_and_silences_are_counted() -> None:
    answers = {CallStarted(): LONG, "好": GREETING, Silence(1): GOODBYE}
    found = after(Script(dict(answers)), Wire({1.0: speech(1.0)}), ["好"])
    assert found["hotline_barge_ins_total", ""] == 1
    assert found["hotline_no_inputs_total", ""] == found["hotline_turns_total", "silence"] == 1


def test_failures_of_the_engines_are_counted() -> None:
    dialogue = Script({CallStarted(): GREETING, "": GOODBYE})
    found = after(dialogue, Wire({2.0: speech(1.0)}), ["broken"], broken_voice=True)
    assert found["hotline_recognizer_failures_total", "failed"] == 1
    assert found["hotline_recognizer_failures_total", "timeout"] == 0
    assert found["hotline_synthesis_failures_total", "tone"] == 2
    assert found["hotline_calls_total", "completed"] == 1


def test_nobody_is_named() -> None:
    dialogue = Script({CallStarted(): GREETING, "440103196305129977": GOODBYE})
    metrics = Metrics()
    wire = Wire({2.0: speech(1.0)})
    hold(wire, dialogue, ["440103196305129977"], records=metrics)
    labels = {label for _, label in asyncio.run(scrape(metrics))}
    whole = " ".join(labels)
    assert not any(secret in whole for secret in ("c1", wire.caller[-4:], "9977", "再见"))


def test_a_fault_of_one_observer_reaches_neither_the_call_nor_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def started(self, call: CallRow) -> None:
            raise OSError("a bug")

        turn = ended = started  # type: ignore[assignment]

    metrics = Metrics()
    dialogue = Script({CallStarted(): GOODBYE})
    hold(Wire(), dialogue, records=Observers(Broken(), metrics))  # type: ignore[arg-type]
    assert metrics.registry.get_sample_value("hotline_calls_total", {"outcome": "completed"}) == 1
    assert "Broken failed; the call goes on" in caplog.text


async def test_turned_off_nothing_listens() -> None:
    async with serve_metrics(settings.Metrics(enabled=False), Metrics().registry) as url:
        assert url == ""
    keys = {port.key for port in services.ports(settings.load(overrides=["metrics.enabled=false"]))}
    assert "metrics.port" not in keys


async def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(StartError) as failure:
            async with serve_metrics(settings.Metrics(port=number), Metrics().registry):
                pytest.fail("it must not be ready")
        chosen = settings.load(overrides=[*ports.free_ports(), f"metrics.port={number}"])
        with pytest.raises(StartError) as before_anything_starts:
            ports.require_free(services.ports(chosen))
    assert str(failure.value) == str(before_anything_starts.value)
    assert str(failure.value) == (
        f"port {number} (metrics.port) is in use; is another hotline running? "
        "stop it or set metrics.port"
    )
