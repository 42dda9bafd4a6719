"""A record: what is stored of an ended span, an emitted log record, a score or a recording, before it gets its row."""

from __future__ import annotations

from typing import NamedTuple

from voicespan.sdk.signals import Signal


class Record(NamedTuple):
    """Encoded bytes, the prefixes they stand under (OTLP alone has such), and what queries ask for. Ids are hex.

    A tuple, for three are made with each turn: a frozen dataclass of so many fields takes seven times as long.
    """

    signal: Signal
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
