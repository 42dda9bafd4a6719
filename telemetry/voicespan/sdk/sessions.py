"""A row for each call and chat that ended, so that lists and sums need not decode spans.

Summing ten thousand sessions from their spans takes a second, most of it with the interpreter's lock held, beside calls
that run; from these rows a few milliseconds, without it. Rows go with the records that they were made from.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from voicespan import conventions as c
from voicespan.sdk.signals import Signal

SESSIONS: Final = """CREATE TABLE sessions (
        record INTEGER PRIMARY KEY REFERENCES records(id) ON DELETE CASCADE,
        session_id TEXT NOT NULL,
        trace_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        user_id TEXT,
        key_id TEXT NOT NULL,
        model TEXT,
        backend TEXT,
        start_ns INTEGER NOT NULL,
        end_ns INTEGER NOT NULL,
        turns INTEGER NOT NULL,
        tool_calls INTEGER NOT NULL,
        interruptions INTEGER NOT NULL,
        input_audio_s REAL NOT NULL,
        output_audio_s REAL NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cost_usd REAL,
        error_type TEXT
    )"""
INDEXES: Final = (
    "CREATE INDEX sessions_by_start ON sessions (start_ns)",
    "CREATE INDEX sessions_by_id ON sessions (session_id)",
    "CREATE INDEX sessions_by_user ON sessions (user_id) WHERE user_id IS NOT NULL",
)
VOICE: Final = "voice"
TEXT: Final = "text"
_KINDS: Final = {c.WEBSOCKET_SESSION: VOICE, c.CHAT: TEXT}
_COLUMNS: Final = 19
# What nobody counts, and no number is: SQLite's end at 2**63.
_TOO_MANY: Final = 1e15

Row = tuple[str | int | float | None, ...]


def is_session(signal: Signal, name: str) -> bool:
    """Whether a record is one that gets a row."""
    return signal is Signal.TRACES and name in _KINDS


def note(database: sqlite3.Connection, ended: Iterable[tuple[int, bytes]]) -> None:
    """Write the rows of session spans: their record's id, and their encoded body."""
    marks = ",".join("?" * _COLUMNS)
    database.executemany(f"INSERT OR REPLACE INTO sessions VALUES ({marks})", [_row(*each) for each in ended])


def fill(database: sqlite3.Connection) -> None:
    """Write the rows of all session spans that are stored: once, when the table is new."""
    for name in _KINDS:
        found = database.execute("SELECT id, body FROM records WHERE signal = ? AND name = ?", (Signal.TRACES, name))
        note(database, found)


def _row(record: int, body: bytes) -> Row:
    span = Span.FromString(body)
    said = {pair.key: pair.value for pair in span.attributes}
    voice = span.name == c.WEBSOCKET_SESSION
    usage = _numbers(said.get(c.SESSION_USAGE if voice else c.LF_USAGE))
    cost_usd = _number(said.get(c.SESSION_COST)) if voice else _numbers(said.get(c.LF_COST)).get("total")
    return (
        record,
        _text(said.get(c.SESSION_ID)) or "",
        span.trace_id.hex(),
        _KINDS[span.name],
        _text(said.get(c.USER_ID)),
        _text(said.get(c.KEY_ID)) or "",
        _text(said.get(c.MODEL if voice else c.REQUEST_MODEL)),
        _text(said.get(c.BACKEND)),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        int(_number(said.get(c.SESSION_TURNS)) or 0) if voice else 1,
        int(_number(said.get(c.SESSION_TOOL_CALLS)) or 0),
        int(_number(said.get(c.SESSION_INTERRUPTIONS)) or 0),
        _number(said.get(c.SESSION_INPUT_AUDIO)) or 0.0,
        _number(said.get(c.SESSION_OUTPUT_AUDIO)) or 0.0,
        int(_sum(usage, "input_")),
        int(_sum(usage, "output_")),
        cost_usd,
        _text(said.get(c.ERROR_TYPE)),
    )


def _sum(usage: dict[str, float], prefix: str) -> float:
    return sum(tokens for bucket, tokens in usage.items() if bucket.startswith(prefix))


def _text(value: AnyValue | None) -> str | None:
    return value.string_value if value is not None and value.string_value else None


def _number(value: AnyValue | None) -> float | None:
    if value is None:
        return None
    match value.WhichOneof("value"):
        case "int_value" if abs(value.int_value) < _TOO_MANY:
            return float(value.int_value)
        case "double_value" if abs(value.double_value) < _TOO_MANY:
            return value.double_value
        case _:
            return None


def _numbers(value: AnyValue | None) -> dict[str, float]:
    """A JSON object's numbers; a program's own span of the same name may hold anything."""
    try:
        found = json.loads(value.string_value) if value is not None else {}
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        str(name): number
        for name, number in found.items()
        if isinstance(number, int | float) and abs(number) < _TOO_MANY
    }
