"""One row for each condition: how many ends were found, and how far off they are."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

HEADER = f"{'condition':<24}{'n':>5}{'measured':>10}{'median':>8}{'p95':>6}{'bias':>7}{'worst':>7}{'CPU max':>9}  (ms)"


@dataclass(frozen=True)
class Row:
    """Errors in ms (positive: found too late) of what was found among `n`, and the CPU time of the searches in ms."""

    name: str
    n: int
    errors_ms: tuple[float, ...]
    search_ms: tuple[float, ...]

    @property
    def measured(self) -> float:
        """The share of clips of which something was found."""
        return len(self.errors_ms) / self.n

    def absolute(self, percent: float) -> float:
        """A percentile of the errors without their sign, by nearest rank."""
        ordered = sorted(map(abs, self.errors_ms))
        return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1] if ordered else math.nan

    @property
    def bias(self) -> float:
        """Mean error."""
        return statistics.fmean(self.errors_ms) if self.errors_ms else math.nan

    @property
    def worst(self) -> float:
        """The largest error."""
        return max(self.errors_ms, key=abs, default=math.nan)

    def __str__(self) -> str:
        return (
            f"{self.name:<24}{self.n:>5}{self.measured:>10.1%}{self.absolute(50):>8.0f}{self.absolute(95):>6.0f}"
            f"{self.bias:>+7.0f}{self.worst:>+7.0f}{max(self.search_ms):>9.2f}"
        )


def total(name: str, rows: list[Row]) -> Row:
    """All of them together."""
    return Row(
        name,
        sum(row.n for row in rows),
        tuple(error for row in rows for error in row.errors_ms),
        tuple(took for row in rows for took in row.search_ms),
    )
