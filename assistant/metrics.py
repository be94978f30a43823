"""What the hotline counts and measures, for Prometheus: from the rows of the call records.

Labels have few values and none that belongs to a person or a call.
"""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from assistant.channels.channel import Pcm
from assistant.records import CallRow, TurnRow
from assistant.speech.synthesizer import SynthesisError, Synthesizer

LATENCY_BUCKETS_S = (0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)
"""Fine about one second, where callers begin to notice that they wait."""

RTF_BUCKETS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 4.0)
"""Above 1 the caller hears gaps."""

STAGES = {
    "endpoint_ms": "endpoint",
    "recognised_ms": "recognised",
    "understood_ms": "understood",
    "first_audio_ms": "first_audio",
}
"""Keys of a turn's latencies, and the label that each has here."""


class Metrics:
    """All metrics of one call server; a CallObserver."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._in_progress = Gauge(
            "hotline_calls_in_progress", "Calls that last now.", registry=registry
        )
        self._calls = Counter(
            "hotline_calls", "Calls that have ended.", ["outcome"], registry=registry
        )
        self._refused = Counter(
            "hotline_calls_refused", "Callers who got a busy tone.", registry=registry
        )
        self._turns = Counter("hotline_turns", "Turns of calls.", ["kind"], registry=registry)
        self._latency = Histogram(
            "hotline_answer_latency_seconds",
            "Since the caller's last sound; first_audio is when the answer is heard.",
            ["stage"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._barge_ins = Counter(
            "hotline_barge_ins", "Times a caller cut the hotline off.", registry=registry
        )
        self._no_inputs = Counter(
            "hotline_no_inputs", "Times a caller was asked and said nothing.", registry=registry
        )
        self._recognizer = Counter(
            "hotline_recognizer_failures",
            "Utterances that the recogniser did not decode.",
            ["reason"],
            registry=registry,
        )
        self._synthesis = Counter(
            "hotline_synthesis_failures",
            "Sentences that a synthesiser could not speak.",
            ["engine"],
            registry=registry,
        )
        self._rtf = Histogram(
            "hotline_synthesis_real_time_factor",
            "Seconds of synthesis for a second of speech; near 0 from the prompt cache.",
            ["engine"],
            buckets=RTF_BUCKETS,
            registry=registry,
        )
        for reason in ("failed", "timeout"):  # a rate needs the zero before the first
            self._recognizer.labels(reason)

    def refused(self) -> None:
        """A caller got a busy tone."""
        self._refused.inc()

    def started(self, call: CallRow) -> None:
        """See CallObserver."""
        self._in_progress.inc()

    def turn(self, turn: TurnRow) -> None:
        """See CallObserver."""
        self._turns.labels(turn.kind).inc()
        if turn.kind == "silence":
            self._no_inputs.inc()
        if turn.kind == "speech":
            for key, stage in STAGES.items():
                if key in turn.latencies:
                    self._latency.labels(stage).observe(turn.latencies[key] / 1000)
        for mark in turn.timeline:
            match mark["mark"]:
                case "barge_in":
                    self._barge_ins.inc()
                case "recognizer_failed":
                    self._recognizer.labels("failed").inc()
                case "recognizer_timeout":
                    self._recognizer.labels("timeout").inc()

    def ended(self, call: CallRow) -> None:
        """See CallObserver."""
        self._in_progress.dec()
        self._calls.labels(call.outcome or "").inc()

    def synthesised(self, engine: str, seconds: float, speech_s: float) -> None:
        """A sentence of `speech_s` seconds took `seconds` to synthesise."""
        self._rtf.labels(engine).observe(seconds / speech_s)

    def synthesis_failed(self, engine: str) -> None:
        """A synthesiser could not speak a sentence."""
        self._synthesis.labels(engine).inc()


class MeasuredSynthesizer:
    """A synthesiser whose pace and failures are counted."""

    def __init__(self, inner: Synthesizer, metrics: Metrics) -> None:
        self.name = inner.name
        self.voice = inner.voice
        self.rate = inner.rate
        self._inner = inner
        self._metrics = metrics

    async def speak(self, text: str, speed: float = 1.0) -> AsyncIterator[Pcm]:
        """See Synthesizer. Only the time in which the engine works counts."""
        took, samples, began = 0.0, 0, time.monotonic()
        try:
            async with aclosing(self._inner.speak(text, speed)) as chunks:  # type: ignore[type-var]
                async for pcm in chunks:
                    took += time.monotonic() - began
                    samples += len(pcm)
                    yield pcm
                    began = time.monotonic()
        except SynthesisError:
            self._metrics.synthesis_failed(self.name)
            raise
        if samples:
            self._metrics.synthesised(self.name, took, samples / self.rate)
