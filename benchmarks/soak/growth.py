"""Whether something grows. Pure: samples in, a verdict out.

The first third of the time is warm-up: caches fill, the allocator takes what it will need. Of what follows, the first
half is compared with the second, by medians, for calls come and go in between.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

# What the medians of two halves may differ by: in parts of the first, and beside it.
SPARE_SHARE = 0.03
SPARE_COUNT = 6
SPARE_MIB = 2.0


class Look(Protocol):
    """What was read of a process, `at_s` seconds into the load."""

    @property
    def at_s(self) -> float:
        """When."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the server's process, `at_s` seconds into the load. `memory_mib` is proportional (PSS)."""

    at_s: float
    calls: int
    memory_mib: float
    descriptors: int
    tasks: int
    timers: int
    threads: int
    objects: int


@dataclass(frozen=True, slots=True)
class Growth:
    """Of one quantity, after warm-up: the medians of both halves, and how fast the second would go on."""

    name: str
    before: float
    after: float
    per_hour: float
    grows: bool


def growth(name: str, samples: Sequence[Look], spare: float) -> Growth:
    """How a quantity of theirs went.

    Raises:
        ValueError: fewer than six samples say nothing.
    """
    if len(samples) < 6:
        raise ValueError(f"{len(samples)} samples say nothing: soak for longer")
    warm = samples[len(samples) // 3 :]
    values = [float(getattr(sample, name)) for sample in warm]
    half = len(values) // 2
    before, after = statistics.median(values[:half]), statistics.median(values[half:])
    slope = statistics.linear_regression([sample.at_s for sample in warm], values).slope
    return Growth(name, before, after, slope * 3600, after - before > before * SPARE_SHARE + spare)


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """Of all that must not grow."""
    return [
        growth("memory_mib", samples, SPARE_MIB),
        *(growth(name, samples, SPARE_COUNT) for name in ("tasks", "descriptors", "timers", "threads")),
    ]
