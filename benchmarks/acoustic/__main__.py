"""`python -m benchmarks.acoustic`: the table, and whether the goal is reached."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.acoustic.conditions import Clip, clips, scenes
from benchmarks.acoustic.sounds import RATE
from benchmarks.acoustic.speech import HELD_OUT, TUNING, Cast, NoSpeakerError

from voicespan.acoustic import RecentAudio

GOAL_P95_MS, GOAL_MEASURED = 60.0, 0.95


@dataclass(frozen=True)
class Row:
    """A condition's results: errors in ms (positive: found too late), and the CPU time of the searches in ms."""

    name: str
    n: int
    errors_ms: tuple[float, ...]
    search_ms: tuple[float, ...]

    @property
    def measured(self) -> float:
        """The share of turns whose end was found."""
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
            f"{self.name:<24}{self.n:>5}{self.measured:>9.1%}{self.absolute(50):>8.0f}{self.absolute(95):>7.0f}"
            f"{self.bias:>+8.0f}{self.worst:>+8.0f}{max(self.search_ms):>9.1f}"
        )


HEADER = f"{'condition':<24}{'n':>5}{'measured':>9}{'median':>8}{'p95':>7}{'bias':>8}{'worst':>8}{'CPU max':>9}"


def measure(clip: Clip) -> tuple[float | None, float]:
    """The error in ms, or None where no end was found; and the CPU time of the search in ms."""
    recent = RecentAudio(RATE)
    for start in range(0, len(clip.pcm), 2 * clip.frame):
        frame = clip.pcm[start : start + 2 * clip.frame]
        recent.add(frame, (start + len(frame)) // 2 * 1_000_000_000 // RATE)
    began = time.process_time_ns()
    found = recent.end_of_speech_ns()
    took_ms = (time.process_time_ns() - began) / 1e6
    return None if found is None else found / 1e6 - clip.end * 1_000 / RATE, took_ms


def run(index: int, cast: Cast, seed: str, count: int) -> Row:
    """One condition."""
    scene = scenes(cast)[index]
    results = [measure(clip) for clip in clips(scene, cast, seed, count)]
    errors = tuple(round(error, 1) for error, _ in results if error is not None)
    return Row(scene.name, len(results), errors, tuple(round(took, 2) for _, took in results))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; 0 where the goal is reached, 1 where it is not, 2 where nobody can speak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acoustic", description=__doc__)
    parser.add_argument(
        "--set", choices=("held-out", "tuning"), default="held-out", help="thresholds were chosen with the other"
    )
    parser.add_argument("--seed", default="1", help="of the noise and of what is drawn")
    parser.add_argument("--count", type=int, default=40, help="clips of each condition")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers too")
    options = parser.parse_args(arguments)
    cast = HELD_OUT if options.set == "held-out" else TUNING
    try:
        number = len(scenes(cast))
        with ProcessPoolExecutor(2) as pool:
            print(HEADER)
            rows = []
            work = partial(run, cast=cast, seed=f"{options.set}/{options.seed}", count=options.count)
            for row in pool.map(work, range(number)):
                rows.append(row)
                print(row, flush=True)
    except NoSpeakerError as missing:
        print(missing, file=sys.stderr)
        return 2
    errors = tuple(error for row in rows for error in row.errors_ms)
    total = Row(
        f"all ({options.set})", sum(row.n for row in rows), errors, tuple(t for row in rows for t in row.search_ms)
    )
    print(total)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in [*rows, total]]))
    return 0 if total.absolute(95) <= GOAL_P95_MS and total.measured >= GOAL_MEASURED else 1


if __name__ == "__main__":
    raise SystemExit(main())
