"""How many sessions somebody may have at once, and begin in a minute: somebody being a key, or an address."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from voicespan_server.access.allowance import Allowance

# An Allowance counts units a second: a session costs as many as a minute has seconds.
_UNITS = 60
# Names that are remembered though they have no session now: beyond it the longest unseen are forgotten.
MAX_IDLE_NAMES = 10_000


class Exceeded(Enum):
    """Which limit was met."""

    CONCURRENT = "concurrent"
    RATE = "rate"


@dataclass(slots=True)
class _Usage:
    begun: Allowance
    running: int = 0


class Quota:
    """Counts by name; 0 sets no limit. An empty name is not counted."""

    def __init__(self, concurrent: int, per_minute: int, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._concurrent = concurrent
        self._per_minute = per_minute
        self._clock_ns = clock_ns
        self._usage: dict[str, _Usage] = {}

    def begin(self, name: str) -> Exceeded | None:
        """A session of theirs begins, unless a limit is met; then nothing was counted."""
        if not name or not (self._concurrent or self._per_minute):
            return None
        # Taken out and put back last: so the first are the longest unseen.
        usage = self._usage.pop(name, None) or _Usage(
            Allowance(self._per_minute, self._per_minute * _UNITS, self._clock_ns)
        )
        self._usage[name] = usage
        self._forget()
        if self._concurrent and usage.running >= self._concurrent:
            return Exceeded.CONCURRENT
        if self._per_minute and not usage.begun.allow(_UNITS):
            return Exceeded.RATE
        usage.running += 1
        return None

    def end(self, name: str) -> None:
        """A session of theirs that `begin` let in is over."""
        if usage := self._usage.get(name):
            usage.running -= 1

    def running(self, name: str) -> int:
        """How many sessions they have now."""
        usage = self._usage.get(name)
        return usage.running if usage else 0

    def _forget(self) -> None:
        if len(self._usage) <= MAX_IDLE_NAMES:
            return
        for name in [name for name, usage in self._usage.items() if not usage.running][: len(self._usage) // 2]:
            del self._usage[name]
