"""When to dial the model again, and when to give up. Pure: no clock, no socket.

The first attempt after a connection that worked comes at once, for the user is talking; then the waits double from
half a second to eight, each a little shorter than that by chance, so that the calls of a service that fell over do
not all come back in the same moment. All attempts in a row have one budget.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0
# Before the call has begun somebody looks at a screen that says "connecting".
FIRST_ATTEMPTS = 2
# A connection that lived for so long was a good one, though nobody said a word over it.
STABLE_S = 10.0


class Fault(StrEnum):
    """Why a connection failed, by what helps."""

    TRANSIENT = "transient"  # the same may work in a moment
    TIMEOUT = "timeout"  # likewise
    STALLED = "stalled"  # likewise: we left it, because an answer did not come
    INVALID = "invalid"  # the setup, the handle or the conversation will never be taken: only a fresh start may help
    QUOTA = "quota"  # later
    REFUSED = "refused"  # nothing but an operator helps: the key, the model's name


@dataclass(frozen=True, slots=True)
class Again:
    """Dial again in `wait_s` seconds; `fresh` without the handle, so that the model knows nothing of what was said."""

    wait_s: float
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the call. `retry_after_s` is when the client may call again; None where that would be in vain."""

    retry_after_s: float | None


class Redial:
    """The attempts of one call."""

    def __init__(self, budget_s: float, chance: Callable[[], float] = random.random) -> None:
        self._budget_s = budget_s
        self._chance = chance
        self._failures = 0
        self._failing_since_s = 0.0
        self._started_afresh = self._afresh_worked = False

    def worked(self) -> None:
        """The model says something: whatever fails from here on is another failure."""
        self._failures = 0
        self._afresh_worked = self._started_afresh

    def after(
        self,
        fault: Fault,
        now_s: float,
        *,
        began: bool,
        resumable: bool,
        lived_s: float = 0.0,
        retry_after_s: float | None = None,
    ) -> Again | GiveUp:
        """What to do after a failure.

        `began`: the call had a connection before. `resumable`: there is a handle. `lived_s` is how long the connection
        that failed had been set up; 0 where it never was.
        """
        if lived_s >= STABLE_S:
            self._failures = 0
        self._failures += 1
        if self._failures == 1:
            self._failing_since_s = now_s
        later_s = retry_after_s or LONGEST_WAIT_S
        if fault is Fault.REFUSED:
            return GiveUp(None)
        if not began:
            if fault in {Fault.TRANSIENT, Fault.TIMEOUT} and self._failures < FIRST_ATTEMPTS:
                return Again(self._backoff_s(self._failures))
            if fault is Fault.INVALID and resumable:
                return Again(0.0, fresh=True)
            return GiveUp(None if fault is Fault.INVALID else later_s)
        fresh = fault is Fault.INVALID or not resumable
        if fresh:
            # Once in a call: a model that forgets everything again and again is no conversation.
            if self._started_afresh and (fault is Fault.INVALID or self._afresh_worked):
                return GiveUp(None if fault is Fault.INVALID else later_s)
            self._started_afresh = True
        # What is invalid does not get better by waiting, and begins afresh once.
        backoff_s = 0.0 if fault is Fault.INVALID else self._backoff_s(self._failures - 1)
        wait_s = max(backoff_s, retry_after_s or 0.0)
        if now_s + wait_s - self._failing_since_s > self._budget_s:
            return GiveUp(later_s)
        return Again(wait_s, fresh)

    def _backoff_s(self, failures_before: int) -> float:
        if failures_before == 0:
            return 0.0
        full_s = min(FIRST_WAIT_S * 2.0 ** (failures_before - 1), LONGEST_WAIT_S)
        return full_s * (1 - self._chance() / 2)
