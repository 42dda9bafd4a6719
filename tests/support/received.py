"""What a backend received, decoded from OTLP, and an inbox that a test can wait on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint, HistogramDataPoint, Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

Value: TypeAlias = "str | bool | int | float | bytes | list[Value] | dict[str, Value] | None"
T = TypeVar("T")


@dataclass(frozen=True)
class ReceivedEvent:
    name: str
    time_ns: int
    attributes: dict[str, Value]


@dataclass(frozen=True)
class ReceivedLink:
    trace_id: str
    span_id: str
    attributes: dict[str, Value]


@dataclass(frozen=True)
class ReceivedSpan:
    """One span; ids are lower-case hex, a root's parent is "", times are Unix nanoseconds."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Value]
    events: tuple[ReceivedEvent, ...]
    links: tuple[ReceivedLink, ...]
    status: str
    status_message: str
    scope: str
    resource: dict[str, Value]
    received_ns: int
    raw: bytes = field(repr=False)
    """The span's own bytes, for tests that a repeated span is the same span."""


@dataclass(frozen=True)
class ReceivedPoint:
    """A number, or the sum and count of a histogram."""

    attributes: dict[str, Value]
    value: float
    count: int
    exemplar_trace_ids: tuple[str, ...]


@dataclass(frozen=True)
class ReceivedMetric:
    name: str
    unit: str
    kind: str
    points: tuple[ReceivedPoint, ...]
    scope: str
    resource: dict[str, Value]
    received_ns: int


@dataclass(frozen=True)
class ReceivedLog:
    event_name: str
    body: Value
    attributes: dict[str, Value]
    severity: str
    trace_id: str
    span_id: str
    time_ns: int
    scope: str
    resource: dict[str, Value]
    received_ns: int


class Inbox(Generic[T]):
    """What arrived, in order. Tests wait for a predicate over all of it, not for a time to pass."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._changed = threading.Condition()

    def add(self, items: Iterable[T]) -> None:
        with self._changed:
            self._items.extend(items)
            self._changed.notify_all()

    def all(self) -> list[T]:
        with self._changed:
            return list(self._items)

    def clear(self) -> None:
        with self._changed:
            self._items.clear()

    def wait_for(self, predicate: Callable[[list[T]], bool], timeout_s: float = 15.0) -> list[T]:
        """All that arrived, once the predicate holds for it.

        Raises AssertionError with what did arrive after timeout_s.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: predicate(list(self._items)), timeout_s):
                shown = "\n".join(f"  {item!r}" for item in self._items) or "  nothing"
                raise AssertionError(f"not satisfied within {timeout_s} s; received:\n{shown}")
            return list(self._items)

    def wait_count(self, count: int, timeout_s: float = 15.0) -> list[T]:
        return self.wait_for(lambda items: len(items) >= count, timeout_s)


def render_tree(spans: Sequence[ReceivedSpan]) -> str:
    """The spans as indented lines in order of start, a missing parent named."""
    ids = {span.span_id for span in spans}
    lines: list[str] = []

    def walk(parent_id: str, depth: int) -> None:
        for span in sorted(spans, key=lambda s: (s.start_ns, s.span_id)):
            if span.parent_span_id == parent_id:
                lines.append("  " * depth + span.name)
                walk(span.span_id, depth + 1)

    walk("", 0)
    for missing in sorted({span.parent_span_id for span in spans} - ids - {""}):
        lines.append(f"(parent {missing} missing)")
        walk(missing, 1)
    return "\n".join(lines)


def decode_traces(request: ExportTraceServiceRequest, received_ns: int) -> list[ReceivedSpan]:
    return [
        _span(span, scope_spans.scope.name, attributes_of(resource_spans.resource.attributes), received_ns)
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


def decode_metrics(request: ExportMetricsServiceRequest, received_ns: int) -> list[ReceivedMetric]:
    return [
        ReceivedMetric(
            name=metric.name,
            unit=metric.unit,
            kind=metric.WhichOneof("data") or "",
            points=_points(metric),
            scope=scope_metrics.scope.name,
            resource=attributes_of(resource_metrics.resource.attributes),
            received_ns=received_ns,
        )
        for resource_metrics in request.resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
    ]


def decode_logs(request: ExportLogsServiceRequest, received_ns: int) -> list[ReceivedLog]:
    return [
        ReceivedLog(
            event_name=record.event_name,
            body=value_of(record.body),
            attributes=attributes_of(record.attributes),
            severity=record.severity_text,
            trace_id=record.trace_id.hex(),
            span_id=record.span_id.hex(),
            time_ns=record.time_unix_nano,
            scope=scope_logs.scope.name,
            resource=attributes_of(resource_logs.resource.attributes),
            received_ns=received_ns,
        )
        for resource_logs in request.resource_logs
        for scope_logs in resource_logs.scope_logs
        for record in scope_logs.log_records
    ]


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    return {pair.key: value_of(pair.value) for pair in pairs}


def value_of(value: AnyValue) -> Value:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "bytes_value":
            return value.bytes_value
        case "array_value":
            return [value_of(item) for item in value.array_value.values]
        case "kvlist_value":
            return attributes_of(value.kvlist_value.values)
        case _:
            return None


def _span(span: Span, scope: str, resource: dict[str, Value], received_ns: int) -> ReceivedSpan:
    return ReceivedSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=attributes_of(span.attributes),
        events=tuple(ReceivedEvent(e.name, e.time_unix_nano, attributes_of(e.attributes)) for e in span.events),
        links=tuple(
            ReceivedLink(link.trace_id.hex(), link.span_id.hex(), attributes_of(link.attributes)) for link in span.links
        ),
        status=Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        status_message=span.status.message,
        scope=scope,
        resource=resource,
        received_ns=received_ns,
        raw=span.SerializeToString(deterministic=True),
    )


def _points(metric: Metric) -> tuple[ReceivedPoint, ...]:
    numbers = [*metric.gauge.data_points, *metric.sum.data_points]
    histograms: list[HistogramDataPoint | ExponentialHistogramDataPoint] = [
        *metric.histogram.data_points,
        *metric.exponential_histogram.data_points,
    ]
    return (
        *(
            ReceivedPoint(
                attributes_of(point.attributes),
                point.as_double if point.WhichOneof("value") == "as_double" else float(point.as_int),
                1,
                tuple(exemplar.trace_id.hex() for exemplar in point.exemplars),
            )
            for point in numbers
        ),
        *(
            ReceivedPoint(
                attributes_of(point.attributes),
                point.sum,
                point.count,
                tuple(exemplar.trace_id.hex() for exemplar in point.exemplars),
            )
            for point in histograms
        ),
    )
