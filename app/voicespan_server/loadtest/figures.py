"""What a load test found, and where the knee is. Pure: numbers in, numbers out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

# A level holds while no more than this share of what was tried went wrong, or of the answers' time was silent.
MAX_FAILED = 0.01
MAX_SILENT = 0.01
# Beyond it the callers themselves come late, and what they measure is their own machine.
MAX_OWN_LAG_MS = 20.0


@dataclass(frozen=True, slots=True)
class Summary:
    """Percentiles by nearest rank, in milliseconds."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float


def summary(seconds: Sequence[float]) -> Summary | None:
    """None where nothing was measured."""
    if not seconds:
        return None
    ordered = sorted(seconds)

    def rank(share: float) -> float:
        return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000, 1)

    return Summary(len(ordered), rank(0.5), rank(0.95), rank(0.99), round(ordered[-1] * 1000, 1))


@dataclass(slots=True)
class Tally:
    """What callers note down while a level is measured; times in seconds."""

    connect_s: list[float] = field(default_factory=list)
    first_audio_s: list[float] = field(default_factory=list)
    own_lag_s: list[float] = field(default_factory=list)
    audio_s: float = 0.0
    gaps: int = 0
    gap_s: float = 0.0
    answers: int = 0
    errors: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Level:
    """What `calls` at once were like, for `seconds`."""

    calls: int
    seconds: float
    answers: int
    errors: dict[str, int]
    connect_ms: Summary | None
    first_audio_ms: Summary | None
    audio_s: float
    gaps: int
    gap_ms: float
    own_lag_ms: Summary | None
    faults: tuple[str, ...] = ()


def level(calls: int, seconds: float, tally: Tally, first: Level | None, slower_ms: float) -> Level:
    """A level's figures, and in what it does not hold, compared with the first level of the same run."""
    first_audio, own_lag = summary(tally.first_audio_s), summary(tally.own_lag_s)
    failed = tally.errors.total()
    tried = tally.answers + failed
    faults = []
    if not tried:
        faults.append("nothing was answered")
    elif failed > MAX_FAILED * tried:
        faults.append(f"{failed} of {tried} went wrong")
    if first and first.first_audio_ms and first_audio and first_audio.p95 > first.first_audio_ms.p95 + slower_ms:
        faults.append(f"first audio {first_audio.p95 - first.first_audio_ms.p95:.0f} ms later (p95)")
    if tally.gap_s > MAX_SILENT * tally.audio_s:
        faults.append(f"{tally.gap_s / tally.audio_s:.1%} of the answers' time was silent")
    if own_lag and own_lag.p99 > MAX_OWN_LAG_MS:
        faults.append(f"the callers' own machine is {own_lag.p99:.0f} ms late (p99)")
    return Level(
        calls=calls,
        seconds=round(seconds, 1),
        answers=tally.answers,
        errors=dict(tally.errors),
        connect_ms=summary(tally.connect_s),
        first_audio_ms=first_audio,
        audio_s=round(tally.audio_s, 1),
        gaps=tally.gaps,
        gap_ms=round(tally.gap_s * 1000, 1),
        own_lag_ms=own_lag,
        faults=tuple(faults),
    )


@dataclass(frozen=True, slots=True)
class Report:
    """All levels. `knee` is the most calls that held before the first level that did not; None where no level held."""

    url: str
    levels: tuple[Level, ...]

    @property
    def knee(self) -> int | None:
        """Calls at once."""
        held = None
        for found in self.levels:
            if found.faults:
                break
            held = found.calls
        return held
