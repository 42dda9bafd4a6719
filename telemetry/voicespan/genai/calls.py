"""The calls of a process: which session a connection belongs to, and when a session without one is over."""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import os
import time
import weakref
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voicespan import events as ev
from voicespan.events import Close
from voicespan.guard import guarded
from voicespan.identity import Identity
from voicespan.session import VoiceSession

if TYPE_CHECKING:
    from voicespan.genai.connection import Connection

MAX_HANDLES = 1024


class Call:
    """A session of the program: one connection, or several, each resuming the one before."""

    __slots__ = (
        "__weakref__",
        "_calls",
        "_ended",
        "_resumable",
        "_timer",
        "connection",
        "due_s",
        "going_away",
        "identity",
        "session",
    )

    def __init__(self, calls: Calls, identity: Identity, session: VoiceSession) -> None:
        self._calls = calls
        self.identity = identity
        self.session = session
        self.connection: Connection | None = None
        self.going_away = False
        self._resumable = False
        self._ended: tuple[Close, str | None, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.due_s = float("inf")

    def remember(self, handle: str) -> None:
        """The service gave a handle by which the session can be resumed."""
        self._resumable = True
        self._calls.remember(handle, self)

    def resumed(self) -> None:
        """Another connection goes on with the session."""
        if self.connection:
            self.connection.succeeded()
        self._unschedule()
        self._ended = None
        self.going_away = False

    def connection_ended(self, close: Close, error_type: str | None, *, final: bool = False) -> None:
        """Held open where the connection was lost, or left because it will be, and can be resumed; else it is over."""
        self._ended = (close, error_type, self.session.now_ns())
        lost = close.initiator == "provider" or self.going_away
        window_s = self._calls.resume_window_s
        if final or not (self._resumable and lost and window_s > 0):
            self.end()
            return
        self.due_s = time.monotonic() + window_s
        with suppress(RuntimeError):  # without a loop the next connect, or the end of the process, is when
            self._timer = asyncio.get_running_loop().call_later(window_s, self.end)

    @guarded(default=None)
    def end(self) -> None:
        """It ended when its connection did."""
        if self._ended is None:
            return
        self._unschedule()
        (close, error_type, at_ns), self._ended = self._ended, None
        self.connection = None  # which knows its call: nothing is to wait for the garbage collector
        self.session.feed(ev.SessionClosed(close, error_type), at_ns)
        self._calls.forget(self)

    def _unschedule(self) -> None:
        self.due_s = float("inf")
        if self._timer:
            self._timer.cancel()
            self._timer = None


class Calls:
    """All that are open, and whose handles were given lately. A handle is a credential: only its digest is kept."""

    def __init__(self, resume_window_s: float) -> None:
        self.resume_window_s = resume_window_s
        self._open: set[Call] = set()
        self._pid = os.getpid()
        self._ends_with_process = False
        self._given: OrderedDict[bytes, Given] = OrderedDict()

    def add(self, call: Call) -> None:
        """A call begins. Those whose time ran out while no loop told of it end now."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._open.clear()  # they go on in the process that was forked
        now_s = time.monotonic()
        for waiting in [call for call in list(self._open) if call.due_s <= now_s]:  # other threads have calls, too
            waiting.end()
        self._open.add(call)
        if not self._ends_with_process:
            self._ends_with_process = True
            # Not before there is a session: behind the SDK's own, whenever the program set that up, and so before it.
            atexit.register(self.end_all, "the process ended")

    def remember(self, handle: str, call: Call) -> None:
        """A handle was given to a call."""
        key = _digest(handle)
        self._given.pop(key, None)
        self._given[key] = Given(call.identity, time.monotonic(), weakref.ref(call))
        if len(self._given) > MAX_HANDLES:
            self._given.popitem(last=False)

    def given(self, handle: str | None) -> Given | None:
        """What is known of a handle that is presented."""
        return self._given.get(_digest(handle)) if handle else None

    def open_call(self, given: Given) -> Call | None:
        """The call that a handle was given to, where it is still open."""
        call = given.call()
        return call if call in self._open else None

    def forget(self, call: Call) -> None:
        """A call is over."""
        self._open.discard(call)

    @guarded(default=None)
    def end_all(self, reason: str) -> None:
        """Nothing will come any more: every call of this process ends, as what it was."""
        if self._pid != os.getpid():
            return
        for call in list(self._open):
            if call.connection and call.connection.live:
                call.connection.abandoned(reason)
            call.end()


@dataclass(frozen=True, slots=True)
class Given:
    """A handle that was given, at `at_s` of the monotonic clock."""

    identity: Identity
    at_s: float
    call: weakref.ref[Call]

    @property
    def age_s(self) -> float:
        """Seconds since."""
        return time.monotonic() - self.at_s


def _digest(handle: str) -> bytes:
    return hashlib.blake2b(handle.encode(), digest_size=16).digest()
