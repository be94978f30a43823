"""Calls as OpenTelemetry traces: a span a call, under it a span a turn with its timeline.

Spans are exported by a thread of their own; a collector that is slow or dead costs spans, never
a caller's time. No words are in them: neither the caller's nor ours.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import Span, Status, StatusCode

from assistant.records import CallRow, TurnRow
from assistant.settings import Tracing

log = logging.getLogger(__name__)

# It repeats with every batch what _Exporter says once.
logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)

CLOSING_S = 3.0
"""The last spans have so long to reach the collector; a stop must not wait for a dead one."""

EXPORT_S = 5.0
"""A collector that has not answered by then is given up for this batch."""


@asynccontextmanager
async def open_tracing(chosen: Tracing) -> "AsyncIterator[list[CallSpans]]":
    """An observer that exports spans while the block runs; none where no collector is named."""
    if not chosen.endpoint:
        yield []
        return
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: "hotline"}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(_Exporter(chosen.endpoint)))
    try:
        yield [CallSpans(provider)]
    finally:
        closing = threading.Thread(target=provider.shutdown, name="closing traces", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSING_S)
        if closing.is_alive():
            log.warning("the last traces did not reach %s in time", chosen.endpoint)


class _Exporter(OTLPSpanExporter):
    """Says once that the collector cannot be reached, not with every batch."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint, timeout=EXPORT_S)
        self._reached = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch, in the thread of the processor."""
        result = super().export(spans)
        reached = result is SpanExportResult.SUCCESS
        if reached != self._reached:
            if reached:
                log.info("traces reach %s again", self._endpoint)
            else:
                log.warning(
                    "traces do not reach %s and are dropped, calls go on; start the collector, "
                    "or correct or empty tracing.endpoint",
                    self._endpoint,
                )
        self._reached = reached
        return result


class CallSpans:
    """A CallObserver that makes spans of what it is told."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("assistant")
        self._calls: dict[str, tuple[Span, int]] = {}
        """By call id: the open span, and when it was answered, in ns of Unix time."""

    def started(self, call: CallRow) -> None:
        """See CallObserver."""
        answered = round((call.answered_at or call.started_at).timestamp() * 1e9)
        span = self._tracer.start_span(
            "call",
            attributes={"hotline.call.id": call.call_id, "hotline.call.channel": call.channel},
            start_time=answered,
        )
        self._calls[call.call_id] = span, answered

    def turn(self, turn: TurnRow) -> None:
        """See CallObserver."""
        parent, answered = self._calls[turn.call_id]

        def moment(ms: int) -> int:
            return answered + ms * 1_000_000

        first = min([turn.start_ms, *(mark["at_ms"] for mark in turn.timeline)])
        span = self._tracer.start_span(
            f"turn {turn.kind}",
            context=trace.set_span_in_context(parent),
            attributes={
                "hotline.turn.index": turn.index,
                "hotline.turn.kind": turn.kind,
                "hotline.turn.intent": turn.intent or "",
                "hotline.turn.confidence": turn.confidence,
                **{f"hotline.latency.{name}": ms for name, ms in turn.latencies.items()},
            },
            start_time=moment(first),
        )
        for mark in turn.timeline:
            span.add_event(mark["mark"], timestamp=moment(mark["at_ms"]))
        span.end(moment(turn.end_ms))

    def ended(self, call: CallRow) -> None:
        """See CallObserver."""
        span, answered = self._calls.pop(call.call_id)
        span.set_attribute("hotline.call.outcome", call.outcome or "")
        if call.outcome == "failed":
            span.set_status(Status(StatusCode.ERROR))
        span.end(round(call.ended_at.timestamp() * 1e9) if call.ended_at else answered)
