"""One file, one truth: what ended is in one SQLite file, and in its outbox until a receiver has accepted it.

One writer thread per process encodes and commits every few milliseconds; the event loop only appends to a queue.
Several processes may share the file: each sends what it wrote, and adopts what a process that is gone left behind.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import ReadableSpan

from voicespan.guard import report_in_thread
from voicespan.sdk import otlp
from voicespan.sdk.database import StoreError, open_for_writing, open_in_memory
from voicespan.sdk.journal import OpenSpan, close_for
from voicespan.sdk.owner import Owner
from voicespan.sdk.records import Record
from voicespan.sdk.signals import Signal
from voicespan.sdk.tables import Batch, Tables

# Items waiting to be written; at 2,000 spans a second this is four seconds of a disk that does not answer.
MAX_PENDING = 8192
COMMIT_EVERY_S = 0.005
RETRY_AFTER_S = 0.5
# How soon what a process left that died is taken over by one that lives.
ADOPT_EVERY_S = 2.0
PRUNE_EVERY_RECORDS = 2_000
PRUNE_EVERY_BYTES = 4 << 20
MAX_BYTES = 512 << 20
MAX_BYTES_IN_MEMORY = 64 << 20
MAX_AGE_S = 30 * 86_400
LOG_DROPS_EVERY_S = 60.0

Item = ReadableSpan | ReadableLogRecord | Record | OpenSpan
SpanId = tuple[str, str]  # of the trace, of the span

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Counts since the process began, and what waits or is set aside now."""

    written: int
    dropped: int
    recovered_sessions: int
    queued: int
    rejected: int
    in_memory: bool


@dataclass(slots=True)
class _Mark:
    """A place in the queue: done when all that was before it is committed, or given up."""

    done: threading.Event = field(default_factory=threading.Event)
    committed: bool = True


@dataclass(slots=True)
class _Work:
    """What is encoded and not yet on disk: records, open spans to note, ended ones to strike off."""

    records: list[Record] = field(default_factory=list)
    opened: dict[SpanId, Record] = field(default_factory=dict)
    ended: set[SpanId] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.records or self.opened or self.ended)

    def add(self, records: Sequence[Record], opened: Sequence[Record], noted: set[SpanId]) -> None:
        """More of it. What begins and ends before anybody wrote it down is only written as ended."""
        self.records += records
        self.opened.update(((record.trace_id, record.span_id), record) for record in opened)
        for record in records:
            if record.signal is Signal.TRACES:
                span_id = (record.trace_id, record.span_id)
                self.opened.pop(span_id, None)
                if span_id in noted:
                    self.ended.add(span_id)


