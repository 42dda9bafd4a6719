"""Recordings for Langfuse, by way of the store: WAV files made in a thread, sent like everything else, then deleted."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from voicespan.guard import report_in_thread
from voicespan.recording import Clip, Kept, TurnSound
from voicespan.sdk.records import Record
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store
from voicespan.sdk.upload import token
from voicespan.wav import HEADER_BYTES

# Audio on its way to the store: two hundred usual turns.
MAX_PENDING_BYTES = 64 << 20
LOG_DROPS_EVERY_S = 60.0

logger = logging.getLogger(__name__)


class Media:
    """The `Recordings` of a pipeline."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._begin()
        store.on_fork(self._begin)  # where the thread is not

    def _begin(self) -> None:
        self.dropped = 0
        self._lock = threading.Lock()
        self._pending_bytes = 0
        self._told_s = float("-inf")
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="voicespan-media")

    def keep(self, sound: TurnSound) -> Future[Sequence[Kept]]:
        """Take a turn's sound; never waits. Where the store cannot take it, nothing is kept, which is counted."""
        size = sum(clip.size_bytes for clip in sound.clips)
        with self._lock:
            room = self._pending_bytes + size <= MAX_PENDING_BYTES
            if room and self._store.writing:
                self._pending_bytes += size
                return self._worker.submit(self._keep, sound, size)
            self._drop(len(sound.clips))
        nothing: Future[Sequence[Kept]] = Future()
        nothing.set_result(())
        return nothing

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was taken is with the store; False where that took longer."""
        try:
            self._worker.submit(_nothing).result(timeout_s)
        except TimeoutError:
            return False
        return True

    def _keep(self, sound: TurnSound, size: int) -> Sequence[Kept]:
        """In the worker: what fails is told and not kept."""
        try:
            return [self._store_clip(sound, clip) for clip in sound.clips]
        except Exception as error:  # noqa: BLE001 - the turn must not go without its span for want of its sound
            report_in_thread(error)
            return []
        finally:
            with self._lock:
                self._pending_bytes -= size

    def _store_clip(self, sound: TurnSound, clip: Clip) -> Kept:
        content, cut = clip.wav()
        now_ns = time.time_ns()
        self._store.append(
            Record(
                signal=Signal.MEDIA,
                resource=b"",
                scope=b"",
                body=content,
                trace_id=sound.trace_id,
                span_id=sound.span_id,
                parent_id="",
                session_id=sound.session_id,
                name=clip.side,
                start_ns=now_ns,
                end_ns=now_ns,
            )
        )
        seconds = (len(content) - HEADER_BYTES) / 2 / clip.rate_hz
        return Kept(clip.side, token(hashlib.sha256(content).digest()), seconds, cut)

    def _drop(self, count: int) -> None:
        self.dropped += count
        if time.monotonic() - self._told_s >= LOG_DROPS_EVERY_S:
            self._told_s = time.monotonic()
            logger.warning("the store cannot keep up: recordings are dropped (%d so far)", self.dropped)


def _nothing() -> None:
    pass
