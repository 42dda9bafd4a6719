"""How a server ends: running calls may finish for a while, new ones are refused, a second signal ends it at once.

uvicorn closes its sockets the moment it is told to stop, so it is told later: this stands before its signal handlers.
Meanwhile the port stays open, so that a balancer reads from /readyz that this server wants no more.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from voicespan_server.undo import Undo

logger = logging.getLogger(__name__)

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Drain:
    """Counts calls, and holds back a signal to stop for `drain_s` seconds while there are any."""

    def __init__(self, drain_s: float) -> None:
        self.draining = False
        self._drain_s = drain_s
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._seen: set[int] = set()
        self._waiting: asyncio.Task[None] | None = None

    @property
    def calls(self) -> int:
        """How many calls run."""
        return self._calls

    def call(self) -> Undo:
        """A call, for as long as it runs."""
        self._calls += 1
        self._idle.clear()
        return Undo(self._hung_up)

    def _hung_up(self) -> None:
        self._calls -= 1
        if not self._calls:
            self._idle.set()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Stand before whoever handles the signals to stop; does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        former = {number: signal.getsignal(number) for number in SIGNALS}

        def handle(number: int, frame: FrameType | None) -> None:
            if number in self._seen:
                # What has ended is on disk, and what is open is closed by the next start.
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            self._seen.add(number)

            def stop() -> None:
                handler = former[signal.Signals(number)]
                if callable(handler):
                    handler(number, frame)

            if self._drain_s > 0:
                loop.call_soon_threadsafe(self._begin, stop)
            else:
                self.draining = True
                stop()

        for number in SIGNALS:
            signal.signal(number, handle)
        _settle_hangup()
        try:
            yield
        finally:
            for number, handler in former.items():
                # Once told to stop, a second signal of the same kind still ends it at once.
                if number not in self._seen:
                    signal.signal(number, handler)

    def _begin(self, stop: Callable[[], None]) -> None:
        if self._waiting is None:
            self.draining = True
            if self._calls:
                logger.warning(
                    "stopping: %d calls may go on for %g s, new ones are refused", self._calls, self._drain_s
                )
            self._waiting = asyncio.create_task(self._wait(stop))

    async def _wait(self, stop: Callable[[], None]) -> None:
        try:
            async with asyncio.timeout(self._drain_s):
                await self._idle.wait()
        except TimeoutError:
            logger.warning("%d calls still ran after %g s and are ended", self._calls, self._drain_s)
        stop()


def _settle_hangup() -> None:
    """SIGHUP, as of a terminal that is closed, would end the process in the midst of its calls: it is a SIGTERM.

    Unless somebody ignores it, as nohup does; a worker leaves it to its supervisor.
    """
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:
        return
    worker = multiprocessing.parent_process() is not None
    signal.signal(signal.SIGHUP, signal.SIG_IGN if worker else lambda *_: signal.raise_signal(signal.SIGTERM))


def end_with_parent() -> None:
    """A worker whose supervisor was killed ends too, as if told to: nobody else would ever end it."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="voicespan-parent", daemon=True).start()


async def in_thread_of_its_own(function: Callable[[], T]) -> T:
    """Run what blocks where a thread that hangs delays nobody: the loop's end waits for its executor's threads."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # there is one where there is no error

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except Exception as raised:  # noqa: BLE001 - handed on to who awaits
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=f"voicespan-{getattr(function, '__name__', 'work')}", daemon=True).start()
    return await done
