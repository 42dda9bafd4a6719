"""What of a turn's cost is OpenTelemetry's own: the same spans and measurements by the plain SDK, of what was noted.

No state machine, no store, no journal: each span is started with all of its attributes and ended, each measurement is
recorded, and the SDK's batch processor and OTLP exporter send the spans.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.telemetry.line import Line, dial, turn
from benchmarks.telemetry.measure import Added
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import set_span_in_context

from voicespan.instrumentor import GeminiLiveInstrumentor


@dataclass(frozen=True)
class Noted:
    """What one turn makes: the spans that end in it, parent first, and the measurements."""

    spans: list[ReadableSpan]
    measurements: list[tuple[str, float, Any]]


async def note_turn(line: Line) -> Noted:
    """Play a turn, and note what the instrumentation makes of it. Nothing may be instrumented yet."""
    exporter = InMemorySpanExporter()
    tracing = TracerProvider(shutdown_on_exit=False)
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    measuring = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    instrumentor = GeminiLiveInstrumentor()
    instrumentor.instrument(tracer_provider=tracing, meter_provider=measuring)
    try:
        async with dial() as session:
            await turn(session, line)
            exporter.clear()
            with _recorded() as measurements:
                await turn(session, line)
            return Noted(list(reversed(exporter.get_finished_spans())), measurements)
    finally:
        instrumentor.uninstrument()


@contextmanager
def _recorded() -> Iterator[list[tuple[str, float, Any]]]:
    found: list[tuple[str, float, Any]] = []
    record = Histogram.record

    def note(self: Histogram, amount: float, attributes: Any = None, context: Context | None = None) -> None:
        found.append((self.name, amount, attributes))
        record(self, amount, attributes, context)

    Histogram.record = note  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Histogram.record = record  # type: ignore[method-assign]


async def by_the_sdk(noted: Noted, endpoint: str, blocks: int, count: int, apart_s: float) -> Added:
    """A turn's spans and measurements, in all threads, to the last span's export."""
    exporter = OTLPSpanExporter(f"{endpoint}/v1/traces", compression=Compression.Gzip)
    tracing = TracerProvider(shutdown_on_exit=False)
    processor = BatchSpanProcessor(exporter, schedule_delay_millis=60_000)
    tracing.add_span_processor(processor)
    measuring = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    tracer, meter = tracing.get_tracer("bench"), measuring.get_meter("bench")
    histograms = {name: meter.create_histogram(name) for name, _, _ in noted.measurements}

    def one() -> None:
        context, opened = Context(), []
        for span in noted.spans:
            started = tracer.start_span(span.name, context, span.kind, span.attributes, start_time=span.start_time)
            context = set_span_in_context(started, context)
            opened.append(started)
        for name, amount, attributes in noted.measurements:
            histograms[name].record(amount, attributes, context)
        for started in reversed(opened):
            started.end()

    on, off = [], []
    for _ in range(blocks):
        for taken, work in ((off, False), (on, True)):
            began = time.process_time()
            for _ in range(count):
                if work:
                    one()
                await asyncio.sleep(apart_s)
            await asyncio.to_thread(processor.force_flush)
            taken.append(time.process_time() - began)
    tracing.shutdown()
    measuring.shutdown()
    return Added(on, off, count)
