"""Tells the client, once a second at most, that the model did not take its audio fast enough."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voicespan_server import protocol as p
from voicespan_server.protocol import Message

EVERY_S = 1.0


class DroppedInput:
    """Adds up what was dropped. The first is told at once, what follows within a second is told together."""

    def __init__(self, tell: Callable[[Message], None], every_s: float = EVERY_S) -> None:
        self._tell = tell
        self._every_s = every_s
        self._untold_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, duration_s: float) -> None:
        """So much audio was dropped."""
        self._untold_s += duration_s
        if self._timer is None:
            self._warn()

    def stop(self) -> None:
        """The call is over."""
        if self._timer:
            self._timer.cancel()

    def _warn(self) -> None:
        self._timer = None
        if not self._untold_s:
            return
        ms = round(self._untold_s * 1000)
        self._tell(p.warning("input_dropped", "the model does not take the audio fast enough", ms=ms))
        self._untold_s = 0.0
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._warn)
