"""The spans, metrics and log events of the process, kept in memory. Needs the extra `sdk`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id

from voicespan.sdk.processors import IdentityLogProcessor, IdentityProcessor
from voicespan.testing.tree import difference, render


@dataclass(frozen=True, slots=True)
class RecordedSpan:
    """A span that has ended; ids in hexadecimal."""

    span_id: str
    parent_span_id: str
    name: str
    kind: str
    status: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, object]
    readable: ReadableSpan


class Recorded:
    """Providers to give to whatever is tested, and what came of it."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call] # it has no types
        self._metrics = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(IdentityProcessor())
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meter_provider = MeterProvider([self._metrics], shutdown_on_exit=False)
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(IdentityLogProcessor())
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self._logs))

    @property
    def spans(self) -> list[RecordedSpan]:
        """Those that have ended, in order of their start."""
        found = [_recorded(span) for span in self._spans.get_finished_spans()]
        return sorted(found, key=lambda span: (span.start_ns, span.span_id))

    def span(self, name: str) -> RecordedSpan:
        """The one span of that name.

        Raises:
            AssertionError: none, or several; it shows what there is.
        """
        __tracebackhide__ = True
        found = [span for span in self.spans if span.name == name]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} spans are named {name!r}; there are:\n{self.tree()}")
        return found[0]

    @property
    def events(self) -> list[str]:
        """The names of the log events so far."""
        return [str(log.log_record.event_name) for log in self._logs.get_finished_logs()]

    @property
    def metrics(self) -> dict[str, float]:
        """Each metric's sum over all its points: a count's value, a histogram's sum."""
        found: dict[str, float] = {}
        data = self._metrics.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = metric.data.data_points
                    found[metric.name] = sum(getattr(p, "value", getattr(p, "sum", 0)) or 0 for p in points)
        return found

    def tree(self, *attributes: str) -> str:
        """All spans as text, with these of their attributes: what `assert_tree` compares."""
        return render(self.spans, attributes)

    def assert_tree(self, expected: str) -> None:
        """The spans that have ended are these: see `voicespan.testing.tree`.

        Raises:
            AssertionError: with both trees in one.
        """
        __tracebackhide__ = True  # pytest shows the difference and the test's own line
        if wrong := difference(expected, self.spans):
            raise AssertionError(f"the spans differ (- missing, + there, ! differs):\n{wrong}")

    def clear(self) -> None:
        """Forget the spans and log events so far; what the metrics have counted goes on."""
        self._spans.clear()
        self._logs.clear()


def _recorded(span: ReadableSpan) -> RecordedSpan:
    context, parent = span.get_span_context(), span.parent
    return RecordedSpan(
        format_span_id(context.span_id) if context else "",
        format_span_id(parent.span_id) if parent else "",
        span.name,
        span.kind.name,
        span.status.status_code.name,
        span.start_time or 0,
        span.end_time or 0,
        dict(span.attributes or {}),
        span,
    )


def spans_of(spans: Sequence[ReadableSpan]) -> list[RecordedSpan]:
    """Spans of a program's own in-memory exporter, to compare as trees."""
    return [_recorded(span) for span in spans]
