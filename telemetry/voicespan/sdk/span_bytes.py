"""A span as the bytes of OTLP's `Span` message, the same as the SDK's exporter would send.

The SDK's encoder makes a protobuf object of each attribute and serializes these: most of what a turn cost. Here the
fields are written as they come, in the order of their numbers (opentelemetry-proto 1.x, trace.proto and common.proto).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from struct import Struct

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status

_FIXED32, _FIXED64, _DOUBLE = Struct("<I").pack, Struct("<Q").pack, Struct("<d").pack
_KINDS = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
# SpanFlags: whether the parent (of a link: the other span) is another process's is known, and whether it is.
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200
# Texts of so few characters come again: names, words of an enumeration. Ids are longer, and do so for a session only.
SHORT = 24
_UINT64, _INT64 = (1 << 64) - 1, 1 << 63

logger = logging.getLogger(__name__)


def span_bytes(span: ReadableSpan, attributes: Mapping[str, object]) -> bytes:
    """The message; `attributes` are the span's.

    Raises:
        ValueError: the span has no context, or a name that is no Unicode.
    """
    context = span.context
    if context is None:
        raise ValueError(f"span {span.name!r} has no context")
    parts = [b"\x0a\x10", context.trace_id.to_bytes(16), b"\x12\x08", context.span_id.to_bytes(8)]
    if context.trace_state:
        state = ",".join(f"{key}={value}" for key, value in context.trace_state.items())
        parts.append(field(b"\x1a", state.encode()))
    if span.parent:
        parts += (b"\x22\x08", span.parent.span_id.to_bytes(8))
    parts += (field(b"\x2a", span.name.encode()), b"\x30", _varint(_KINDS[span.kind]))
    parts += (b"\x39", _FIXED64(span.start_time or 0))
    if span.end_time:
        parts += (b"\x41", _FIXED64(span.end_time))
    parts += _attributes(b"\x4a", attributes)
    parts.append(_count(b"\x50", span.dropped_attributes))
    if events := span.events:
        parts += (field(b"\x5a", _event(event)) for event in events)
    parts.append(_count(b"\x60", span.dropped_events))
    if links := span.links:
        parts += (field(b"\x6a", _link(link)) for link in links)
    parts += (_count(b"\x70", span.dropped_links), field(b"\x7a", _status(span.status)))
    parts += (b"\x85\x01", _flags(span.parent))
    return b"".join(parts)


def _event(event: Event) -> bytes:
    return b"".join(
        (
            b"\x09" + _FIXED64(event.timestamp),
            field(b"\x12", event.name.encode()),
            *_attributes(b"\x1a", event.attributes or {}),
            _count(b"\x20", event.dropped_attributes),
        )
    )


def _link(link: Link) -> bytes:
    return b"".join(
        (
            b"\x0a\x10" + link.context.trace_id.to_bytes(16),
            b"\x12\x08" + link.context.span_id.to_bytes(8),
            *_attributes(b"\x22", link.attributes or {}),
            _count(b"\x28", link.dropped_attributes),
            b"\x35" + _flags(link.context),
        )
    )


def _status(status: Status) -> bytes:
    code = status.status_code.value
    message = field(b"\x12", status.description.encode()) if status.description else b""
    return message + (b"\x18" + _varint(code) if code else b"")


def _flags(context: SpanContext | None) -> bytes:
    return _FIXED32(_HAS_IS_REMOTE | (_IS_REMOTE if context and context.is_remote else 0))


def _count(tag: bytes, count: int) -> bytes:
    return tag + _varint(count) if count else b""


def _attributes(tag: bytes, attributes: Mapping[str, object]) -> list[bytes]:
    """Each as a field; one that cannot be written is left out, as the SDK does, and said."""
    found = []
    for key, value in attributes.items():
        try:
            if type(value) is str and len(value) <= SHORT:
                found.append(_short(tag, key, value))
            elif type(value) is float:
                found.append(field(tag, _key(key) + b"\x12\x09\x21" + _DOUBLE(value)))
            elif type(value) is bool or (type(value) is int and 0 <= value < 0x80):
                found.append(_number(tag, key, value))
            else:
                found.append(field(tag, _key(key) + field(b"\x12", _any(value))))
        except (ValueError, TypeError) as error:
            logger.error("attribute %r is left out: %s", key, error)
    return found


@lru_cache(maxsize=1024)
def _short(tag: bytes, key: str, value: str) -> bytes:
    return field(tag, _key(key) + field(b"\x12", _any(value)))


@lru_cache(maxsize=1024, typed=True)
def _number(tag: bytes, key: str, value: int) -> bytes:
    return field(tag, _key(key) + field(b"\x12", _any(value)))


@lru_cache(maxsize=1024)
def _key(key: str) -> bytes:
    return field(b"\x0a", key.encode())


def _any(value: object) -> bytes:
    """An AnyValue."""
    match value:
        case str():
            return field(b"\x0a", value.encode())
        case bool():
            return b"\x10\x01" if value else b"\x10\x00"
        case int():
            if not -_INT64 <= value < _INT64:
                raise ValueError(f"{value} has more than 64 bits")
            return b"\x18" + _varint(value & _UINT64)
        case float():
            return b"\x21" + _DOUBLE(value)
        case None:
            return b""
        case bytes():
            return field(b"\x3a", value)
        case Sequence():
            return field(b"\x2a", b"".join(field(b"\x0a", _any(item)) for item in value))
        case Mapping():
            pairs = (_key(str(key)) + field(b"\x12", _any(item)) for key, item in value.items())
            return field(b"\x32", b"".join(field(b"\x0a", pair) for pair in pairs))
    raise TypeError(f"{type(value).__name__} is no attribute value")


def field(tag: bytes, payload: bytes) -> bytes:
    """A field whose length is told."""
    size = len(payload)
    return tag + (_ONE_BYTE[size] if size < 0x80 else _varint(size)) + payload


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _ONE_BYTE[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_ONE_BYTE = tuple(bytes((number,)) for number in range(0x80))
