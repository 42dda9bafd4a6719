"""The store's statements. Every function runs inside the caller's transaction and lock.

Each step of a statement lets go of the interpreter's lock, and beside an event loop that is busy it comes back only
after 5 ms: so many rows go into one statement, and a commit takes a handful of steps, not one for each row.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from voicespan.sdk import otlp, sessions
from voicespan.sdk.records import Record
from voicespan.sdk.signals import Signal
from voicespan.sdk.upload import Upload

PRUNE_STEP_RECORDS = 200
# Of one statement. One is kept for each number of rows that came, with a KiB and a half for each of its rows: with up
# to 256 rows they took 10 MB of a busy process. More statements of fewer rows cost no more.
MAX_ROWS = 8
# SQLite gives the id of the newest record again where that was deleted, as a session's may be while a sender has it:
# by its end it is told from another's.
_STILL_THERE = (
    "SELECT r.id FROM json_each(?) sent CROSS JOIN records r"
    " ON r.id = json_extract(sent.value, '$[0]') AND r.end_ns = json_extract(sent.value, '$[1]')"
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """Stored records on their way to a receiver: their ids in these tables, and the request that carries them."""

    tables: Tables
    signal: Signal
    ids: Sequence[int]
    ends_ns: Sequence[int]
    request: bytes
    oldest_s: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """How much of what pruning took away was never sent: all, and this owner's own."""

    unsent: int
    own_unsent: dict[Signal, int]


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A row of the journal. `queued`: its owner sends what ends; `body` is an encoded span without an end."""

    trace_id: str
    span_id: str
    queued: bool
    resource: int
    scope: int
    session_id: str
    body: bytes


class Tables:
    """One connection's view of the store, on behalf of one owner."""

    def __init__(self, database: sqlite3.Connection, owner: str) -> None:
        self.database = database
        self._owner = owner
        self._envelopes: dict[bytes, int] = {}

    def forget(self) -> None:
        """After a rollback: what was interned in that transaction has no row."""
        self._envelopes.clear()

    def intern(self, bodies: Iterable[bytes]) -> None:
        """Give prefixes their ids, where they have none yet."""
        if unknown := list({body for body in bodies if body not in self._envelopes}):
            self.database.execute(f"INSERT OR IGNORE INTO envelopes (body) VALUES {_rows(1, len(unknown))}", unknown)
            marks = ",".join("?" * len(unknown))
            found = self.database.execute(f"SELECT body, id FROM envelopes WHERE body IN ({marks})", unknown)
            self._envelopes.update(found.fetchall())

    def insert(self, records: Sequence[Record], queued: Collection[Signal]) -> None:
        """Store records; those of the `queued` signals go into the outbox too."""
        self.intern(body for record in records for body in (record.resource, record.scope))
        for chunk in _chunks(records):
            rows = [(record, self._envelopes[record.resource], self._envelopes[record.scope]) for record in chunk]
            ids = self.insert_rows(rows)
            self.queue(
                [(id_, record.signal) for id_, record in zip(ids, chunk, strict=True) if record.signal in queued]
            )

    def insert_rows(self, rows: Sequence[tuple[Record, int, int]]) -> range:
        """Store records under envelopes that are there already; returns their ids."""
        written_s = int(time.time())
        values: list[str | int | bytes | None] = []
        for record, resource, scope in rows:
            values += (
                str(record.signal),  # for a subclass of str the module looks for an adapter first
                resource,
                scope,
                record.trace_id,
                record.span_id,
                record.parent_id,
                record.session_id,
                record.name,
                record.start_ns,
                record.end_ns,
                record.body,
                written_s,
            )
        last = self.database.execute(
            "INSERT INTO records (signal, resource, scope, trace_id, span_id, parent_id, session_id, name,"
            f" start_ns, end_ns, body, written_s) VALUES {_rows(12, len(rows))}",
            values,
        ).lastrowid
        # One statement's rows get ids in a row: nobody else writes meanwhile.
        end = (last or 0) + 1
        ids = range(end - len(rows), end)
        ended = [
            (id_, record.body)
            for id_, (record, _, _) in zip(ids, rows, strict=True)
            if sessions.is_session(record.signal, record.name)
        ]
        if ended:
            sessions.note(self.database, ended)
        return ids

    def queue(self, records: Sequence[tuple[int, Signal]], owner: str | None = None) -> None:
        """Put stored records into an owner's outbox, by default one's own."""
        if records:
            values = [value for id_, signal in records for value in (id_, owner or self._owner, str(signal))]
            self.database.execute(f"INSERT INTO outbox (record, owner, signal) VALUES {_rows(3, len(records))}", values)

    def next_batch(self, signal: Signal, max_records: int, max_bytes: int) -> Batch | None:
        """The owner's oldest records of a signal that wait, as one request; None where none do."""
        if signal is Signal.MEDIA:
            return self._next_upload()
        rows = self.database.execute(
            "SELECT r.id, resource.body, scope.body, r.body, r.end_ns, coalesce(r.written_s, r.end_ns / 1000000000)"
            " FROM outbox o JOIN records r ON r.id = o.record"
            " JOIN envelopes resource ON resource.id = r.resource JOIN envelopes scope ON scope.id = r.scope"
            " WHERE o.owner = ? AND o.signal = ? AND o.rejected IS NULL ORDER BY o.record LIMIT ?",
            (self._owner, signal, max_records),
        )
        size = 0
        taken: list[tuple[int, bytes, bytes, bytes, int, int]] = []
        for row in rows:
            size += len(row[3])
            if taken and size > max_bytes:
                break
            taken.append(row)
        if not taken:
            return None
        if signal is Signal.SCORES:
            request = b"[" + b",".join(row[3] for row in taken) + b"]"
        else:
            request = otlp.request(row[1:4] for row in taken)
        return Batch(self, signal, [row[0] for row in taken], [row[4] for row in taken], request, taken[0][5])

    def _next_upload(self) -> Batch | None:
        """Files go one by one."""
        row = self.database.execute(
            "SELECT r.id, r.end_ns, r.trace_id, r.span_id, r.name, r.body, coalesce(r.written_s, r.end_ns / 1000000000)"
            " FROM outbox o JOIN records r ON r.id = o.record"
            " WHERE o.owner = ? AND o.signal = ? AND o.rejected IS NULL ORDER BY o.record LIMIT 1",
            (self._owner, Signal.MEDIA),
        ).fetchone()
        if row is None:
            return None
        record, end_ns, trace_id, span_id, side, content, written_s = row
        request = Upload(trace_id, span_id, side, content).encode()
        return Batch(self, Signal.MEDIA, [record], [end_ns], request, written_s)

    def accept(self, batch: Batch) -> None:
        """A receiver has them."""
        self.database.execute(f"DELETE FROM outbox WHERE record IN ({_STILL_THERE})", (_sent(batch),))

    def delete(self, batch: Batch) -> None:
        """Records that wait for nothing any more."""
        self.database.execute(f"DELETE FROM records WHERE id IN ({_STILL_THERE})", (_sent(batch),))

    def reject(self, batch: Batch, reason: str) -> None:
        """No receiver will have them: set aside with the reason."""
        self.database.execute(
            f"UPDATE outbox SET rejected = ? WHERE record IN ({_STILL_THERE})", (reason, _sent(batch))
        )

    def count_queued(self, signal: Signal) -> int:
        """How many of the owner's wait to be sent."""
        (count,) = self.database.execute(
            "SELECT count(*) FROM outbox WHERE owner = ? AND signal = ? AND rejected IS NULL", (self._owner, signal)
        ).fetchone()
        return int(count)

    def senders(self, signals: Collection[Signal]) -> set[str]:
        """Owners with something of these signals to send; by skips through the index, for the outbox may be long."""
        found: set[str] = set()
        for signal in signals:
            owner = ""
            while row := self.database.execute(
                "SELECT owner FROM outbox WHERE owner > ? AND signal = ? AND rejected IS NULL ORDER BY owner LIMIT 1",
                (owner, signal),
            ).fetchone():
                owner = row[0]
                found.add(owner)
        return found

    def adopt(self, owner: str, signals: Collection[Signal], limit: int) -> int:
        """Send what another owner left of these signals: its oldest records, `limit` of each; returns how many."""
        adopted = 0
        for signal in signals:
            adopted += self.database.execute(
                "UPDATE outbox SET owner = ? WHERE record IN (SELECT record FROM outbox"
                " WHERE signal = ? AND owner = ? AND rejected IS NULL ORDER BY record LIMIT ?)",
                (self._owner, signal, owner, limit),
            ).rowcount
        return adopted

    # --- the journal ------------------------------------------------------------------------------------------------

    def note_open(self, records: Sequence[Record], *, queued: bool) -> None:
        """Note spans that have not ended, or note them anew."""
        self.intern(body for record in records for body in (record.resource, record.scope))
        for chunk in _chunks(records):
            values: list[str | int | bytes] = []
            for record in chunk:
                values += (
                    record.trace_id,
                    record.span_id,
                    self._owner,
                    queued,
                    self._envelopes[record.resource],
                    self._envelopes[record.scope],
                    record.session_id or "",
                    record.body,
                )
            self.database.execute(
                "INSERT INTO open_spans (trace_id, span_id, owner, queued, resource, scope, session_id, body)"
                f" VALUES {_rows(8, len(chunk))} ON CONFLICT (trace_id, span_id) DO UPDATE SET body = excluded.body",
                values,
            )

    def close(self, ids: Collection[tuple[str, str]]) -> None:
        """These (trace id, span id) have ended."""
        for chunk in _chunks(list(ids)):
            self.database.execute(
                f"DELETE FROM open_spans WHERE (trace_id, span_id) IN (VALUES {_rows(2, len(chunk))})",
                [value for pair in chunk for value in pair],
            )

    def close_all(self, owner: str) -> None:
        """An owner has no open spans any more."""
        self.database.execute("DELETE FROM open_spans WHERE owner = ?", (owner,))

    def owners_of_open_spans(self) -> set[str]:
        """Who has spans open."""
        return {owner for (owner,) in self.database.execute("SELECT DISTINCT owner FROM open_spans")}

    def open_spans(self, owner: str) -> list[OpenRow]:
        """What an owner had open."""
        rows = self.database.execute(
            "SELECT trace_id, span_id, queued, resource, scope, session_id, body FROM open_spans WHERE owner = ?",
            (owner,),
        )
        return [OpenRow(row[0], row[1], bool(row[2]), *row[3:]) for row in rows]

    def has_span(self, trace_id: str, span_id: str) -> bool:
        """Whether a span is stored as ended."""
        row = self.database.execute(
            "SELECT 1 FROM records WHERE trace_id = ? AND span_id = ? AND signal = ?",
            (trace_id, span_id, Signal.TRACES),
        ).fetchone()
        return row is not None

    def last_ended_ns(self, trace_ids: Collection[str]) -> int:
        """The newest end of any record of these traces; 0 where there is none."""
        newest = (
            self.database.execute("SELECT max(end_ns) FROM records WHERE trace_id = ?", (trace_id,)).fetchone()[0]
            for trace_id in trace_ids
        )
        return max((int(end_ns) for end_ns in newest if end_ns is not None), default=0)

    # --- deletion ---------------------------------------------------------------------------------------------------

    def delete_session(self, session_id: str) -> int:
        """All records of a session, sent or not, and those of its traces that are nobody's; returns how many."""
        self.database.execute(
            "CREATE TEMP TABLE doomed AS SELECT id FROM records WHERE session_id = ?1 OR (session_id IS NULL"
            " AND trace_id IN (SELECT trace_id FROM records WHERE session_id = ?1 AND trace_id != ''))",
            (session_id,),
        )
        self.database.execute("DELETE FROM outbox WHERE record IN (SELECT id FROM doomed)")
        deleted = self.database.execute("DELETE FROM records WHERE id IN (SELECT id FROM doomed)").rowcount
        self.database.execute("DROP TABLE doomed")
        return deleted

    # --- bounds -----------------------------------------------------------------------------------------------------

    def drop_oldest(self, written_before_s: int | None) -> Dropped | None:
        """Delete some of the oldest records, all or only those written before a time; None where there are none."""
        (limit,) = self.database.execute(
            "SELECT max(id) FROM (SELECT id, coalesce(written_s, end_ns / 1000000000) AS written_s FROM records"
            " ORDER BY id LIMIT ?) WHERE ? IS NULL OR written_s < ?",
            (PRUNE_STEP_RECORDS, written_before_s, written_before_s),
        ).fetchone()
        if limit is None:
            return None
        own = self.database.execute(
            "SELECT signal, count(*) FROM outbox WHERE record <= ? AND rejected IS NULL AND owner = ? GROUP BY signal",
            (limit, self._owner),
        ).fetchall()
        unsent = self.database.execute("DELETE FROM outbox WHERE record <= ? AND rejected IS NULL", (limit,)).rowcount
        self.database.execute("DELETE FROM outbox WHERE record <= ?", (limit,))
        self.database.execute("DELETE FROM records WHERE id <= ?", (limit,))
        return Dropped(unsent, {Signal(signal): count for signal, count in own})

    def used_bytes(self) -> int:
        """The size of the content, without pages that are free again."""
        pages, free, size = (
            self.database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)


def _sent(batch: Batch) -> str:
    """What `_STILL_THERE` looks for."""
    return json.dumps(list(zip(batch.ids, batch.ends_ns, strict=True)))


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Parts of what goes into one statement."""
    for start in range(0, len(items), MAX_ROWS):
        yield items[start : start + MAX_ROWS]


@lru_cache(maxsize=64)
def _rows(columns: int, rows: int) -> str:
    """`(?, ?), (?, ?)` and so on."""
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * rows)
