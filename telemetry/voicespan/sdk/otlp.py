"""OTLP by the byte: encode spans once, store the pieces, and make requests by putting stored bytes together.

A ResourceSpans without its spans, and a ScopeSpans without its spans, are prefixes: protobuf lets the fields of a
message come in any order, so a request is prefixes and spans with length headers between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan

from voicespan import conventions as c

# Field numbers of opentelemetry-proto 1.x: ExportTraceServiceRequest.resource_spans = 1, ResourceSpans.scope_spans = 2,
# ScopeSpans.spans = 2; wire type 2 (length-delimited).
_RESOURCE_SPANS = b"\x0a"
_SCOPE_SPANS = b"\x12"
_SPAN = b"\x12"


@dataclass(frozen=True, slots=True)
class Record:
    """An ended span: its encoded bytes, the prefixes they stand under, and what queries ask for."""

    resource: bytes
    scope: bytes
    body: bytes
    trace_id: str
    span_id: str
    parent_id: str
    session_id: str | None
    name: str
    start_ns: int
    end_ns: int


def encode(spans: Sequence[ReadableSpan]) -> list[Record]:
    """Encode ended spans; the result is in the order in which they ended."""
    session_of = {span.context.span_id: (span.attributes or {}).get(c.SESSION_ID) for span in spans if span.context}
    records = []
    for resource_spans in encode_spans(spans).resource_spans:
        scopes = list(resource_spans.scope_spans)
        resource_spans.ClearField("scope_spans")
        resource = resource_spans.SerializeToString()
        for scope_spans in scopes:
            found = list(scope_spans.spans)
            scope_spans.ClearField("spans")
            scope = scope_spans.SerializeToString()
            for span in found:
                session_id = session_of.get(int.from_bytes(span.span_id))
                records.append(
                    Record(
                        resource=resource,
                        scope=scope,
                        body=span.SerializeToString(),
                        trace_id=span.trace_id.hex(),
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex(),
                        session_id=str(session_id) if session_id is not None else None,
                        name=span.name,
                        start_ns=span.start_time_unix_nano,
                        end_ns=span.end_time_unix_nano,
                    )
                )
    return sorted(records, key=lambda record: record.end_ns)


def request(parts: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
    """An ExportTraceServiceRequest of (resource prefix, scope prefix, span) triples; neighbours share their prefix."""
    out = bytearray()
    for (resource, scope), group in groupby(parts, key=lambda part: part[:2]):
        spans = b"".join(_field(_SPAN, body) for _, _, body in group)
        out += _field(_RESOURCE_SPANS, resource + _field(_SCOPE_SPANS, scope + spans))
    return bytes(out)


def _field(tag: bytes, payload: bytes) -> bytes:
    return tag + _varint(len(payload)) + payload


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
