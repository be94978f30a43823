"""Guards the traces: a real collector gets a span a call and a span a turn; a dead one hurts none.

The call is held in virtual time; its rows are then told to the exporter in real time.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from assistant import tracing
from assistant.dialogue.dialogue import CallStarted
from assistant.observers import CallObserver
from assistant.records import CallRow, TurnRow
from assistant.settings import Tracing
from assistant.tracing import open_tracing
from tests.test_call import GOODBYE, LONG, Script, Wire, hold, speech

SAID = "我的身份证是440103196305129977"


class Rows:
    """Keeps what an observer is told, and tells it again."""

    def __init__(self) -> None:
        self.call: CallRow
        self.turns: list[TurnRow] = []

    def started(self, call: CallRow) -> None:
        self.call = call

    def turn(self, turn: TurnRow) -> None:
        self.turns.append(turn)

    def ended(self, call: CallRow) -> None: ...

    def tell(self, observer: CallObserver) -> None:
        observer.started(self.call)
        for turn in self.turns:
            observer.turn(turn)
        observer.ended(self.call)


@pytest.fixture
def rows() -> Rows:
    """A greeting that the caller cuts off, and one answer."""
    kept = Rows()
    dialogue = Script({CallStarted(): LONG, SAID: GOODBYE})
    hold(Wire({1.0: speech(1.0)}), dialogue, [SAID], records=kept)
    return kept


@asynccontextmanager
async def collector(
    received: list[Span], *, silent: bool = False, statuses: Sequence[int] = ()
) -> AsyncIterator[str]:
    """An OTLP/HTTP endpoint; a `silent` one accepts and never answers."""
    answers = itertools.chain(statuses, itertools.repeat(200))

    async def take(request: web.Request) -> web.Response:
        if silent:
            await asyncio.Event().wait()
        batch = ExportTraceServiceRequest.FromString(await request.read())
        for resource in batch.resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            assert names["service.name"] == "hotline"
            for scope in resource.scope_spans:
                received.extend(scope.spans)
        return web.Response(status=next(answers))

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    finally:
        await runner.cleanup()


def attributes(span: Span) -> dict[str, AnyValue]:
    return {each.key: each.value for each in span.attributes}


async def test_the_collector_gets_a_span_a_call_and_one_a_turn(rows: Rows) -> None:
    spans: list[Span] = []
    async with collector(spans) as endpoint, open_tracing(Tracing(endpoint=endpoint)) as observers:
        rows.tell(observers[0])
    [call] = [span for span in spans if span.name == "call"]
    greeted, spoken = sorted(
        (span for span in spans if span is not call), key=lambda span: span.start_time_unix_nano
    )
    assert (greeted.name, spoken.name) == ("turn start", "turn speech")
    assert {span.trace_id for span in spans} == {call.trace_id}
    assert greeted.parent_span_id == spoken.parent_span_id == call.span_id
    assert attributes(call)["hotline.call.outcome"].string_value == "completed"
    events = {event.name: event.time_unix_nano for event in spoken.events}
    told = [event.name for event in spoken.events]
    assert told == [mark["mark"] for mark in rows.turns[1].timeline]
    answered = round(rows.turns[1].latencies["first_audio_ms"])
    assert attributes(spoken)["hotline.latency.first_audio_ms"].int_value == answered
    speech_ms = (events["first_audio"] - events["speech_start"]) / 1e6
    marks = {mark["mark"]: mark["at_ms"] for mark in rows.turns[1].timeline}
    assert speech_ms == pytest.approx(marks["first_audio"] - marks["speech_start"])
    assert "barge_in" in {event.name for event in greeted.events}


async def test_no_words_leave_the_house(rows: Rows) -> None:
    spans: list[Span] = []
    async with collector(spans) as endpoint, open_tracing(Tracing(endpoint=endpoint)) as observers:
        rows.tell(observers[0])
    written = [value.string_value for span in spans for value in attributes(span).values()] + [
        f"{event.name}{event.attributes}" for span in spans for event in span.events
    ]
    assert "completed" in written
    assert "partial" in "".join(written)
    for secret in [SAID, "9977", rows.call.caller, *(r for t in rows.turns for r in t.replies)]:
        assert secret not in "".join(written)


@pytest.mark.parametrize("silent", [True, False])
async def test_a_dead_collector_holds_up_neither_calls_nor_the_stop(
    rows: Rows, silent: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "CLOSING_S", 0.3)
    async with collector([], silent=True) as hanging, asyncio.timeout(10):
        endpoint = hanging if silent else "http://127.0.0.1:9/v1/traces"
        async with open_tracing(Tracing(endpoint=endpoint)) as observers:
            rows.tell(observers[0])
    assert f"{endpoint} in time" in caplog.text or f"not reach {endpoint}" in caplog.text


async def test_it_is_said_once_that_traces_are_lost_and_once_that_they_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "assistant.tracing")
    refusing: list[Span] = []
    async with collector(refusing, statuses=[400, 400, 200, 200]) as endpoint:
        exporter = tracing._Exporter(endpoint)
        for _ in range(4):
            await asyncio.to_thread(exporter.export, [])
    said = [record.getMessage().split(endpoint)[0] for record in caplog.records]
    assert said == ["traces do not reach ", "traces reach "]


async def test_without_an_endpoint_there_are_no_traces() -> None:
    async with open_tracing(Tracing()) as observers:
        assert observers == []
