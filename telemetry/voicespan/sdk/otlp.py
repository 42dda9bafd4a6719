"""OTLP by the byte: encode spans and log records once, store the pieces, and make requests of stored bytes.

A ResourceSpans without its spans, and a ScopeSpans without its spans, are prefixes: protobuf lets the fields of a
message come in any order, so a request is prefixes and spans with length headers between them. Logs are shaped alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import cast

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.util.types import AttributeValue

from voicespan import conventions as c
from voicespan.sdk.records import Record
from voicespan.sdk.signals import Signal
from voicespan.sdk.span_bytes import field, span_bytes

# Field numbers of opentelemetry-proto 1.x: ExportTraceServiceRequest.resource_spans = 1, ResourceSpans.scope_spans = 2,
# ScopeSpans.spans = 2; wire type 2 (length-delimited). ExportLogsServiceRequest has the same ones.
_RESOURCE = b"\x0a"
_SCOPE = b"\x12"
_RECORD = b"\x12"


def encode(spans: Iterable[ReadableSpan]) -> list[Record]:
    """Encode spans; the result is in the order in which they ended."""
    # What the SDK has here copies its dict at once; going through it takes a lock and a call for each key.
    records = [encode_as(span, cast("MappingProxyType[str, AttributeValue]", span.attributes).copy()) for span in spans]
    return sorted(records, key=lambda record: record.end_ns)


def encode_as(span: ReadableSpan, attributes: Mapping[str, AttributeValue]) -> Record:
    """Encode a span with these attributes instead of its own."""
    resource, scope = _prefixes(span)
    session_id = attributes.get(c.SESSION_ID)
    assert span.context is not None
    return Record(
        signal=Signal.TRACES,
        resource=resource,
        scope=scope,
        body=span_bytes(span, attributes),
        trace_id=span.context.trace_id.to_bytes(16).hex(),
        span_id=span.context.span_id.to_bytes(8).hex(),
        parent_id=span.parent.span_id.to_bytes(8).hex() if span.parent else "",
        session_id=None if session_id is None else str(session_id),
        name=span.name,
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
    )


# By the identity of resource and scope, which are kept with their prefixes so that it stays theirs: a program has few.
_PREFIXES: dict[tuple[int, int], tuple[object, object, bytes, bytes]] = {}
MAX_PREFIXES = 256


def _prefixes(span: ReadableSpan) -> tuple[bytes, bytes]:
    """The ResourceSpans and the ScopeSpans of a span, without spans."""
    key = (id(span.resource), id(span.instrumentation_scope))
    known = _PREFIXES.get(key)
    if known is None:
        [resource_spans] = encode_spans([span]).resource_spans
        [scope_spans] = resource_spans.scope_spans
        scope_spans.ClearField("spans")
        scope = scope_spans.SerializeToString()
        resource_spans.ClearField("scope_spans")
        if len(_PREFIXES) >= MAX_PREFIXES:
            _PREFIXES.clear()
        known = (span.resource, span.instrumentation_scope, resource_spans.SerializeToString(), scope)
        _PREFIXES[key] = known
    return known[2:]


def encode_log_records(logs: Sequence[ReadableLogRecord]) -> list[Record]:
    """Encode log records; the result is in the order of their times."""
    records = []
    for resource_logs in encode_logs(logs).resource_logs:
        scopes = list(resource_logs.scope_logs)
        resource_logs.ClearField("scope_logs")
        resource = resource_logs.SerializeToString()
        for scope_logs in scopes:
            found = list(scope_logs.log_records)
            scope_logs.ClearField("log_records")
            scope = scope_logs.SerializeToString()
            for log in found:
                at_ns = log.time_unix_nano or log.observed_time_unix_nano
                records.append(
                    Record(
                        signal=Signal.LOGS,
                        resource=resource,
                        scope=scope,
                        body=log.SerializeToString(),
                        trace_id=log.trace_id.hex(),
                        span_id=log.span_id.hex(),
                        parent_id="",
                        session_id=_session_id(log.attributes),
                        name=log.event_name,
                        start_ns=at_ns,
                        end_ns=at_ns,
                    )
                )
    return sorted(records, key=lambda record: record.end_ns)


def request(parts: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
    """An export request of (resource prefix, scope prefix, record) triples; neighbours share their prefix."""
    out = bytearray()
    for (resource, scope), group in groupby(parts, key=lambda part: part[:2]):
        records = b"".join(field(_RECORD, body) for _, _, body in group)
        out += field(_RESOURCE, resource + field(_SCOPE, scope + records))
    return bytes(out)


def _session_id(attributes: Iterable[KeyValue]) -> str | None:
    value = next((pair.value for pair in attributes if pair.key == c.SESSION_ID), None)
    kind = value.WhichOneof("value") if value is not None else None
    return str(getattr(value, kind)) if kind else None
