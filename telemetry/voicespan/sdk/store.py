"""One file, one truth: ended spans in one SQLite file, and the outbox of what a receiver has not yet accepted.

`records` is insert-only; `outbox` is narrow, so that accepting a span does not rewrite it. One writer thread per
process encodes and commits every few milliseconds; the event loop only appends to a queue. Several processes may
share the file: each sends what it wrote, and adopts what a process left behind that no longer holds its lock.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan

from voicespan.guard import report_in_thread
from voicespan.sdk import otlp

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS prefixes (id INTEGER PRIMARY KEY, body BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY,
    resource INTEGER NOT NULL REFERENCES prefixes(id),
    scope INTEGER NOT NULL REFERENCES prefixes(id),
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    parent_id TEXT NOT NULL,
    session_id TEXT,
    name TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS records_by_trace ON records (trace_id);
CREATE INDEX IF NOT EXISTS records_by_session ON records (session_id) WHERE session_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS outbox (
    record INTEGER PRIMARY KEY REFERENCES records(id),
    owner TEXT NOT NULL,
    rejected TEXT
);
"""

# Spans waiting to be written; at 2,000 spans a second this is four seconds of a disk that does not answer.
MAX_PENDING = 8192
COMMIT_EVERY_S = 0.005
PRUNE_EVERY_RECORDS = 2_000

logger = logging.getLogger(__name__)


class StoreError(Exception):
    """The file cannot be used as a store; the message says what to do."""


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


