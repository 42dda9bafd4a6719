"""How fast something may go: a bucket that fills at a rate. Integers alone; most calls do not even read the clock."""

from __future__ import annotations

import time
from collections.abc import Callable

_SECOND_NS = 1_000_000_000


class Allowance:
    """Lets `per_s` units a second pass, and a `burst` of them at once; 0 per second sets no limit.

    The bucket is filled only when it is empty. So what keeps to the rate always passes, and over any time at most two
    bursts more than the rate does.
    """

    __slots__ = ("_at_ns", "_burst", "_clock_ns", "_left", "_per_s")

    def __init__(self, per_s: int, burst: int, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._per_s = per_s
        self._burst = self._left = max(burst, per_s)
        self._clock_ns = clock_ns
        self._at_ns = clock_ns()

    def allow(self, units: int) -> bool:
        """Whether this much may pass now; if so, it is counted."""
        if units <= self._left:
            self._left -= units
            return True
        return self._fill_and_allow(units)

    def _fill_and_allow(self, units: int) -> bool:
        if not self._per_s:
            return True
        now_ns = self._clock_ns()
        filled = (now_ns - self._at_ns) * self._per_s // _SECOND_NS
        if self._left + filled >= self._burst:
            self._left = self._burst
            self._at_ns = now_ns
        else:
            self._left += filled
            self._at_ns += filled * _SECOND_NS // self._per_s
        if units > self._left:
            return False
        self._left -= units
        return True

    @property
    def full(self) -> bool:
        """Whether nothing has been used that has not come back."""
        return self._left + (self._clock_ns() - self._at_ns) * self._per_s // _SECOND_NS >= self._burst
