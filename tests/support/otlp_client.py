"""Hand-made OTLP, to send to a receiver what no SDK would."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

Plain = str | bool | int | float | list[str]


def any_value(value: Plain) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case str():
            return AnyValue(string_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))


def key_values(attributes: Mapping[str, Plain]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def make_span(
    name: str,
    span_id: int,
    parent_id: int = 0,
    *,
    trace_id: int,
    kind: Span.SpanKind.ValueType = Span.SPAN_KIND_INTERNAL,
    start_ns: int = 1_790_000_000_000_000_000,
    end_ns: int = 1_790_000_001_000_000_000,
    attributes: Mapping[str, Plain] | None = None,
    events: Mapping[str, Mapping[str, Plain]] | None = None,
    error: str | None = None,
) -> Span:
    """A span with the ids given as numbers; parent 0 is a root; events by name; `error` sets the status."""
    return Span(
        trace_id=trace_id.to_bytes(16, "big"),
        span_id=span_id.to_bytes(8, "big"),
        parent_span_id=parent_id.to_bytes(8, "big") if parent_id else b"",
        name=name,
        kind=kind,
        start_time_unix_nano=start_ns,
        end_time_unix_nano=end_ns,
        attributes=key_values(attributes or {}),
        events=[
            Span.Event(name=event, time_unix_nano=start_ns, attributes=key_values(pairs))
            for event, pairs in (events or {}).items()
        ],
        status=Status() if error is None else Status(code=Status.STATUS_CODE_ERROR, message=error),
    )


def traces_request(
    spans: Sequence[Span], resource: Mapping[str, Plain] | None = None, scope: str = "voicespan"
) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.extend(key_values(resource or {"service.name": "voicespan-test"}))
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = scope
    scope_spans.spans.extend(spans)
    return request


def metrics_request(name: str, value: int, resource: Mapping[str, Plain]) -> ExportMetricsServiceRequest:
    """One monotonic cumulative counter with one point."""
    request = ExportMetricsServiceRequest()
    resource_metrics = request.resource_metrics.add()
    resource_metrics.resource.attributes.extend(key_values(resource))
    metric = resource_metrics.scope_metrics.add().metrics.add()
    metric.name = name
    metric.unit = "{token}"
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    point = metric.sum.data_points.add()
    point.as_int = value
    point.start_time_unix_nano = 1_790_000_000_000_000_000
    point.time_unix_nano = 1_790_000_001_000_000_000
    return request


def logs_request(
    event_name: str, body: str, attributes: Mapping[str, Plain], trace_id: int, span_id: int
) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.event_name = event_name
    record.body.CopyFrom(any_value(body))
    record.attributes.extend(key_values(attributes))
    record.trace_id = trace_id.to_bytes(16, "big")
    record.span_id = span_id.to_bytes(8, "big")
    return request


def post(url: str, message: Message, headers: Mapping[str, str] | None = None) -> int:
    """POSTs OTLP/HTTP in protobuf and returns the status, also where it is an error."""
    return post_bytes(url, message.SerializeToString(), {"Content-Type": "application/x-protobuf", **(headers or {})})


def post_bytes(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    request = urllib.request.Request(url, body, dict(headers), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