def open_database(path: Path) -> sqlite3.Connection:
    """Open, and where needed make, a store's database.

    Raises:
        StoreError: the file is no store, or was written by a newer version.
        sqlite3.Error, OSError: it cannot be opened or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return _prepare(sqlite3.connect(path, timeout=5, check_same_thread=False), str(path))


def _prepare(database: sqlite3.Connection, where: str) -> sqlite3.Connection:
    try:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(f"{where} was written by a newer Voicespan (schema {version}): upgrade, or move it away")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(_SCHEMA)
        database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    except sqlite3.DatabaseError as error:
        database.close()
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise StoreError(f"{where} is not a Voicespan store ({error}): move it away") from error
    except StoreError:
        database.close()
        raise
    return database


class Store:
    """The spans of this host. `path=None`, or a place that cannot be written, keeps them in memory and says so."""

    def __init__(self, path: Path | None, *, queue_for_sending: bool, max_bytes: int = 512 << 20) -> None:
        self._queue_for_sending = queue_for_sending
        self._max_bytes = max_bytes
        self._pending: deque[ReadableSpan] = deque()
        self._wake = threading.Event()
        self._stop = False
        self._lock = threading.Lock()
        self._prefixes: dict[bytes, int] = {}
        self._written = self._dropped = self._since_prune = 0
        self.on_commit: Callable[[], None] = _nothing
        self._database, self.path = self._open(path)
        self.owner = uuid.uuid4().hex
        self._owner_lock = self._hold_lock()
        self._adopt()
        self._idle = threading.Event()
        self._idle.set()
        self._writer = threading.Thread(target=self._write_forever, name="voicespan-store", daemon=True)
        self._writer.start()

    # --- writing ----------------------------------------------------------------------------------------------------

    def append(self, span: ReadableSpan) -> None:
        """Take an ended span. Never waits; beyond `MAX_PENDING` the oldest is dropped and counted."""
        if len(self._pending) >= MAX_PENDING:
            with suppress(IndexError):
                self._pending.popleft()
                self._dropped += 1
        self._idle.clear()
        self._pending.append(span)
        self._wake.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was appended is committed; False where that took longer."""
        return self._idle.wait(timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Commit what was appended and let go of the file."""
        self.flush(timeout_s)
        self._stop = True
        self._wake.set()
        self._writer.join(timeout_s)
        with self._lock:
            self._database.close()
        if self._owner_lock is not None:
            Path(self._owner_lock[1]).unlink(missing_ok=True)
            os.close(self._owner_lock[0])

    def _write_forever(self) -> None:
        while not self._stop:
            self._wake.wait()
            self._wake.clear()
            time.sleep(COMMIT_EVERY_S)  # gather what ends together
            spans = [self._pending.popleft() for _ in range(len(self._pending))]
            if spans:
                try:
                    self._write(otlp.encode(spans))
                except Exception as error:  # noqa: BLE001 - the thread outlives a full disk and a span it cannot encode
                    self._dropped += len(spans)
                    report_in_thread(error)
                else:
                    self._written += len(spans)
                    self.on_commit()
            if not self._pending:
                self._idle.set()
                if self._pending:  # one arrived in between
                    self._idle.clear()
                    self._wake.set()

    def _write(self, records: Sequence[otlp.Record]) -> None:
        with self._lock, self._database as database:
            for record in records:
                cursor = database.execute(
                    "INSERT INTO records (resource, scope, trace_id, span_id, parent_id, session_id, name, start_ns,"
                    " end_ns, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        self._prefix(record.resource),
                        self._prefix(record.scope),
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
                    database.execute("INSERT INTO outbox (record, owner) VALUES (?, ?)", (cursor.lastrowid, self.owner))
        self._since_prune += len(records)
        if self._since_prune >= PRUNE_EVERY_RECORDS:
            self._since_prune = 0
            self.prune(self._max_bytes)

    def _prefix(self, body: bytes) -> int:
        if (known := self._prefixes.get(body)) is not None:
            return known
        self._database.execute("INSERT OR IGNORE INTO prefixes (body) VALUES (?)", (body,))
        found: int = self._database.execute("SELECT id FROM prefixes WHERE body = ?", (body,)).fetchone()[0]
        self._prefixes[body] = found
        return found

    def prune(self, max_bytes: int) -> int:
        """Drop the oldest records until the content fits; returns how many unsent ones were lost by it."""
        lost = 0
        with self._lock:
            while self._used_bytes() > max_bytes:
                with self._database as database:
                    (limit,) = database.execute("SELECT max(id) FROM (SELECT id FROM records LIMIT 200)").fetchone()
                    if limit is None:
                        break
                    lost += database.execute(
                        "DELETE FROM outbox WHERE record <= ? AND rejected IS NULL", (limit,)
                    ).rowcount
                    database.execute("DELETE FROM outbox WHERE record <= ?", (limit,))
                    database.execute("DELETE FROM records WHERE id <= ?", (limit,))
        if lost:
            self._dropped += lost
            logger.warning("the store is full (%d bytes): the oldest %d unsent spans were dropped", max_bytes, lost)
        return lost

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
                "SELECT r.id, p.body, s.body, r.body FROM outbox o JOIN records r ON r.id = o.record"
                " JOIN prefixes p ON p.id = r.resource JOIN prefixes s ON s.id = r.scope"
                " WHERE o.owner = ? AND o.rejected IS NULL ORDER BY r.id LIMIT ?",
                (self.owner, max_records),
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
                (self.owner,),
            ).fetchone()
        return StoreStats(
            self._written, self._dropped, queued + len(self._pending), rejected, in_memory=self.path is None
        )

    # --- the file and who uses it -------------------------------------------------------------------------------------

    @staticmethod
    def _open(path: Path | None) -> tuple[sqlite3.Connection, Path | None]:
        if path is not None:
            try:
                return open_database(path), path
            except (sqlite3.Error, OSError, StoreError) as error:
                logger.warning("no store at %s (%s): traces are kept in memory until the process ends", path, error)
        return _prepare(sqlite3.connect(":memory:", check_same_thread=False), "memory"), None

    def _hold_lock(self) -> tuple[int, str] | None:
        """Hold a lock for the life of the process: who is alive is told by it, not by a clock."""
        if self.path is None:
            return None
        lock_path = f"{self.path}.{self.owner}.lock"
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor, lock_path

    def _adopt(self) -> None:
        """Take over what processes left unsent that hold no lock any more."""
        with self._lock, self._database as database:
            owners = database.execute("SELECT DISTINCT owner FROM outbox WHERE owner != ?", (self.owner,)).fetchall()
            for (owner,) in owners:
                if self.path is not None and _is_alive(Path(f"{self.path}.{owner}.lock")):
                    continue
                database.execute("UPDATE outbox SET owner = ? WHERE owner = ?", (self.owner, owner))


def _is_alive(lock_path: Path) -> bool:
    try:
        descriptor = os.open(lock_path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        lock_path.unlink(missing_ok=True)
        return False
    finally:
        os.close(descriptor)


def _nothing() -> None:
    return None
