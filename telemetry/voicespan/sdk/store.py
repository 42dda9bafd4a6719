"""One file, one truth: ended spans in one SQLite file, and the outbox of what a receiver has not yet accepted.

One writer thread per process encodes and commits every few milliseconds; the event loop only appends to a queue.
Several processes may share the file: each sends what it wrote, and adopts what a process that is gone left behind.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan

from voicespan.guard import report_in_thread
from voicespan.sdk import otlp
from voicespan.sdk.database import Owner, StoreError, open_for_writing, open_in_memory

TRACES = "traces"
# Spans waiting to be written; at 2,000 spans a second this is four seconds of a disk that does not answer.
MAX_PENDING = 8192
COMMIT_EVERY_S = 0.005
RETRY_AFTER_S = 0.5
PRUNE_EVERY_RECORDS = 2_000
PRUNE_STEP_RECORDS = 200
MAX_BYTES = 512 << 20
MAX_BYTES_IN_MEMORY = 64 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Stored spans on their way to a receiver: their record ids, and the request that carries them."""

    ids: Sequence[int]
    request: bytes


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Counts since the process began, and what waits now."""

    written: int
    dropped: int
    queued: int
    rejected: int
    in_memory: bool


@dataclass(slots=True)
class _Mark:
    """A place in the queue of spans: done when all that was before it is committed, or given up."""

    done: threading.Event = field(default_factory=threading.Event)
    committed: bool = True


class Store:
    """The spans of this host. `path=None`, or a place that cannot be written, keeps them in memory and says so."""

    def __init__(self, path: Path | None, *, queue_for_sending: bool, max_bytes: int = MAX_BYTES) -> None:
        self._queue_for_sending = queue_for_sending
        self._pending: deque[ReadableSpan | _Mark] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._envelopes: dict[bytes, int] = {}
        self._written = self._dropped = self._since_prune = 0
        self.on_commit: Callable[[], None] = _nothing
        self._database, self.path = _open(path)
        self._max_bytes = max_bytes if self.path else min(max_bytes, MAX_BYTES_IN_MEMORY)
        self._owner = Owner(self.path)
        self._adopt()
        self.prune(self._max_bytes)
        self._writer = threading.Thread(target=self._write_forever, name="voicespan-store", daemon=True)
        self._writer.start()

    # --- writing ----------------------------------------------------------------------------------------------------

    def append(self, span: ReadableSpan) -> None:
        """Take an ended span. Never waits; beyond `MAX_PENDING` the oldest is dropped and counted."""
        if len(self._pending) >= MAX_PENDING:
            with suppress(IndexError):
                self._give_up([self._pending.popleft()])
        self._pending.append(span)
        self._wake.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was appended is committed; False where that took longer, or could not be done."""
        mark = _Mark()
        self._pending.append(mark)
        self._wake.set()
        return mark.done.wait(timeout_s) and mark.committed

    def close(self, timeout_s: float = 5.0) -> None:
        """Commit what was appended and let go of the file."""
        if self._stopping.is_set():
            return
        self.flush(timeout_s)
        self._stopping.set()
        self._wake.set()
        self._writer.join(timeout_s)
        with self._lock:
            self._database.close()
        self._owner.release()

    def _write_forever(self) -> None:
        records: list[otlp.Record] = []  # encoded, and not yet on disk
        marks: list[_Mark] = []
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            time.sleep(COMMIT_EVERY_S)  # gather what ends together
            spans = self._take(marks)
            records += self._encoded(spans)
            if overflow := records[:-MAX_PENDING]:
                del records[: len(overflow)]
                self._dropped += len(overflow)
            try:
                if records:
                    self._commit(records)
            except sqlite3.OperationalError as error:  # locked by a stranger, or the disk is full: they wait
                report_in_thread(error)
                self._stopping.wait(RETRY_AFTER_S)
                self._wake.set()
                continue
            except Exception as error:  # noqa: BLE001 - the thread outlives whatever else the file is up to
                report_in_thread(error)
                self._dropped += len(records)
                self._finish(marks, committed=False)
            else:
                self._finish(marks, committed=True)
                if records:
                    self._committed(len(records))
            records = []

    def _take(self, marks: list[_Mark]) -> list[ReadableSpan]:
        spans: list[ReadableSpan] = []
        with suppress(IndexError):
            while len(spans) < MAX_PENDING:
                item = self._pending.popleft()
                if isinstance(item, _Mark):
                    marks.append(item)
                else:
                    spans.append(item)
        if self._pending:
            self._wake.set()
        return spans

    def _encoded(self, spans: Sequence[ReadableSpan]) -> list[otlp.Record]:
        """Encode; a span that cannot be is dropped alone."""
        try:
            return otlp.encode(spans)
        except Exception as error:  # noqa: BLE001 - the encoder raises what protobuf and the SDK raise
            if len(spans) == 1:
                report_in_thread(error)
                self._give_up(spans)
                return []
        return [record for span in spans for record in self._encoded([span])]

    def _give_up(self, items: Sequence[ReadableSpan | _Mark]) -> None:
        for item in items:
            if isinstance(item, _Mark):
                self._finish([item], committed=False)
            else:
                self._dropped += 1

    @staticmethod
    def _finish(marks: list[_Mark], *, committed: bool) -> None:
        for mark in marks:
            mark.committed = committed
            mark.done.set()
        marks.clear()

    def _commit(self, records: Sequence[otlp.Record]) -> None:
        try:
            with self._lock, self._database as database:
                for record in records:
                    cursor = database.execute(
                        "INSERT INTO records (signal, resource, scope, trace_id, span_id, parent_id, session_id, name,"
                        " start_ns, end_ns, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (
                            TRACES,
                            self._envelope(record.resource),
                            self._envelope(record.scope),
                            record.trace_id,
                            record.span_id,
                            record.parent_id,
                            record.session_id,
                            record.name,
                            record.start_ns,
                            record.end_ns,
                            record.body,
                        ),
                    )
                    if self._queue_for_sending:
                        database.execute(
                            "INSERT INTO outbox (record, owner) VALUES (?, ?)", (cursor.lastrowid, self._owner.name)
                        )
        except BaseException:
            self._envelopes.clear()  # they may have been rolled back
            raise

    def _envelope(self, body: bytes) -> int:
        if (known := self._envelopes.get(body)) is not None:
            return known
        self._database.execute("INSERT OR IGNORE INTO envelopes (body) VALUES (?)", (body,))
        found: int = self._database.execute("SELECT id FROM envelopes WHERE body = ?", (body,)).fetchone()[0]
        self._envelopes[body] = found
        return found

    def _committed(self, count: int) -> None:
        self._written += count
        self.on_commit()
        self._since_prune += count
        if self._since_prune >= PRUNE_EVERY_RECORDS:
            self._since_prune = 0
            self.prune(self._max_bytes)

    def prune(self, max_bytes: int) -> int:
        """Drop the oldest records until the content fits; returns how many unsent ones were lost by it."""
        lost = 0
        try:
            with self._lock:
                while self._used_bytes() > max_bytes and (dropped := self._drop_oldest()) is not None:
                    lost += dropped
        except sqlite3.Error as error:
            report_in_thread(error)
        if lost:
            self._dropped += lost
            logger.warning("the store is full (%d bytes): the oldest %d unsent spans were dropped", max_bytes, lost)
        return lost

    def _drop_oldest(self) -> int | None:
        with self._database as database:
            (limit,) = database.execute(
                "SELECT max(id) FROM (SELECT id FROM records ORDER BY id LIMIT ?)", (PRUNE_STEP_RECORDS,)
            ).fetchone()
            if limit is None:
                return None
            unsent = database.execute("DELETE FROM outbox WHERE record <= ? AND rejected IS NULL", (limit,)).rowcount
            database.execute("DELETE FROM outbox WHERE record <= ?", (limit,))
            database.execute("DELETE FROM records WHERE id <= ?", (limit,))
        return unsent

    def _used_bytes(self) -> int:
        pages, free, size = (
            self._database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    # --- sending ----------------------------------------------------------------------------------------------------

    def next_batch(self, max_records: int, max_bytes: int) -> Batch | None:
        """The oldest spans that wait to be sent, as one request; None where none do."""
        with self._lock:
            rows = self._database.execute(
                "SELECT r.id, resource.body, scope.body, r.body FROM outbox o JOIN records r ON r.id = o.record"
                " JOIN envelopes resource ON resource.id = r.resource JOIN envelopes scope ON scope.id = r.scope"
                " WHERE o.owner = ? AND o.rejected IS NULL AND r.signal = ? ORDER BY o.record LIMIT ?",
                (self._owner.name, TRACES, max_records),
            ).fetchall()
        size = 0
        taken: list[tuple[int, bytes, bytes, bytes]] = []
        for row in rows:
            size += len(row[3])
            if taken and size > max_bytes:
                break
            taken.append(row)
        return Batch([row[0] for row in taken], otlp.request(row[1:] for row in taken)) if taken else None

    def accepted(self, batch: Batch) -> None:
        """The receiver has them."""
        with self._lock, self._database as database:
            database.executemany("DELETE FROM outbox WHERE record = ?", [(record,) for record in batch.ids])

    def rejected(self, batch: Batch, reason: str) -> None:
        """The receiver will never take them: set them aside with its reason."""
        with self._lock, self._database as database:
            database.executemany(
                "UPDATE outbox SET rejected = ? WHERE record = ?", [(reason, record) for record in batch.ids]
            )

    def stats(self) -> StoreStats:
        """Counts, and what waits."""
        with self._lock:
            queued, rejected = self._database.execute(
                "SELECT count(*) FILTER (WHERE rejected IS NULL), count(*) FILTER (WHERE rejected IS NOT NULL)"
                " FROM outbox WHERE owner = ?",
                (self._owner.name,),
            ).fetchone()
        return StoreStats(
            self._written, self._dropped, queued + len(self._pending), rejected, in_memory=self.path is None
        )

    @contextmanager
    def locked(self) -> Iterator[sqlite3.Connection]:
        """The store's own connection, while nobody else uses it: for reading one that is in memory."""
        with self._lock:
            yield self._database

    def _adopt(self) -> None:
        """Take over what processes left unsent that are gone; who does not send leaves it to those who do."""
        if not self._queue_for_sending:
            return
        with self._lock, self._database as database:
            owners = database.execute(
                "SELECT DISTINCT owner FROM outbox WHERE owner != ?", (self._owner.name,)
            ).fetchall()
            for owner in self._owner.gone([name for (name,) in owners]):
                database.execute("UPDATE outbox SET owner = ? WHERE owner = ?", (self._owner.name, owner))


def _open(path: Path | None) -> tuple[sqlite3.Connection, Path | None]:
    if path is not None:
        try:
            return open_for_writing(path), path
        except StoreError as error:
            logger.warning("no store (%s): traces are kept in memory until the process ends", error)
    return open_in_memory(), None


def _nothing() -> None:
    return None
