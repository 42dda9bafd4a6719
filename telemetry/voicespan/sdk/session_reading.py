"""Sessions read back from the store: lists, sums, and what each was given as scores."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from voicespan import conventions as c
from voicespan.sdk.reading import StoredSpan, TraceReader, decode, reader_of
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store

SIMULATOR = "simulator"
Dimension = Literal["day", "model", "key"]
_DIMENSIONS: dict[Dimension, str] = {
    "day": "date(end_ns / 1000000000, 'unixepoch')",
    "model": "model",
    "key": "key_id",
}


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session's calls and chats, summed. Ids as they are on its spans; `cost_usd` is None where no price is known."""

    session_id: str
    user_id: str | None
    key_id: str
    model: str | None
    backend: str | None
    start_ns: int
    end_ns: int
    calls: int
    chats: int
    turns: int
    tool_calls: int
    interruptions: int
    input_audio_s: float
    output_audio_s: float
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    error_type: str | None

    @property
    def simulated(self) -> bool:
        """Whether nothing was to be paid for it."""
        return self.backend == SIMULATOR


@dataclass(frozen=True, slots=True)
class Usage:
    """What a day, a model and a key came to; a dimension that was not asked for is None."""

    day: str | None
    model: str | None
    key_id: str | None
    simulated: bool
    sessions: int
    turns: int
    input_audio_s: float
    output_audio_s: float
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class StoredBill:
    """What one call or chat cost. `record` orders bills by when they were stored."""

    record: int
    trace_id: str
    key_id: str
    cost_usd: float


@dataclass(frozen=True, slots=True)
class StoredScore:
    """A score of a session, as it was last given. `at` is ISO 8601."""

    name: str
    value: float
    comment: str | None
    at: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sessions: None is any. Times are of a session's begin, in Unix nanoseconds, the second one exclusive."""

    user_id: str | None = None
    key_id: str | None = None
    model: str | None = None
    backend: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None


@contextmanager
def sessions_of(store: Store) -> Iterator[SessionReader]:
    """Read from a store that is open in this process.

    Raises:
        StoreError: its file cannot be read.
    """
    with reader_of(store) as traces:
        yield SessionReader(traces)


class SessionReader:
    """Queries over a store's sessions."""

    def __init__(self, traces: TraceReader) -> None:
        self._traces = traces
        self._database: sqlite3.Connection = traces.database

    def latest(self, wanted: Wanted, limit: int, before: tuple[int, str] | None = None) -> list[StoredSession]:
        """The sessions that began last, newest first; `before` is the begin and the id of the last one already seen."""
        conditions, values = ["1"], list[str | int]()
        for column in ("user_id", "key_id", "model", "backend"):
            if (value := getattr(wanted, column)) is not None:
                conditions.append(f"{column} = ?")
                values.append(value)
        for condition, at_ns in (("start_ns >= ?", wanted.since_ns), ("start_ns < ?", wanted.until_ns)):
            if at_ns is not None:
                conditions.append(condition)
                values.append(at_ns)
        after = "1"
        if before is not None:
            after = "(min(start_ns), session_id) < (?, ?)"
            values += before
        rows = self._database.execute(
            f"{_SUMMED} WHERE {' AND '.join(conditions)} GROUP BY session_id HAVING {after}"
            " ORDER BY min(start_ns) DESC, session_id DESC LIMIT ?",
            (*values, limit),
        )
        return [StoredSession(*row) for row in rows]

    def one(self, session_id: str) -> StoredSession | None:
        """A session, if it is stored."""
        row = self._database.execute(f"{_SUMMED} WHERE session_id = ? GROUP BY session_id", (session_id,)).fetchone()
        return StoredSession(*row) if row else None

    def of_user(self, user_id: str) -> list[str]:
        """The ids of a user's sessions, the oldest first, then those of whose calls none has ended yet."""
        ended = self._database.execute(
            "SELECT session_id FROM sessions WHERE user_id = ? GROUP BY session_id ORDER BY min(start_ns)", (user_id,)
        )
        noted = self._database.execute("SELECT session_id, body FROM open_spans ORDER BY session_id")
        open_ = [session_id for session_id, body in noted if decode(body).attributes.get(c.USER_ID) == user_id]
        return list(dict.fromkeys([*(row[0] for row in ended), *open_]))

    def running(self, session_id: str) -> bool:
        """Whether a call of the session has not ended."""
        found = self._database.execute("SELECT 1 FROM open_spans WHERE session_id = ? LIMIT 1", (session_id,))
        return found.fetchone() is not None

    def spans(self, session_id: str) -> list[StoredSpan]:
        """The spans of all traces that the session has a part in, in the order in which they began."""
        rows = self._database.execute(
            "SELECT DISTINCT trace_id FROM records WHERE session_id = ? AND signal = ? AND trace_id != ''",
            (session_id, Signal.TRACES),
        ).fetchall()
        spans = [span for (trace_id,) in rows for span in self._traces.spans(trace_id)]
        return sorted(spans, key=lambda span: (span.start_ns, -span.end_ns))

    def scores(self, session_id: str) -> list[StoredScore]:
        """What the session was given, each name once."""
        rows = self._database.execute(
            "SELECT body FROM records WHERE session_id = ? AND signal = ? ORDER BY id", (session_id, Signal.SCORES)
        )
        found: dict[str, StoredScore] = {}
        for (body,) in rows:
            said = json.loads(body)
            found[said["name"]] = StoredScore(said["name"], said["value"], said.get("comment"), said.get("timestamp"))
        return list(found.values())

    def usage(self, by: tuple[Dimension, ...], since: str | None, until: str | None) -> list[Usage]:
        """Sums by what is asked for, simulated calls apart. Days are of UTC, `YYYY-MM-DD`, both included."""
        columns = [_DIMENSIONS[each] if each in by else "NULL" for each in ("day", "model", "key")]
        rows = self._database.execute(
            f"SELECT {', '.join(columns)}, coalesce(backend, '') = ?, count(DISTINCT session_id), sum(turns), {_SUMS}"
            f" FROM sessions WHERE {_DIMENSIONS['day']} BETWEEN coalesce(?, '') AND coalesce(?, '9999')"
            " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
            (SIMULATOR, since, until),
        )
        return [Usage(row[0], row[1], row[2], bool(row[3]), *row[4:]) for row in rows]

    def bills(self, after_record: int, since_ns: int, *, simulated_too: bool) -> list[StoredBill]:
        """What calls and chats that ended since then cost, of records stored after one; the oldest first."""
        rows = self._database.execute(
            "SELECT record, trace_id, key_id, cost_usd FROM sessions WHERE record > ? AND end_ns >= ?"
            " AND cost_usd IS NOT NULL AND (? OR coalesce(backend, '') != ?) ORDER BY record",
            (after_record, since_ns, simulated_too, SIMULATOR),
        )
        return [StoredBill(*row) for row in rows]


# Without the digits that adding floats makes up: see `totals`.
_SUMS = (
    "round(sum(input_audio_s), 6), round(sum(output_audio_s), 6), sum(input_tokens), sum(output_tokens),"
    " round(sum(cost_usd), 12)"
)
_SUMMED = (
    "SELECT session_id, max(user_id), max(key_id), max(model), max(backend), min(start_ns), max(end_ns),"
    f" sum(kind = 'voice'), sum(kind = 'text'), sum(turns), sum(tool_calls), sum(interruptions), {_SUMS},"
    " max(error_type) FROM sessions"
)
