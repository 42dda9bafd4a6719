"""Traces read back from the store: what `voicespan traces` and the REST API show."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from voicespan.sdk.database import reading
from voicespan.sdk.store import Store

Scalar = str | bool | int | float | None
Value = Scalar | list[Scalar]
KINDS = {0: "UNSPECIFIED", 1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
STATUSES = {0: "UNSET", 1: "OK", 2: "ERROR"}


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A span event, decoded."""

    name: str
    time_ns: int
    attributes: dict[str, Value]


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """A span as it was exported, decoded. Ids are hex; a root's `parent_id` is empty."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str
    status_message: str
    attributes: dict[str, Value] = field(default_factory=dict)
    events: list[StoredEvent] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """One line about a trace."""

    trace_id: str
    name: str
    session_id: str | None
    start_ns: int
    end_ns: int
    spans: int
    turns: int


@contextmanager
def reader(path: Path) -> Iterator[TraceReader]:
    """Open a store's file for reading.

    Raises:
        FileNotFoundError: there is none.
        StoreError: it is no store, or cannot be read.
    """
    with reading(path) as database:
        yield TraceReader(database)


@contextmanager
def reader_of(store: Store) -> Iterator[TraceReader]:
    """Read from a store that is open in this process, also from one in memory.

    Raises:
        StoreError: its file cannot be read.
    """
    if store.path is not None:
        with reader(store.path) as found:
            yield found
    else:
        with store.locked() as database:
            yield TraceReader(database)


class TraceReader:
    """Queries over a store's records."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database

    def latest(self, limit: int) -> list[TraceSummary]:
        """The traces that began last, newest first; one is named after the span that began first."""
        rows = self.database.execute(
            "SELECT trace_id, min(session_id), min(start_ns), max(end_ns), count(*), sum(name GLOB 'Turn [0-9]*')"
            " FROM records WHERE signal = 'traces' GROUP BY trace_id ORDER BY min(start_ns) DESC LIMIT ?",
            (limit,),
        ).fetchall()
        return [TraceSummary(row[0], self._root_name(row[0]), *row[1:]) for row in rows]

    def find(self, prefix: str) -> list[str]:
        """Ids of the traces whose id, or whose session's id, begins with `prefix`."""
        rows = self.database.execute(
            "SELECT DISTINCT trace_id FROM records WHERE signal = 'traces'"
            " AND (substr(trace_id, 1, ?) = ? OR substr(session_id, 1, ?) = ?)",
            (len(prefix), prefix.lower(), len(prefix), prefix),
        ).fetchall()
        return [row[0] for row in rows]

    def spans(self, trace_id: str) -> list[StoredSpan]:
        """A trace's spans in the order in which they began; each once, also where it was written twice."""
        rows = self.database.execute(
            "SELECT body FROM records WHERE trace_id = ? AND signal = 'traces' GROUP BY span_id"
            " ORDER BY start_ns, end_ns DESC",
            (trace_id,),
        ).fetchall()
        return [decode(row[0]) for row in rows]

    def _root_name(self, trace_id: str) -> str:
        row = self.database.execute(
            "SELECT name FROM records WHERE trace_id = ? AND signal = 'traces'"
            " ORDER BY parent_id != '', start_ns LIMIT 1",
            (trace_id,),
        ).fetchone()
        return str(row[0])


def decode(body: bytes) -> StoredSpan:
    """A span as it is stored, or noted in the journal."""
    span = Span.FromString(body)
    return StoredSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=KINDS.get(span.kind, "UNSPECIFIED"),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status=STATUSES.get(span.status.code, "UNSET"),
        status_message=span.status.message,
        attributes=_attributes(span.attributes),
        events=[StoredEvent(event.name, event.time_unix_nano, _attributes(event.attributes)) for event in span.events],
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    if value.WhichOneof("value") == "array_value":
        return [_scalar(item) for item in value.array_value.values]
    return _scalar(value)


def _scalar(value: AnyValue) -> Scalar:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case _:
            return None
