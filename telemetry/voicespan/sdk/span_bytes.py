"""A span as the bytes of OTLP's `Span` message, the same as the SDK's exporter would send.

The SDK's encoder makes a protobuf object of each attribute and serializes these: most of what a turn cost. Here the
fields are written as they come, in the order of their numbers (opentelemetry-proto 1.x, trace.proto and common.proto).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

_FIXED32, _FIXED64, _DOUBLE = Struct("<I").pack, Struct("<Q").pack, Struct("<d").pack
_KINDS = {
    SpanKind.INTERNAL: b"\x30\x01",
    SpanKind.SERVER: b"\x30\x02",
    SpanKind.CLIENT: b"\x30\x03",
    SpanKind.PRODUCER: b"\x30\x04",
    SpanKind.CONSUMER: b"\x30\x05",
}
# SpanFlags: whether the parent (of a link: the other span) is another process's is known, and whether it is.
_LOCAL, _REMOTE = _FIXED32(0x100), _FIXED32(0x300)
# Texts of so few characters come again: names, words of an enumeration. Ids are longer, and do so for a session
# only; times never do.
SHORT = 24
MAX_KNOWN = 1024
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
    if parent := span.parent:
        parts += (b"\x22\x08", parent.span_id.to_bytes(8))
    parts += (field(b"\x2a", span.name.encode()), _KINDS[span.kind], b"\x39", _FIXED64(span.start_time or 0))
    if end_ns := span.end_time:
        parts += (b"\x41", _FIXED64(end_ns))
    parts.append(_attributes(b"\x4a", attributes))
    if dropped := span.dropped_attributes:
        parts += (b"\x50", _varint(dropped))
    if events := span.events:
        parts += (field(b"\x5a", _event(event)) for event in events)
    if dropped := span.dropped_events:
        parts += (b"\x60", _varint(dropped))
    if links := span.links:
        parts += (field(b"\x6a", _link(link)) for link in links)
    if dropped := span.dropped_links:
        parts += (b"\x70", _varint(dropped))
    parts += (field(b"\x7a", _status(span.status)), b"\x85\x01", _flags(parent))
    return b"".join(parts)


def _event(event: Event) -> bytes:
    parts = [b"\x09", _FIXED64(event.timestamp), field(b"\x12", event.name.encode())]
    parts.append(_attributes(b"\x1a", event.attributes or {}))
    if dropped := event.dropped_attributes:
        parts += (b"\x20", _varint(dropped))
    return b"".join(parts)


def _link(link: Link) -> bytes:
    context = link.context
    parts = [b"\x0a\x10", context.trace_id.to_bytes(16), b"\x12\x08", context.span_id.to_bytes(8)]
    parts.append(_attributes(b"\x22", link.attributes or {}))
    if dropped := link.dropped_attributes:
        parts += (b"\x28", _varint(dropped))
    parts += (b"\x35", _flags(context))
    return b"".join(parts)


def _status(status: Status) -> bytes:
    if status.status_code is StatusCode.UNSET:  # and has no description
        return b""
    message = field(b"\x12", status.description.encode()) if status.description else b""
    return message + b"\x18" + _varint(status.status_code.value)


def _flags(context: SpanContext | None) -> bytes:
    return _REMOTE if context and context.is_remote else _LOCAL


def _attributes(tag: bytes, attributes: Mapping[str, Any]) -> bytes:
    """Each as a field; one that cannot be written is left out, as the SDK does, and said."""
    found = []
    for key, value in attributes.items():
        kind = type(value)
        try:
            if kind is str:
                found.append(_short(key, value) if len(value) <= SHORT else _pair(key, value))
            elif kind is float:
                found.append(_double(key) + _DOUBLE(value))
            elif kind is int:
                number = _ONE_BYTE[value] if 0 <= value < 0x80 else _int64(value)
                found.append(_int(key, len(number)) + number)
            elif kind is bool:
                found.append(_short(key, value))
            else:
                found.append(_pair(key, value))
        except (ValueError, TypeError) as error:
            logger.error("attribute %r is left out: %s", key, error)
    return tag + tag.join(found) if found else b""


def _pair(key: str, value: object) -> bytes:
    """A KeyValue behind its length."""
    return field(b"", field(_key(key), _any(value)))


@lru_cache(maxsize=MAX_KNOWN)
def _short(key: str, value: str | bool) -> bytes:
    """That of a value that comes again."""
    return _pair(key, value)


@lru_cache(maxsize=MAX_KNOWN)
def _key(key: str) -> bytes:
    """What stands before a key's value and its length."""
    return field(b"\x0a", key.encode()) + b"\x12"


@lru_cache(maxsize=MAX_KNOWN)
def _double(key: str) -> bytes:
    """What stands before the eight bytes of a double, the length of the pair too."""
    return _pair(key, 0.0)[:-8]


@lru_cache(maxsize=MAX_KNOWN)
def _int(key: str, size: int) -> bytes:
    """What stands before the `size` bytes of an integer, the length of the pair too."""
    return field(b"", field(_key(key), b"\x18" + bytes(size)))[:-size]


def _any(value: object) -> bytes:
    """An AnyValue."""
    match value:
        case str():
            return field(b"\x0a", value.encode())
        case bool():
            return b"\x10\x01" if value else b"\x10\x00"
        case int():
            return b"\x18" + _int64(value)
        case float():
            return b"\x21" + _DOUBLE(value)
        case None:
            return b""
        case bytes():
            return field(b"\x3a", value)
        case tuple() | Sequence():  # the SDK makes tuples of all; an abstract class takes longer to ask
            return field(b"\x2a", b"".join([field(b"\x0a", _any(item)) for item in value]))
        case Mapping():
            return field(b"\x32", b"".join(b"\x0a" + _pair(str(key), item) for key, item in value.items()))
    raise TypeError(f"{type(value).__name__} is no attribute value")


def field(tag: bytes, payload: bytes) -> bytes:
    """A field whose length is told."""
    size = len(payload)
    return tag + (_ONE_BYTE[size] if size < 0x80 else _varint(size)) + payload


def _int64(number: int) -> bytes:
    if not -_INT64 <= number < _INT64:
        raise ValueError(f"{number} has more than 64 bits")
    return _varint(number & _UINT64)


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