class Store:
    """The records of this host. A `path` that cannot be written keeps them in memory and says so; None just does.

    `send` names the signals that somebody sends: their records wait in the outbox.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        send: Collection[Signal] = (),
        max_bytes: int = MAX_BYTES,
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        self._send = frozenset(send)
        self._pending: deque[tuple[Item, ...] | _Mark] = deque()
        self._noted: set[SpanId] = set()  # our open spans that are in the journal
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._written = self._dropped = self._recovered = self._since_prune = self._bytes_since_prune = 0
        self._queued: Counter[Signal] = Counter()
        self._told_s = float("-inf")
        self._said = ""
        self._listeners: list[tuple[Signal, Callable[[], None]]] = []
        database, self.path = _open(path)
        self._max_bytes = max_bytes if self.path else min(max_bytes, MAX_BYTES_IN_MEMORY)
        self._max_age_s = max_age_s
        self._owner = Owner(self.path)
        self._tables = Tables(database, self._owner.name)
        self._adopt()
        self.prune(self._max_bytes, self._max_age_s)
        self._writer = threading.Thread(target=self._write_forever, name="voicespan-store", daemon=True)
        self._writer.start()

    def on_commit(self, signal: Signal, listener: Callable[[], None]) -> None:
        """Have `listener` called, in the writer's thread, when there is something of a signal to send."""
        self._listeners.append((signal, listener))

    # --- writing ----------------------------------------------------------------------------------------------------

    def append(self, *items: Item) -> None:
        """Take what ended, or began; what is given together is committed together.

        Never waits; beyond `MAX_PENDING` the oldest is dropped and counted.
        """
        if len(self._pending) >= MAX_PENDING:
            with suppress(IndexError):
                self._give_up(self._pending.popleft())
        self._pending.append(items)
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
            self._tables.database.close()
        self._owner.release()

    def _write_forever(self) -> None:
        work = _Work()
        marks: list[_Mark] = []
        adopt_at_s = time.monotonic() + ADOPT_EVERY_S
        while not self._stopping.is_set():
            self._wake.wait(ADOPT_EVERY_S)
            if time.monotonic() >= adopt_at_s:
                self._keep_house()
                adopt_at_s = time.monotonic() + ADOPT_EVERY_S
            if not self._wake.is_set():
                continue
            self._wake.clear()
            time.sleep(COMMIT_EVERY_S)  # gather what ends together
            items = self._take(marks)
            opened = [item.frozen() for item in items if isinstance(item, OpenSpan)] if self.path else []
            work.add(self._encoded(items), self._encoded(opened), self._noted)
            if overflow := work.records[:-MAX_PENDING]:
                del work.records[: len(overflow)]
                self._drop(len(overflow))
            try:
                if work:
                    self._commit(work)
            except sqlite3.OperationalError as error:  # locked by a stranger, or the disk is full: they wait
                waiting = len(work.records)
                self._say(f"the store cannot be written ({error}): {waiting} records wait in memory: {self.path}")
                self._stopping.wait(RETRY_AFTER_S)
                self._wake.set()
                continue
            except Exception as error:  # noqa: BLE001 - the thread outlives whatever else the file is up to
                report_in_thread(error)
                self._drop(len(work.records))
                self._finish(marks, committed=False)
            else:
                self._said = ""
                self._finish(marks, committed=True)
                if work.records:
                    self._committed(work.records)
            work = _Work()

    def _take(self, marks: list[_Mark]) -> list[Item]:
        items: list[Item] = []
        with suppress(IndexError):
            while len(items) < MAX_PENDING:
                taken = self._pending.popleft()
                if isinstance(taken, _Mark):
                    marks.append(taken)
                else:
                    items += taken
        if self._pending:
            self._wake.set()
        return items

    def _encoded(self, items: Sequence[Item]) -> list[Record]:
        """Encode what ended; what cannot be is dropped alone."""
        try:
            return [
                *otlp.encode([item for item in items if isinstance(item, ReadableSpan)]),
                *otlp.encode_log_records([item for item in items if isinstance(item, ReadableLogRecord)]),
                *(item for item in items if isinstance(item, Record)),
            ]
        except Exception as error:  # noqa: BLE001 - the encoder raises what protobuf and the SDK raise
            if len(items) == 1:
                report_in_thread(error)
                self._drop(1)
                return []
        return [record for item in items for record in self._encoded([item])]

    def _give_up(self, taken: tuple[Item, ...] | _Mark) -> None:
        if isinstance(taken, _Mark):
            self._finish([taken], committed=False)
        else:
            self._drop(sum(not isinstance(item, OpenSpan) for item in taken))

    def _drop(self, count: int) -> None:
        self._dropped += count
        if time.monotonic() - self._told_s >= LOG_DROPS_EVERY_S:
            self._told_s = time.monotonic()
            logger.warning("the store cannot keep up: the oldest records are dropped (%d so far)", self._dropped)

    def _say(self, what: str) -> None:
        if not self._said:
            self._said = what
            logger.warning(what)

    @staticmethod
    def _finish(marks: list[_Mark], *, committed: bool) -> None:
        for mark in marks:
            mark.committed = committed
            mark.done.set()
        marks.clear()

    @contextmanager
    def _transaction(self, queued: Counter[Signal] | None = None) -> Iterator[Tables]:
        """Commit what is done inside, and with it, before anybody else reads, the change in what is `queued`."""
        with self._lock:
            try:
                with self._tables.database:
                    yield self._tables
            except BaseException:
                self._tables.forget()
                raise
            self._queued.update(queued or {})

    def _commit(self, work: _Work) -> None:
        queued = Counter(record.signal for record in work.records if record.signal in self._send)
        with self._transaction(queued) as tables:
            tables.insert(work.records, self._send)
            for record in work.opened.values():
                tables.note_open(record, queued=Signal.TRACES in self._send)
            tables.close(work.ended)
        self._noted.update(work.opened)
        self._noted -= work.ended

    def _committed(self, records: Sequence[Record]) -> None:
        self._written += len(records)
        self._notify({record.signal for record in records})
        self._since_prune += len(records)
        self._bytes_since_prune += sum(len(record.body) for record in records)
        if self._since_prune >= PRUNE_EVERY_RECORDS or self._bytes_since_prune >= PRUNE_EVERY_BYTES:
            self._since_prune = self._bytes_since_prune = 0
            self.prune(self._max_bytes, self._max_age_s)

    def _notify(self, signals: Collection[Signal]) -> None:
        for signal, listener in self._listeners:
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
            self._dropped += lost
            logger.warning(
                "the store is full (%d bytes, or older than %d s): the oldest %d unsent records were dropped",
                max_bytes,
                max_age_s,
                lost,
            )
        return lost

    # --- sending ----------------------------------------------------------------------------------------------------

    def next_batch(self, signal: Signal, max_records: int, max_bytes: int) -> Batch | None:
        """The oldest records of a signal that wait to be sent, as one request; None where none do."""
        with self._lock:
            batch = self._tables.next_batch(signal, max_records, max_bytes)
            if batch is None:
                self._queued[signal] = 0  # a neighbour's pruning is not ours to count
        return batch

    def accepted(self, batch: Batch) -> None:
        """The receiver has them."""
        with self._transaction(Counter({batch.signal: -len(batch.ids)})) as tables:
            tables.accept(batch.ids)

    def rejected(self, batch: Batch, reason: str) -> None:
        """The receiver will never take them: set them aside with its reason."""
        with self._transaction(Counter({batch.signal: -len(batch.ids)})) as tables:
            tables.reject(batch.ids, reason)

    def queued(self, signal: Signal) -> int:
        """How many records of a signal wait to be sent, counted anew."""
        with self._lock:
            self._queued[signal] = self._tables.count_queued(signal)
            return self._queued[signal]

    def stats(self) -> StoreStats:
        """Counts, and what waits."""
        with self._lock:
            rejected = self._tables.count_rejected()
        queued = sum(self._queued.values()) + len(self._pending)
        return StoreStats(self._written, self._dropped, self._recovered, queued, rejected, in_memory=self.path is None)

    @contextmanager
    def locked(self) -> Iterator[sqlite3.Connection]:
        """The store's own connection, while nobody else uses it: for reading one that is in memory."""
        with self._lock:
            yield self._tables.database

    # --- neighbours -------------------------------------------------------------------------------------------------

    def _keep_house(self) -> None:
        try:
            self._adopt()
        except Exception as error:  # noqa: BLE001 - the neighbours' things must not stop our own
            report_in_thread(error)

    def _adopt(self) -> None:
        """Close the books of processes that are gone, and send what they left unsent.

        Who does not send leaves that to those who do.
        """
        with self._lock:
            senders = self._tables.senders(self._send)
            others = (senders | self._tables.owners_of_open_spans()) - {self._owner.name}
        gone = self._owner.gone(sorted(others))
        if not gone:
            return
        sends = Signal.TRACES in self._send
        with self._transaction() as tables:
            tables.database.execute("BEGIN IMMEDIATE")  # one of several neighbours; the others find it done
            for owner in gone:
                self._recovered += close_for(tables, owner, self._owner.name if sends else None)
                tables.adopt(owner, self._send)
        for signal in self._send:
            self.queued(signal)
        self._notify(self._send)


def _open(path: Path | None) -> tuple[sqlite3.Connection, Path | None]:
    if path is not None:
        try:
            return open_for_writing(path), path
        except StoreError as error:
            logger.warning("no store (%s): traces are kept in memory until the process ends", error)
    return open_in_memory(), None
