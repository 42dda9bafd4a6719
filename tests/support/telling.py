"""Stories (support.story) told to a whole VoiceSession, and the spans that come of it."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator

from support.received import (
    ReceivedLog,
    ReceivedMetric,
    ReceivedSpan,
    decode_logs,
    decode_metrics,
    decode_traces,
    render_tree,
)
from support.story import events
from voicespan import Capture, Identity, Metrics, Model, TraceShape, VoiceSession
from voicespan.cost import Prices
from voicespan.sdk.processors import IdentityProcessor

IDENTITY = Identity("session-1", user_id="user-1", conversation_id="session-1", backend="simulator", tags=("voice",))
PRICES = Prices({"input_text": 1, "input_audio": 3, "output_audio": 12}, "test", "1")
MODEL = Model("gemini-3.8-live", server_address="127.0.0.1", server_port=443, prices=PRICES)


class ClockedSession(VoiceSession):
    """A session whose time is passed by hand."""

    passed_ns = 0

    def now_ns(self) -> int:
        return self.began_ns + self.passed_ns if self.passed_ns else super().now_ns()

    def pass_s(self, seconds: float) -> None:
        self.passed_ns += round(seconds * 1e9)


class Recorder:
    """An SDK whose spans stay in memory."""

    def __init__(self, identity: Identity = IDENTITY, ids: IdGenerator | None = None) -> None:
        self.identity = identity
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, id_generator=ids)
        self.provider.add_span_processor(IdentityProcessor())
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("voicespan")
        self._reader = InMemoryMetricReader()
        self._log_exporter = InMemoryLogRecordExporter()
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self._log_exporter))
        self.logger = self.logger_provider.get_logger("voicespan")
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.metrics = Metrics(self.meter_provider.get_meter("voicespan"))

    def finished_spans(self) -> Sequence[ReadableSpan]:
        """What has ended, as the SDK has it."""
        return self._exporter.get_finished_spans()

    def finished_logs(self) -> Sequence[ReadableLogRecord]:
        """Log events so far, as the SDK has them."""
        return self._log_exporter.get_finished_logs()

    def spans(self) -> list[ReceivedSpan]:
        """What has ended, as a receiver would read it."""
        return decode_traces(encode_spans(self.finished_spans()), 0)

    def logs(self) -> list[ReceivedLog]:
        """Log events so far, as a receiver would read them."""
        return decode_logs(encode_logs(self.finished_logs()), 0)

    def measured(self) -> list[ReceivedMetric]:
        """All metrics so far, as a receiver would read them."""
        data = self._reader.get_metrics_data()
        return decode_metrics(encode_metrics(data), 0) if data else []


def tell(
    story: str,
    *,
    capture: bool | Capture = True,
    model: Model = MODEL,
    recorder: Recorder | None = None,
    shape: TraceShape | None = None,
) -> list[ReceivedSpan]:
    """The spans of a story."""
    recorder = recorder or Recorder()
    session = VoiceSession(
        recorder.identity,
        model,
        tracer=recorder.tracer,
        capture=capture if isinstance(capture, Capture) else Capture(on_spans=capture),
        instructions="Be brief.",
        metrics=recorder.metrics,
        logger=recorder.logger,
        shape=shape,
    )
    began = session.now_ns()
    if "MIC" in story:
        session.audio_sent(bytes(32_000))
    for event, at in events(story):
        session.feed(event, began + at)
    return recorder.spans()


def named(spans: list[ReceivedSpan], name: str) -> ReceivedSpan:
    """The one span of a name."""
    found = [span for span in spans if span.name == name]
    assert len(found) == 1, render_tree(spans)
    return found[0]
