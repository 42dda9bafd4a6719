"""Whether there is room for another call. Those that run go before those that come."""

from __future__ import annotations

from collections import deque
from typing import Literal

# In seconds. A call's audio comes in pieces of 20 to 60 ms: a loop that is late by more lets them wait for each other.
# It is never that late for long where it has anything to spare; a single late timer is a matter of chance.
TOO_LATE_S = 0.05
SAMPLE_EVERY_S = 0.05
SAMPLES = 21
UNLIMITED = 0


class Lateness:
    """How late the event loop was of late: the median over the last second."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque([0.0] * SAMPLES, maxlen=SAMPLES)

    def record(self, late_s: float) -> None:
        """A timer came this much late, in seconds."""
        self._samples.append(late_s)

    @property
    def median_s(self) -> float:
        """Seconds; 0 before anything was recorded."""
        return sorted(self._samples)[SAMPLES // 2]


class Admission:
    """At most `max_sessions` (0: any number), or with `auto` as many as the event loop can serve in time."""

    def __init__(self, max_sessions: int | Literal["auto"], lateness: Lateness) -> None:
        self._max_sessions = max_sessions
        self._lateness = lateness

    @property
    def measures(self) -> bool:
        """Whether somebody has to record the lateness."""
        return self._max_sessions == "auto"

    def full(self, running: int) -> bool:
        """Whether another call beside those that run is one too many."""
        if self._max_sessions == "auto":
            return self._lateness.median_s > TOO_LATE_S
        return self._max_sessions != UNLIMITED and running >= self._max_sessions
