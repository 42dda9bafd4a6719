"""One file, one truth: what ended is in one SQLite file, and in its outbox until a receiver has accepted it.

One writer thread per process encodes and commits every few milliseconds; the event loop only appends to a queue.
Several processes may share the file: each sends what it wrote, and adopts what a process that is gone left behind.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from voicespan.guard import report_in_thread
from voicespan.sdk.database import StoreError, Synchronous, open_beside, open_for_writing, open_in_memory
from voicespan.sdk.journal import close_for
from voicespan.sdk.owner import Owner
from voicespan.sdk.signals import Signal
from voicespan.sdk.tables import Batch, Tables
from voicespan.sdk.writer import Item, Work, Writer

# How soon what a process left that died is taken over by one that lives.
ADOPT_EVERY_S = 2.0
# In one transaction, so that what ends meanwhile does not wait long for its own.
ADOPT_STEP_RECORDS = 1_000
PRUNE_EVERY_RECORDS = 2_000
PRUNE_EVERY_BYTES = 4 << 20
PRUNE_EVERY_S = 600.0  # for the bound in age, where little is written
MAX_BYTES = 512 << 20
MAX_BYTES_IN_MEMORY = 64 << 20
MAX_AGE_S = 30 * 86_400

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a store may keep: beyond the bytes or the age the oldest are dropped, and counted where nobody had them.

    `synchronous` is SQLite's: with FULL what is committed survives power loss too, at an fsync per commit.
    """

    max_bytes: int = MAX_BYTES
    max_age_s: float = MAX_AGE_S
    synchronous: Synchronous = "NORMAL"


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Counts since the process began, and what waits or is set aside now. Ages are in seconds."""

    written: int
    dropped: int
    recovered_sessions: int
    queued: dict[Signal, int]
    oldest_age_s: dict[Signal, float]
    size_bytes: int
    in_memory: bool
    writing: bool
    replaced: bool  # the file was deleted, or another is in its place: nothing is kept


class Store:
    """The records of this host. A `path` that cannot be written keeps them in memory and says so; None just does.

    `send` names the signals that somebody sends: their records wait in the outbox.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        send: Collection[Signal] = (),
        bounds: Bounds | None = None,
    ) -> None:
        self._send = frozenset(send)
        self._wanted = path
        self._bounds = bounds or Bounds()
        self._commit_listeners: list[tuple[Signal, Callable[[], None]]] = []
        self._fork_listeners: list[Callable[[], None]] = []
        self._closed = self._forked = False
        self._begin()
        _STORES.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._written = self._lost = self._recovered = self._since_prune = self._bytes_since_prune = 0
        self._queued: Counter[Signal] = Counter()
        self._oldest_s: dict[Signal, int] = {}
        bounds = self._bounds
        database, self._owner, self.path = _open(self._wanted, bounds.synchronous)
        self._max_bytes = bounds.max_bytes if self.path else min(bounds.max_bytes, MAX_BYTES_IN_MEMORY)
        self._tables = self._reading = Tables(database, self._owner.name)
        self._read_lock = self._lock
        if self.path:
            # Senders read hundreds of rows at a time; the writer is not to wait for them.
            self._reading = Tables(open_beside(self.path), self._owner.name)
            self._read_lock = threading.Lock()
        self._prune_at_s = float("-inf")
        self._file = _file(self.path)
        self._keep_house()
        self._writer = Writer(self._commit, self._keep_house)

    def forked(self) -> None:
        """In a forked process: nothing here may be used. It begins anew with the first that is appended, if any is."""
        self._forked, self._begins, self._beginning = True, False, threading.RLock()
        self._owner.leave_to_parent()  # or the parent would seem to live for as long as the child

    def _begin_in_child(self) -> None:
        """After a fork the thread is gone, and neither the lock nor SQLite's connection may be shared."""
        with self._beginning:
            if not self._forked or self._begins:
                return  # another thread was first; or it is this one, which logs what it meets
            self._begins = True
            try:
                _LEFT_TO_THE_PARENT.extend((self._tables.database, self._reading.database))
                self._begin()
                for listener in self._fork_listeners:
                    listener()
                self._forked = False
            finally:
                self._begins = False

    def locks(self) -> Collection[threading.Lock]:
        """Each held by whoever uses a connection of this store's, in the order in which both may be taken."""
        return dict.fromkeys((self._lock, self._read_lock))

    def on_fork(self, listener: Callable[[], None]) -> None:
        """Have `listener` called in a forked process when the store begins anew there."""
        self._fork_listeners.append(listener)

    def on_commit(self, signal: Signal, listener: Callable[[], None]) -> None:
        """Have `listener` called, in the writer's thread, when there is something of a signal to send."""
        self._commit_listeners.append((signal, listener))

    # --- writing ----------------------------------------------------------------------------------------------------

    def append(self, *items: Item) -> None:
        """Take what ended, or began; what is given together is committed together.

        Never waits; beyond a bound the oldest is dropped and counted.
        """
        if self._forked:
            self._begin_in_child()
        self._writer.append(items)

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was appended is committed; False where that took longer, or could not be done."""
        return self._forked or self._writer.flush(timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Commit what was appended and let go of the file."""
        if self._closed:
            return
        self._closed = True
        if self._forked:
            return  # all of it is the parent's
        self._writer.stop(timeout_s)
        for lock, tables in ((self._read_lock, self._reading), (self._lock, self._tables)):
            with lock:
                tables.database.close()
        self._owner.release()

    def _commit(self, work: Work) -> None:
        self._unless_damaged(lambda: self._insert(work))
        self._written += len(work.records)
        self._notify({record.signal for record in work.records})
        self._since_prune += len(work.records)
        self._bytes_since_prune += sum(len(record.body) for record in work.records)
        if self._since_prune >= PRUNE_EVERY_RECORDS or self._bytes_since_prune >= PRUNE_EVERY_BYTES:
            self._since_prune = self._bytes_since_prune = 0
            self.prune(self._max_bytes, self._bounds.max_age_s)

    def _insert(self, work: Work) -> None:
        queued = Counter(record.signal for record in work.records if record.signal in self._send)
        with self._transaction(queued) as tables:
            tables.insert(work.records, self._send)
            # In memory too, where there is nobody to read a journal: it tells what runs, and is not to be deleted.
            tables.note_open(list(work.opened.values()), queued=Signal.TRACES in self._send)
            tables.close(work.ended)

    def _unless_damaged(self, use: Callable[[], T]) -> T:
        """Use the file; where it turns out to be damaged, the memory instead."""
        try:
            return use()
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # which is what SQLite raises for a damaged file
                raise
            self._fall_back(error)
            return use()

    def _fall_back(self, error: sqlite3.DatabaseError) -> None:
        """Go on in memory. What waits in the file stays there, for whoever can repair it."""
        with self._lock:
            if self.path is None:
                return
            logger.error(
                "%s is damaged (%s): traces are kept in memory until the process ends; move the file away, "
                "what it held unsent (%d records) is in it",
                self.path,
                error,
                self._queued.total(),
            )
            with self._read_lock, suppress(sqlite3.Error):
                self._reading.database.close()
                self._tables.database.close()
            self.path = None
            self._tables = self._reading = Tables(open_in_memory(), self._owner.name)
            self._read_lock = self._lock
            self._max_bytes = min(self._max_bytes, MAX_BYTES_IN_MEMORY)
            self._queued.clear()

    @contextmanager
    def _transaction(self, queued: Counter[Signal] | None = None) -> Iterator[Tables]:
        """Commit what is done inside, and then note the change in what is `queued`."""
        with self._lock:
            try:
                with self._tables.database:
                    yield self._tables
            except BaseException:
                self._tables.forget()
                raise
            self._queued.update(queued or {})

    def _notify(self, signals: Collection[Signal]) -> None:
        for signal, listener in self._commit_listeners:
            if signal in signals:
                listener()

    def prune(self, max_bytes: int, max_age_s: float = MAX_AGE_S) -> int:
        """Drop the oldest records until the rest fits and is young enough; returns how many unsent ones were lost."""
        lost = 0
        before_s = int(time.time() - max_age_s)
        try:
            while True:
                with self._transaction() as tables:
                    full = tables.used_bytes() > max_bytes
                    dropped = tables.drop_oldest(None if full else before_s)
                if dropped is None:
                    break
                lost += dropped.unsent
                for signal, count in dropped.own_unsent.items():
                    self._queued[signal] -= count
        except sqlite3.Error as error:
            report_in_thread(error)
        if lost:
            self._lost += lost
            logger.warning(
                "the store is full (%d bytes, or older than %d s): the oldest %d unsent records were dropped",
                max_bytes,
                max_age_s,
                lost,
            )
        return lost

    def delete_session(self, session_id: str) -> int:
        """Delete all that is stored of a session, sent or not, also from the file's free pages; returns its records.

        What a sender has in its hands just then still leaves.
        """
        with self._lock:
            # What is deleted is overwritten too.
            self._tables.database.execute("PRAGMA secure_delete=ON")
        try:
            with self._transaction() as tables:
                tables.database.execute("BEGIN IMMEDIATE")  # or what fails leaves half of it done
                deleted = tables.delete_session(session_id)
        finally:
            with self._lock, suppress(sqlite3.Error):
                self._tables.database.execute("PRAGMA secure_delete=OFF")
        with self._lock, suppress(sqlite3.Error):
            # The write-ahead log still has it. Where somebody reads just now, a later checkpoint does this.
            self._tables.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for signal in self._send:
            self.queued(signal)
        return deleted

    # --- sending ----------------------------------------------------------------------------------------------------

    def next_batch(self, signal: Signal, max_records: int, max_bytes: int) -> Batch | None:
        """The oldest records of a signal that wait to be sent, as one request; None where none do."""

        def read() -> Batch | None:
            with self._read_lock:
                return self._reading.next_batch(signal, max_records, max_bytes)

        batch = self._unless_damaged(read)
        if batch is not None:
            self._oldest_s[signal] = batch.oldest_s
        else:
            self._oldest_s.pop(signal, None)
            if self._queued[signal]:
                self.queued(signal)  # a neighbour's pruning was not ours to count
        return batch

    def accepted(self, batch: Batch) -> None:
        """The receiver has them."""
        if batch.tables is not self._reading:
            return  # the file turned out to be damaged meanwhile
        with self._transaction(Counter({batch.signal: -len(batch.ids)})) as tables:
            tables.accept(batch)
            if batch.signal is Signal.MEDIA:
                tables.delete(batch)  # large, and of no use here

    def rejected(self, batch: Batch, reason: str) -> None:
        """The receiver will never take them: set them aside with its reason."""
        if batch.tables is not self._reading:
            return  # the file turned out to be damaged meanwhile
        with self._transaction(Counter({batch.signal: -len(batch.ids)})) as tables:
            tables.reject(batch, reason)

    def queued(self, signal: Signal) -> int:
        """How many records of a signal wait to be sent, counted anew."""
        if self._forked:
            return 0

        def read() -> int:
            with self._lock:
                self._queued[signal] = self._tables.count_queued(signal)
                return self._queued[signal]

        return self._unless_damaged(read)

    def stats(self) -> StoreStats:
        """Counts, and what waits; from numbers at hand, without a look into the file."""
        now_s = time.time()
        return StoreStats(
            written=self._written,
            dropped=self._lost + self._writer.dropped,
            recovered_sessions=self._recovered,
            queued={signal: max(0, self._queued[signal]) for signal in Signal if signal in self._send},
            oldest_age_s={signal: max(0.0, now_s - oldest_s) for signal, oldest_s in self._oldest_s.copy().items()},
            size_bytes=size_on_disk(self.path) if self.path else 0,
            in_memory=self.path is None,
            writing=self.writing,
            replaced=self.path is not None and self._file is None,
        )

    @property
    def writing(self) -> bool:
        """Whether what is appended gets written: the disk is not full, and nobody locks the file."""
        return self._writer.alive and not self._writer.failing

    @contextmanager
    def locked(self) -> Iterator[sqlite3.Connection]:
        """The store's own connection, while nobody else uses it: for reading one that is in memory."""
        with self._lock:
            yield self._tables.database

    # --- neighbours -------------------------------------------------------------------------------------------------

    def _keep_house(self) -> float:
        """Called by the writer now and then; returns in how many seconds it wants to be called again."""
        if self.path and self._file and _file(self.path) != self._file:
            self._file = None
            logger.error(
                "%s was deleted or replaced while it was open: what ends is sent as before, but is not kept, and what"
                " is unsent when the process ends is lost; restart the process",
                self.path,
            )
        try:
            if self._unless_damaged(self._adopt):
                return 0.0
            if time.monotonic() >= self._prune_at_s:
                self._prune_at_s = time.monotonic() + PRUNE_EVERY_S
                self.prune(self._max_bytes, self._bounds.max_age_s)
        except Exception as error:  # noqa: BLE001 - the neighbours' things must not stop our own
            report_in_thread(error)
        return ADOPT_EVERY_S

    def _adopt(self) -> bool:
        """Close the books of processes that are gone, and send what they left unsent; True while there may be more.

        In steps. Who does not send leaves that to those who do.
        """
        with self._read_lock:
            senders = self._reading.senders(self._send)
            others = (senders | self._reading.owners_of_open_spans()) - {self._owner.name}
        gone = self._owner.gone(sorted(others))
        if not gone:
            return False
        adopted = 0
        with self._transaction() as tables:
            tables.database.execute("BEGIN IMMEDIATE")  # one of several neighbours; the others find it done
            for owner in gone:
                self._recovered += close_for(tables, owner, self._owner.name, self._send)
                adopted += tables.adopt(owner, self._send, ADOPT_STEP_RECORDS)
        for signal in self._send:
            self.queued(signal)
        self._notify(self._send)
        return adopted > 0


