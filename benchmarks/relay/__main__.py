"""`make bench-relay`: sessions per core of the voice server and of other relays, in one run, and what limits them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.commit import commit
from benchmarks.relay import wire
from benchmarks.relay.processes import KINDS, PICOWS, SDK, UNTOLD, VOICESPAN, BenchError, Kind, LoadProcess, relay

FRAMES_PER_S = 1 / wire.UP_S + 1 / wire.DOWN_S
# A row is measured at half of what it can: there its latency is asked for, and both cores have room.
LOAD, MOST_LOAD_SHARE, MOST_SESSIONS = 0.5, 0.8, 400
DELIVERED = 0.98
GOALS = {
    "times_google_sdk": 4.0,
    "telemetry_share": 0.10,
    "added_latency_p99_ms": 2.0,
    "pss_kib_per_idle_session": 80.0,
}


@dataclass(frozen=True)
class Run:
    """One measurement of a relay, all of its audio delivered."""

    sessions: int
    utilisation: float
    us_per_frame: float
    up_us: dict[str, float]
    down_us: dict[str, float]
    load_share: float

    @property
    def sessions_per_core(self) -> float:
        """By proportion: what a relay could carry whose core is full."""
        return self.sessions / self.utilisation


@dataclass
class Row:
    """All runs of a relay."""

    kind: Kind
    sessions: int = 0
    runs: list[Run] = field(default_factory=list)
    failed: int = 0

    def median(self, of: str) -> float:
        """Of a figure."""
        return statistics.median(getattr(run, of) for run in self.runs)


def main() -> int:
    """Prints the tables; 1 where a goal is missed, 2 where nothing could be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--short", action="store_true", help="a minute: does it run, is all delivered; no goals")
    parser.add_argument("--runs", type=int, default=3, help="of each relay, taken in turn")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--only", action="append", help="a relay's key; may be repeated")
    options = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        print("two cores are needed: one for the relay, one for the load")
        return 2
    kinds = [kind for kind in KINDS if not options.only or kind.key in options.only]
    if options.short:
        kinds = [kind for kind in kinds if kind in (VOICESPAN, UNTOLD, SDK)]
        options.runs, options.seconds = 1, 3.0
    # Told to end it ends its processes, as it does when interrupted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with LoadProcess() as load:
            figures = measure(load, kinds, options)
    except BenchError as error:
        print(error)
        return 2
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    if options.short or options.only:
        return 0
    # A goal of which there is no figure, since no run delivered all, is missed too.
    return int(any(name not in figures or not reached(name, figures[name], goal) for name, goal in GOALS.items()))


def measure(load: LoadProcess, kinds: Sequence[Kind], options: argparse.Namespace) -> dict[str, Any]:
    """Everything, printed as it comes."""
    print(f"Python {platform.python_version()}, commit {commit()}, {options.runs} runs of {options.seconds:g} s each")
    rows = [Row(kind) for kind in kinds]
    for row in rows:
        calibrate(load, row, options)
    # A frame costs less the more of them come at once: what telemetry costs is asked for at one load.
    for row in rows:
        if row.kind is UNTOLD and kinds[0] is VOICESPAN:
            row.sessions = rows[0].sessions
    direct = []
    for _ in range(options.runs):
        for row in rows:
            measure_once(load, row, options)
            if row.kind is VOICESPAN:
                direct.append(run_load(load, row.sessions, options))
    if direct:
        print(f"the load without a relay: {direct[-1]['load_share']:.0%} of a core, {in_ms(direct[-1])}")
    print_rows(rows)
    found: dict[str, Any] = {
        f"sessions_per_core_{row.kind.key}_tls": round(row.median("sessions_per_core"), 1) for row in rows if row.runs
    }
    found["commit"], found["python"] = commit(), platform.python_version()
    by_key = {row.kind.key: row for row in rows if row.runs}
    ours, untold, sdk = (by_key.get(kind.key) for kind in (VOICESPAN, UNTOLD, SDK))
    if ours and sdk:
        found["times_google_sdk"] = round(ours.median("sessions_per_core") / sdk.median("sessions_per_core"), 2)
    if ours and untold:
        found["telemetry_share"] = round(1 - untold.median("us_per_frame") / ours.median("us_per_frame"), 3)
    if ours and (floor := by_key.get(PICOWS.key)):
        found["times_floor"] = round(ours.median("us_per_frame") / floor.median("us_per_frame"), 2)
    if ours:
        for p in ("p50", "p99"):
            found[f"added_latency_{p}_ms"] = round(added_us(ours.runs, direct, p) / 1e3, 2)
        sizes = (20, 60) if options.short else (50, 250)
        found["pss_kib_per_idle_session"] = round(idle_kib(load, VOICESPAN, sizes), 1)
        for row in rows:
            if row.kind in (UNTOLD, SDK, PICOWS) and not options.short:
                found[f"pss_kib_per_idle_session_{row.kind.key}"] = round(idle_kib(load, row.kind, sizes), 1)
    print_figures(found)
    return found


