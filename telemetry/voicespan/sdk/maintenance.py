"""Looking after a store from outside of the processes that use it: what `voicespan store` does."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from voicespan.sdk.database import open_for_writing, reading, store_errors
from voicespan.sdk.owner import living_owners
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import size_on_disk
from voicespan.sdk.tables import Tables

# Nobody's lock has this name, so whoever sends next, or sends now, adopts what it owns.
REPLAY = "replay"
PRUNE_STEP_RECORDS = 1_000


@dataclass(frozen=True, slots=True)
class SignalStatus:
    """One signal's records. Ages are in seconds; None where nothing waits."""

    signal: Signal
    records: int
    queued: int
    oldest_queued_age_s: float | None
    rejected: int


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What is in a store, and how many processes have it open."""

    path: str
    size_bytes: int
    processes: int
    open_sessions: int
    signals: list[SignalStatus]

    @property
    def rejected(self) -> int:
        """Records that are set aside."""
        return sum(signal.rejected for signal in self.signals)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Records that were refused for one reason. Times are Unix seconds."""

    signal: Signal
    reason: str
    records: int
    oldest_s: int
    newest_s: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning did. `waiting` records would have gone too, had they not still to be sent."""

    records: int
    forgotten_rejections: int
    waiting: int
    size_before_bytes: int
    size_after_bytes: int


def status(path: Path) -> StoreStatus:
    """Count what a store holds.

    Raises:
        FileNotFoundError: there is none.
        StoreError: it is no store, or cannot be read.
    """
    now_s = time.time()
    with reading(path) as database:
        records = dict(database.execute("SELECT signal, count(*) FROM records GROUP BY signal").fetchall())
        outbox = {
            row[0]: row[1:]
            for row in database.execute(
                "SELECT o.signal, count(*) FILTER (WHERE rejected IS NULL),"
                " min(coalesce(r.written_s, r.end_ns / 1000000000)) FILTER (WHERE rejected IS NULL),"
                " count(*) FILTER (WHERE rejected IS NOT NULL)"
                " FROM outbox o JOIN records r ON r.id = o.record GROUP BY o.signal"
            )
        }
        (open_sessions,) = database.execute("SELECT count(DISTINCT session_id) FROM open_spans").fetchone()
    signals = []
    for signal in Signal:
        queued, oldest_s, rejected = outbox.get(signal, (0, None, 0))
        age_s = None if oldest_s is None else max(0.0, now_s - oldest_s)
        signals.append(SignalStatus(signal, records.get(signal, 0), queued, age_s, rejected))
    return StoreStatus(str(path), size_on_disk(path), len(living_owners(path)), open_sessions, signals)


def rejections(path: Path) -> list[Rejection]:
    """What was refused and why, the most first.

    Raises:
        FileNotFoundError: there is no store.
        StoreError: it is no store, or cannot be read.
    """
    with reading(path) as database:
        rows = database.execute(
            "SELECT o.signal, o.rejected, count(*), min(coalesce(r.written_s, r.end_ns / 1000000000)),"
            " max(coalesce(r.written_s, r.end_ns / 1000000000)) FROM outbox o JOIN records r ON r.id = o.record"
            " WHERE o.rejected IS NOT NULL GROUP BY o.signal, o.rejected ORDER BY count(*) DESC"
        ).fetchall()
    return [Rejection(Signal(row[0]), *row[1:]) for row in rows]


def replay(path: Path, signal: Signal | None = None) -> int:
    """Queue again what was refused, all or one signal's; who sends takes it within seconds. Returns how many.

    Raises:
        FileNotFoundError: there is no store.
        StoreError: it is no store, or cannot be written.
    """
    with _writing(path) as database, database:
        return database.execute(
            "UPDATE outbox SET rejected = NULL, owner = ? WHERE rejected IS NOT NULL AND (? IS NULL OR signal = ?)",
            (REPLAY, signal, signal),
        ).rowcount


def prune(path: Path, max_bytes: int | None, max_age_s: float | None, *, forget_rejections: bool) -> Pruned:
    """Delete the oldest records beyond a size or an age, and give the space back; what still has to be sent stays.

    With `forget_rejections` what was refused counts as history from now on.

    Raises:
        FileNotFoundError: there is no store.
        StoreError: it is no store, or cannot be written.
    """
    before_bytes = size_on_disk(path)
    with _writing(path) as database:
        tables = Tables(database, REPLAY)
        forgotten = records = 0
        if forget_rejections:
            with database:
                forgotten = database.execute("DELETE FROM outbox WHERE rejected IS NOT NULL").rowcount
        before_s = None if max_age_s is None else time.time() - max_age_s
        while before_s is not None and (deleted := _delete_oldest(database, before_s)):
            records += deleted
        while max_bytes is not None and tables.used_bytes() > max_bytes and (deleted := _delete_oldest(database, None)):
            records += deleted
        full = max_bytes is not None and tables.used_bytes() > max_bytes
        waiting = _waiting(database, before_s, full=full)
        # In use, or no room for it: the space is not given back, but used again.
        with suppress(sqlite3.OperationalError):
            if records:
                database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Pruned(records, forgotten, waiting, before_bytes, size_on_disk(path))


def _delete_oldest(database: sqlite3.Connection, before_s: float | None) -> int:
    with database:
        return database.execute(
            "DELETE FROM records WHERE id IN (SELECT r.id FROM records r LEFT JOIN outbox o ON o.record = r.id"
            " WHERE o.record IS NULL AND (? IS NULL OR coalesce(r.written_s, r.end_ns / 1000000000) < ?)"
            " ORDER BY r.id LIMIT ?)",
            (before_s, before_s, PRUNE_STEP_RECORDS),
        ).rowcount


def _waiting(database: sqlite3.Connection, before_s: float | None, *, full: bool) -> int:
    """How many records are over a bound and stay because of the outbox."""
    if not full and before_s is None:
        return 0
    (count,) = database.execute(
        "SELECT count(*) FROM outbox o JOIN records r ON r.id = o.record"
        " WHERE ? OR coalesce(r.written_s, r.end_ns / 1000000000) < ?",
        (full, before_s),
    ).fetchone()
    return int(count)


@contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise FileNotFoundError(f"no store yet: {path} does not exist (VOICESPAN_STORE_PATH names another file)")
    with closing(open_for_writing(path)) as database, store_errors(path, "written", "damaged"):
        yield database
