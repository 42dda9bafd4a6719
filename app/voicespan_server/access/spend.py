"""What was spent today, and whether that is within the budgets. US dollars at list price; a day is one of UTC.

A process counts what its own calls cost, turn by turn, and takes from the store what others on this host spent and
what was spent before it began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

NOBODY = ""  # the key of calls that were made without one


@dataclass(frozen=True, slots=True)
class Budgets:
    """What may be spent, in US dollars; None sets no limit."""

    session_usd: float | None = None
    key_day_usd: float | None = None
    day_usd: float | None = None

    @property
    def of_days(self) -> bool:
        """Whether what a day costs is limited."""
        return self.key_day_usd is not None or self.day_usd is not None


@dataclass(frozen=True, slots=True)
class Bill:
    """What a session that is over has cost, as the store has it."""

    trace_id: str
    key_id: str
    cost_usd: float


class Spend:
    """The day's sums, by key and over all."""

    def __init__(self, budgets: Budgets, today: date) -> None:
        self.budgets = budgets
        self._day = today
        self._by_key: Counter[str] = Counter()
        # Those of this process, which the store will tell of too.
        self._own: set[str] = set()

    def own(self, trace_id: str, key_id: str, usd: float, today: date) -> None:
        """A call or a chat of this process cost this much more."""
        self._turn_to(today)
        self._own.add(trace_id)
        self._by_key[key_id] += usd  # type: ignore[assignment]  # a Counter's sums may be of any number

    def absorb(self, bills: Iterable[Bill], today: date) -> None:
        """Sessions that the store has and had not when it was last asked; one's own were counted already."""
        self._turn_to(today)
        for bill in bills:
            if bill.trace_id in self._own:
                self._own.discard(bill.trace_id)
            else:
                self._by_key[bill.key_id] += bill.cost_usd  # type: ignore[assignment]

    def of_key(self, key_id: str, today: date) -> float:
        """Spent today on a key."""
        self._turn_to(today)
        return float(self._by_key[key_id])

    def total(self, today: date) -> float:
        """Spent today on all."""
        self._turn_to(today)
        return float(sum(self._by_key.values()))

    def exhausted(self, key_id: str, today: date) -> str | None:
        """Which of the day's budgets is spent, in words for the client; None where none is."""
        budgets = self.budgets
        if budgets.day_usd is not None and self.total(today) >= budgets.day_usd:
            return "the server's budget for today is spent"
        if budgets.key_day_usd is not None and self.of_key(key_id, today) >= budgets.key_day_usd:
            return "today's budget of this key is spent"
        return None

    def _turn_to(self, today: date) -> None:
        if today > self._day:
            self._day = today
            self._by_key.clear()
            self._own.clear()


class CallMeter:
    """One call's cost against the budgets: told the call's whole cost so far at the end of each turn."""

    def __init__(self, spend: Spend, trace_id: str, key_id: str, session_usd: float | None) -> None:
        self._spend = spend
        self._trace_id = trace_id
        self._key_id = key_id
        self._session_usd = session_usd
        self._seen_usd = 0.0

    def cost(self, so_far_usd: float, today: date) -> str | None:
        """Which budget is spent by now, in words for the client; None where none is."""
        self._spend.own(self._trace_id, self._key_id, so_far_usd - self._seen_usd, today)
        self._seen_usd = so_far_usd
        if self._session_usd is not None and so_far_usd >= self._session_usd:
            return "this call's budget is spent"
        return self._spend.exhausted(self._key_id, today)