def calibrate(load: LoadProcess, row: Row, options: argparse.Namespace) -> None:
    """Find how many sessions fill half of its core; no more than the load can carry."""
    short = argparse.Namespace(seconds=2.0)
    with relay(row.kind, load) as running:
        sessions = 40
        figures, cpu_s = run_on(load, running, sessions, short)
        per_session = cpu_s / figures["seconds"] / sessions
        by_load = sessions * MOST_LOAD_SHARE / figures["load_share"]
    row.sessions = max(10, min(int(LOAD / per_session), int(by_load), MOST_SESSIONS))
    if options.short:
        row.sessions = min(row.sessions, 60)


def measure_once(load: LoadProcess, row: Row, options: argparse.Namespace) -> None:
    """One run in a process of its own."""
    with relay(row.kind, load) as running:
        figures, cpu_s = run_on(load, running, row.sessions, options)
    expected = row.sessions * figures["seconds"]
    frames = figures["up"] + figures["down"]
    delivered = min(figures["up"] * wire.UP_S, figures["down"] * wire.DOWN_S) / expected
    if delivered < DELIVERED or figures["wrong"] or figures["lost"]:
        row.failed += 1
        print(
            f"  {row.kind.name}: {delivered:.1%} delivered, {figures['wrong']} wrong, {figures['lost']} lost: left out"
        )
        return
    row.runs.append(
        Run(
            row.sessions,
            cpu_s / figures["seconds"],
            cpu_s / frames * 1e6,
            figures["up_us"],
            figures["down_us"],
            figures["load_share"],
        )
    )


def run_on(load: LoadProcess, running: Any, sessions: int, options: Any) -> tuple[dict[str, Any], float]:
    """The load's figures, and the relay's CPU seconds meanwhile."""
    load.tell(do="call", url=running.url, sessions=sessions, warm_s=3.0, seconds=options.seconds)
    load.answer()
    before_s = running.cpu_s()
    figures = load.answer()
    return figures, running.cpu_s() - before_s


def run_load(load: LoadProcess, sessions: int, options: argparse.Namespace) -> dict[str, Any]:
    """Without a relay: as late as the load and the machine are by themselves."""
    load.tell(do="call", url=None, sessions=sessions, warm_s=2.0, seconds=options.seconds)
    load.answer()
    return load.answer()


def added_us(runs: Sequence[Run], direct: Sequence[dict[str, Any]], p: str) -> float:
    """The way through a relay less the way without, each run against the one next to it; the slower direction."""

    def added(way: str) -> float:
        return statistics.median(
            getattr(run, way)[p] - beside[way][p] for run, beside in zip(runs, direct, strict=False)
        )

    return max(added("up_us"), added("down_us"))


def idle_kib(load: LoadProcess, kind: Kind, sizes: tuple[int, int]) -> float:
    """PSS of one more idle session: the slope between two numbers of them."""
    found = []
    with relay(kind, load) as running:
        for sessions in sizes:
            load.tell(do="hold", url=running.url, sessions=sessions)
            load.answer()
            found.append(running.pss_kib())
        load.tell(do="hold", url=running.url, sessions=0)
        load.answer()
    return (found[1] - found[0]) / (sizes[1] - sizes[0])


def print_rows(rows: Sequence[Row]) -> None:
    """The table."""
    print(f"\n{'':<26}{'sessions':>9}{'us/frame':>10}{'range':>14}{'per core':>10}{'load':>6}", end="")
    print("  latency at that load in ms: up p50 and p99, down p50 and p99")
    for row in rows:
        if not row.runs:
            print(f"{row.kind.name:<26} no run delivered all")
            continue
        costs = [run.us_per_frame for run in row.runs]
        span = f"[{min(costs):.1f}-{max(costs):.1f}]"
        late = "  ".join(
            f"{statistics.median(getattr(run, way)[p] for run in row.runs) / 1e3:.2f}"
            for way in ("up_us", "down_us")
            for p in ("p50", "p99")
        )
        failed = f"  ({row.failed} runs left out)" if row.failed else ""
        print(
            f"{row.kind.name:<26}{row.sessions:>9}{row.median('us_per_frame'):>10.1f}{span:>14}"
            f"{row.median('sessions_per_core'):>10.0f}{row.median('utilisation'):>6.0%}  {late}{failed}"
        )


def print_figures(found: dict[str, Any]) -> None:
    """Beside the goals."""
    print()
    for name, value in found.items():
        goal = GOALS.get(name)
        verdict = "" if goal is None else f"  goal {goal:g}: {'reached' if reached(name, value, goal) else 'MISSED'}"
        print(f"{name:<40} {value}{verdict}")


def reached(name: str, value: float, goal: float) -> bool:
    """Whether a figure is as good as wanted."""
    return value >= goal if name == "times_google_sdk" else value <= goal


def in_ms(figures: dict[str, Any]) -> str:
    """Latencies as words."""
    return ", ".join(
        f"{way} p50 {figures[way + '_us']['p50'] / 1e3:.2f} p99 {figures[way + '_us']['p99'] / 1e3:.2f} ms"
        for way in ("up", "down")
    )


if __name__ == "__main__":
    sys.exit(main())
