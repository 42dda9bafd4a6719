"""The writer: one thread per process that encodes what the event loop appends, and has it committed."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import ReadableSpan

from voicespan.guard import report_in_thread
from voicespan.sdk import otlp
from voicespan.sdk.journal import OpenSpan
from voicespan.sdk.records import Record
from voicespan.sdk.signals import Signal

# Items waiting to be written; at 2,000 spans a second this is four seconds of a disk that does not answer.
MAX_PENDING = 8192
# Encoded and committed at once: what more there is would wait too long for its turn.
MAX_TAKEN = 256
COMMIT_EVERY_S = 0.005
# An event loop lets go of the interpreter's lock with each read, and waits for a switch interval to have it back from a
# thread that computes: beside one it does next to nothing. So between its steps the writer stands back, unless it has
# but a few records: these are done in less time, and a processor that slept forgets what it takes to do them.
STAND_BACK_S = 0.001
FEW = 8
RETRY_AFTER_S = 0.5
LOG_DROPS_EVERY_S = 60.0

Item = ReadableSpan | ReadableLogRecord | Record | OpenSpan

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Work:
    """What is encoded and not yet on disk: records, open spans to note, ended ones to strike off."""

    records: list[Record] = field(default_factory=list)
    opened: dict[str, Record] = field(default_factory=dict)  # by the span's id
    ended: set[tuple[str, str]] = field(default_factory=set)  # ids of the trace and of the span

    def __bool__(self) -> bool:
        return bool(self.records or self.opened or self.ended)

    def add(self, records: Sequence[Record], opened: Sequence[Record], noted: Collection[str]) -> None:
        """More of it. What begins and ends before anybody wrote it down is only written as ended."""
        self.records += records
        self.opened.update((record.span_id, record) for record in opened)
        for record in records:
            if record.signal is Signal.TRACES:
                self.opened.pop(record.span_id, None)
                if record.span_id in noted:
                    self.ended.add((record.trace_id, record.span_id))

    def take_one(self) -> Work:
        """The first of it: a record and what ends with that, else an open span, or what is left."""
        if self.records:
            record = self.records.pop(0)
            ended = self.ended & {(record.trace_id, record.span_id)}
            self.ended -= ended
            return Work([record], {}, ended)
        if self.opened:
            span_id = next(iter(self.opened))
            return Work([], {span_id: self.opened.pop(span_id)})
        ended, self.ended = self.ended, set()
        return Work([], {}, ended)

    def put_back(self, one: Work) -> None:
        """What was taken could not be written yet."""
        self.records[:0] = one.records
        self.opened = {**one.opened, **self.opened}
        self.ended |= one.ended


@dataclass(slots=True)
class _Mark:
    """A place in the queue: done when all that was before it is committed, or given up."""

    done: threading.Event = field(default_factory=threading.Event)
    committed: bool = True


class Writer:
    """Has `commit` called with what was appended, and `keep_house` after as many seconds as it asked for last time.

    Both are called in its thread.
    """

    def __init__(self, commit: Callable[[Work], None], keep_house: Callable[[], float]) -> None:
        self.dropped = 0
        self.failing = False
        self._commit = commit
        self._keep_house = keep_house
        self._pending: deque[tuple[Item, ...] | _Mark] = deque()
        self._noted: set[str] = set()  # ids of our open spans that are in the journal
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._told_s = float("-inf")
        self._thread = threading.Thread(target=self._write_forever, name="voicespan-store", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def append(self, items: tuple[Item, ...]) -> None:
        """Take items that are to be committed together. Never waits; beyond `MAX_PENDING` the oldest go."""
        if len(self._pending) >= MAX_PENDING:
            with suppress(IndexError):
                self._give_up(self._pending.popleft())
        self._pending.append(items)
        if not self._wake.is_set():  # which costs less than to set it again
            self._wake.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was appended is committed; False where that took longer, or could not be done."""
        mark = _Mark()
        self._pending.append(mark)
        self._wake.set()
        return mark.done.wait(timeout_s) and mark.committed

    def stop(self, timeout_s: float) -> None:
        """Commit what was appended and end the thread."""
        self.flush(timeout_s)
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def _write_forever(self) -> None:
        work = _Pass(Work(), [])
        house_at_s = time.monotonic()
        while not self._stopping.is_set():
            self._wake.wait(max(0.0, house_at_s - time.monotonic()))
            if time.monotonic() >= house_at_s:
                house_at_s = time.monotonic() + self._keep_house()
            if not self._wake.is_set():
                continue
            time.sleep(COMMIT_EVERY_S)  # gather what ends together
            self._wake.clear()  # what comes from now on is the next pass's
            self._take_into(work)
            _stand_back(len(work.work.records))
            if self._write(work):
                work = _Pass(Work(), [])
            else:
                self._stopping.wait(RETRY_AFTER_S)
                self._wake.set()
        if lost := len(work.work.records):
            self.dropped += lost
            logger.warning("the store could not be written to the end: %d records are lost", lost)

    def _take_into(self, taken: _Pass) -> None:
        items: list[Item] = []
        with suppress(IndexError):
            while len(items) < MAX_TAKEN:
                item = self._pending.popleft()
                if isinstance(item, _Mark):
                    taken.marks.append(item)
                else:
                    items += item
        if self._pending:
            self._wake.set()
        records = self._encoded([item for item in items if not isinstance(item, OpenSpan)])
        _stand_back(len(records))
        taken.work.add(records, self._encoded(_still_open(items)), self._noted)
        if overflow := taken.work.records[:-MAX_PENDING]:
            del taken.work.records[: len(overflow)]
            self._drop(len(overflow))

    def _write(self, taken: _Pass) -> bool:
        """False where it is to be tried again."""
        committed = True
        try:
            if taken.work:
                committed = self._committed(taken)
        except sqlite3.OperationalError as error:  # locked by a stranger, or the disk is full: they wait
            if not self.failing:
                self.failing = True
                waiting = len(taken.work.records)
                logger.warning("the store cannot be written (%s): %d records wait in memory", error, waiting)
            return False
        self.failing = False
        for mark in taken.marks:
            mark.committed = committed
            mark.done.set()
        return True

    def _committed(self, taken: _Pass) -> bool:
        """Commit it together or, where that cannot be done, one by one: what cannot be stored is dropped alone.

        Raises:
            sqlite3.OperationalError: what is left of it is to be tried again.
        """
        if not taken.apart:
            try:
                self._commit_and_note(taken.work)
            except sqlite3.OperationalError:
                raise
            except Exception:  # noqa: BLE001 - it is told of what it was that alone
                taken.apart = True
            else:
                return True
        while taken.work:
            one = taken.work.take_one()
            try:
                self._commit_and_note(one)
            except sqlite3.OperationalError:
                taken.work.put_back(one)
                raise
            except Exception as error:  # noqa: BLE001 - the thread outlives whatever else the file is up to
                report_in_thread(error)
                self._drop(len(one.records))
                taken.whole = False
        return taken.whole

    def _commit_and_note(self, work: Work) -> None:
        self._commit(work)
        self._noted.update(work.opened)
        self._noted.difference_update(span_id for _, span_id in work.ended)

    def _encoded(self, items: Sequence[Item]) -> list[Record]:
        """Encode; what cannot be is dropped alone."""
        try:
            logs = [item for item in items if isinstance(item, ReadableLogRecord)]
            return [
                *otlp.encode(item for item in items if isinstance(item, ReadableSpan)),
                *(otlp.encode_log_records(logs) if logs else ()),  # most batches have none
                *(item for item in items if isinstance(item, Record)),
                *(otlp.encode_as(item.span, item.attributes) for item in items if isinstance(item, OpenSpan)),
            ]
        except Exception as error:  # noqa: BLE001 - the encoder raises what protobuf and the SDK raise
            if len(items) == 1:
                report_in_thread(error)
                self._drop(1)
                return []
        return [record for item in items for record in self._encoded([item])]

    def _give_up(self, taken: tuple[Item, ...] | _Mark) -> None:
        if isinstance(taken, _Mark):
            taken.committed = False
            taken.done.set()
        else:
            self._drop(sum(not isinstance(item, OpenSpan) for item in taken))

    def _drop(self, count: int) -> None:
        self.dropped += count
        if count and time.monotonic() - self._told_s >= LOG_DROPS_EVERY_S:
            self._told_s = time.monotonic()
            logger.warning("the store cannot keep up: the oldest records are dropped (%d so far)", self.dropped)


def _stand_back(records: int) -> None:
    if records > FEW:
        time.sleep(STAND_BACK_S)


def _still_open(items: Sequence[Item]) -> list[OpenSpan]:
    """What began, or went on, and has not ended: each once, as it was noted last."""
    notes = {id(item.span): item for item in items if isinstance(item, OpenSpan)}
    ended = {context.span_id for item in items if isinstance(item, ReadableSpan) and (context := item.context)}
    return [note for note in notes.values() if (context := note.span.context) and context.span_id not in ended]


@dataclass(slots=True)
class _Pass:
    """Work on its way to disk, and the places in the queue that are done with it."""

    work: Work
    marks: list[_Mark]
    apart: bool = False
    whole: bool = True
