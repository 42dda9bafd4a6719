"""`make soak`: paced calls for minutes, what the server's process held meanwhile, and whether anything grew."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.soak.growth import Sample, growths
from benchmarks.soak.play import SAMPLES, soak

# Of what may be there after the calls: a kept connection to the receiver, a thread of the executor's pool.
MAY_BE_LEFT = {"calls": 0, "tasks": 1, "descriptors": 6, "timers": 3, "threads": 40}
HEAD = (
    f"{'s':>6} {'calls':>6} {'memory MiB':>11} {'tasks':>6} {'descriptors':>12}"
    f" {'timers':>7} {'threads':>8} {'objects':>9}"
)


def main() -> int:
    """Soak, and say what was found."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="how long (300)")
    parser.add_argument("--minutes", type=float, help="the same in minutes")
    parser.add_argument("--calls", type=int, help="calls at once; by default what a ramp finds the machine to carry")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    seconds = arguments.minutes * 60 if arguments.minutes else arguments.seconds
    print(HEAD)
    shown = iter(range(1, SAMPLES + 1))

    def show(sample: Sample) -> None:
        if next(shown) % (SAMPLES // 10) == 0:
            print(_row(sample), flush=True)

    found = soak(arguments.calls, seconds, show)
    assert found.quiet is not None
    print(f"{_row(found.idle)}  before\n{_row(found.quiet)}  after")
    grown = growths(found.samples)
    for growth in grown:
        says = "GROWS" if growth.grows else "steady"
        print(
            f"{growth.name:<12} {growth.before:>9.1f} -> {growth.after:>9.1f}  {growth.per_hour:+9.1f} an hour  {says}"
        )
    left = {name: count for name, count in found.left.items() if count > MAY_BE_LEFT[name]}
    for name, count in left.items():
        print(f"LEFT {count} {name} after the calls")
    errors = sum(found.errors.values())
    if arguments.json:
        arguments.json.write_text(json.dumps({**asdict(found), "growths": [asdict(growth) for growth in grown]}))
    waited = found.first_audio_ms
    print(
        f"soak: {found.calls} calls for {found.seconds:.0f} s, {found.answers} answers, {errors} errors, "
        f"first audio p95 {f'{waited.p95:.0f} ms' if waited else 'unknown'}, "
        f"{sum(growth.grows for growth in grown)} of {len(grown)} quantities grew, {len(left)} left something"
    )
    if errors:
        print(f"errors: {found.errors}")
    return 1 if errors or left or any(growth.grows for growth in grown) else 0


def _row(sample: Sample) -> str:
    return (
        f"{sample.at_s:>6.0f} {sample.calls:>6} {sample.memory_mib:>11.1f} {sample.tasks:>6} {sample.descriptors:>12}"
        f" {sample.timers:>7} {sample.threads:>8} {sample.objects:>9}"
    )


if __name__ == "__main__":
    sys.exit(main())