def _file(path: Path | None) -> tuple[int, int] | None:
    """Which file a path leads to; None where it leads to none."""
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None


def size_on_disk(path: Path) -> int:
    """Bytes of a store's file and of its write-ahead log."""
    size = 0
    for name in (path.name, f"{path.name}-wal"):
        with suppress(OSError):
            size += path.with_name(name).stat().st_size
    return size


# What a forked process must neither use nor close.
_LEFT_TO_THE_PARENT: list[sqlite3.Connection] = []
_STORES: weakref.WeakSet[Store] = weakref.WeakSet()
# SQLite has locks for the whole process. A fork copies them as they stand: what a thread of the parent's held would be
# held in the child for ever. So all our threads are out of SQLite while a process forks, or it has waited this long.
FORK_WAITS_S = 1.0
_HELD: list[threading.Lock] = []


def _before_fork() -> None:
    for store in _STORES:
        _HELD.extend(lock for lock in store.locks() if lock.acquire(timeout=FORK_WAITS_S))


def _after_fork() -> None:
    while _HELD:
        _HELD.pop().release()


def _after_fork_in_child() -> None:
    _after_fork()
    for store in _STORES:
        store.forked()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


def _open(path: Path | None, synchronous: Synchronous) -> tuple[sqlite3.Connection, Owner, Path | None]:
    if path is not None:
        try:
            database = open_for_writing(path, synchronous)
            try:
                return database, Owner(path), path
            except OSError as error:
                database.close()
                raise StoreError(f"{path.parent} cannot be written: {error}") from error
        except StoreError as error:
            logger.warning("no store (%s): traces are kept in memory until the process ends", error)
    return open_in_memory(), Owner(None), None
