"""A signal's stored records to its receiver: one thread, one request at a time, in order, until each is accepted.

What may pass is tried again, after Retry-After or a growing delay with jitter; what will not is set aside with the
receiver's reason.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass

from voicespan.guard import report_in_thread
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store
from voicespan.sdk.transport import Accepted, Again, Refused, TooLarge, Transport

# Records that come together leave together. So do those that come while a small request is on its way, and as long
# after it: a request costs as much as ten turns' records. None waits for more than this and the request before: it
# leaves within half a second.
GATHER_S = 0.4
SMALL_BYTES = 64 << 10
# Between the steps of a request that is not small, for the event loop: see the writer.
STAND_BACK_S = 0.001
MAX_RECORDS = 512
MAX_BYTES = 2 << 20
FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
MAX_RETRY_AFTER_S = 300.0
SETTLE_EVERY_S = 0.5
_NOUNS = {Signal.TRACES: "spans", Signal.LOGS: "log records", Signal.SCORES: "scores", Signal.MEDIA: "recordings"}

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class SenderStats:
    """Counts since the process began, and the last thing that went wrong."""

    sent: int = 0
    failed_posts: int = 0
    rejected: int = 0
    last_error: str = ""


class Sender:
    """Empties a store's outbox of one signal. `stop` makes one last effort, bounded in time."""

    def __init__(self, store: Store, transport: Transport, signal: Signal = Signal.TRACES) -> None:
        self.signal = signal
        self._store = store
        self._transport = transport
        self._begin()
        store.on_commit(signal, self._on_commit)
        store.on_fork(self._begin_in_child)

    def _begin(self) -> None:
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._said = ""
        self.stats = SenderStats()
        self._thread = threading.Thread(target=self._send_forever, name=f"voicespan-sender-{self.signal}", daemon=True)
        self._thread.start()
        self._wake.set()  # what an earlier process left

    def _on_commit(self) -> None:
        if not self._wake.is_set():  # which costs less than to set it again
            self._wake.set()

    def _begin_in_child(self) -> None:
        self._transport = self._transport.renewed()
        self._begin()

    def stop_soon(self) -> None:
        """Begin the last effort without waiting for it."""
        self._stopping.set()
        self._wake.set()

    def stop(self, timeout_s: float) -> bool:
        """Send what waits, for `timeout_s` seconds at most; what is left stays in the store. True where nothing is."""
        self.stop_soon()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        self._transport.close()
        return self._store.queued(self.signal) == 0

    def _send_forever(self) -> None:
        delay_s = FIRST_DELAY_S
        while True:
            self._wake.wait()
            self._stopping.wait(GATHER_S)
            self._wake.clear()  # for what is gathered; what is committed from now on wakes it again, as a stop does
            last = self._stopping.is_set()
            try:
                delay_s = self._drain(delay_s)
            except Exception as error:  # noqa: BLE001 - a broken store must not end the thread in silence
                if not self._stopping.wait(1.0):
                    self._wake.set()
                    report_in_thread(error)
            if last:
                return

    def _drain(self, delay_s: float) -> float:
        """Send until the outbox is empty; returns the delay to begin with next time."""
        limit = MAX_RECORDS
        noun = _NOUNS[self.signal]
        while batch := self._store.next_batch(self.signal, limit, MAX_BYTES):
            small = len(batch.request) < SMALL_BYTES
            if not small:
                self._stopping.wait(STAND_BACK_S)
            answer = self._transport.post(batch.request)
            if not small:
                self._stopping.wait(STAND_BACK_S)
            match answer:
                case Accepted(rejected, message):
                    self._settle(lambda: self._store.accepted(batch))
                    self.stats.sent += len(batch.ids) - rejected
                    self.stats.rejected += rejected
                    if message:
                        self._say(message, f"the receiver took a batch but for {rejected} {noun}: {message}")
                    if delay_s > FIRST_DELAY_S:
                        self._said = ""  # an outage is over; the next one is news
                    delay_s = FIRST_DELAY_S
                    limit = MAX_RECORDS
                    if small:
                        self._stopping.wait(GATHER_S)
                case TooLarge() if len(batch.ids) > 1:
                    limit = len(batch.ids) // 2
                case Refused(reason) | TooLarge(reason):
                    self._settle(lambda: self._store.rejected(batch, reason))
                    self.stats.rejected += len(batch.ids)
                    self._say(reason, f"the receiver refused {len(batch.ids)} {noun}, which are set aside: {reason}")
                case Again(reason, after_s):
                    self.stats.failed_posts += 1
                    self._say(reason, f"{noun} wait, the receiver does not take them: {reason}")
                    wait_s = min(max(after_s or 0.0, delay_s * random.uniform(0.8, 1.2)), MAX_RETRY_AFTER_S)
                    if self._stopping.wait(wait_s):
                        return delay_s  # what is left stays in the store
                    delay_s = min(delay_s * 2, MAX_DELAY_S)
        return delay_s

    def _settle(self, note: Callable[[], None]) -> None:
        """Note what became of a batch; where the file cannot be written now, later, instead of sending it again.

        Raises:
            sqlite3.Error: it could not be noted before the end; the batch will be sent again.
        """
        while True:
            try:
                return note()
            except sqlite3.OperationalError:
                if self._stopping.wait(SETTLE_EVERY_S):
                    return note()

    def _say(self, reason: str, what: str) -> None:
        """Log a fault once, not for every batch that meets it."""
        self.stats.last_error = what
        if reason != self._said:
            self._said = reason
            logger.warning(what)
