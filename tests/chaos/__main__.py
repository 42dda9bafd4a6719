"""`make chaos`: every suite at length, a table, and the verdict in the last line and the exit status."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from chaos import disk, suites
from chaos.verdict import Report

REPOSITORY = Path(__file__).resolve().parents[2]
HEADS = ("suite", "runs", "ended", "received", "lost", "in window", "repeated", "recovered", "p99 ms")


def main() -> int:
    """Run the suites that were asked for."""
    arguments = _arguments()
    binary = _collector()
    seed, rounds = arguments.seed, arguments.kills
    runs: dict[str, Callable[[], Report]] = {
        "kills": lambda: asyncio.run(suites.kills(binary, rounds=rounds, seed=seed)),
        "workers": lambda: asyncio.run(suites.worker_kills(binary, rounds=max(1, rounds // 5), seed=seed)),
        "outages": lambda: asyncio.run(suites.outages(binary, seed=seed, seconds=3)),
        "backlog": _backlog,
        "disk": lambda: asyncio.run(disk.full_disk(binary, seed=seed, callers=3, seconds=6)),
        "arrivals": lambda: asyncio.run(suites.arrivals(binary, seed=seed, callers=arguments.callers, seconds=40)),
        "hung": lambda: asyncio.run(suites.hung_collector(binary, seed=seed, callers=10, seconds=15)),
    }
    reports = []
    for name in arguments.suites or runs:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            with contextlib.redirect_stderr(None if arguments.verbose else open(os.devnull, "w")):  # noqa: PTH123
                reports.append(runs[name]())
        except PermissionError as error:
            print(f"{name}: skipped, {error}", file=sys.stderr)
    _print(reports)
    return 1 if any(report.faults for report in reports) else 0


def _backlog() -> Report:
    with tempfile.TemporaryDirectory(prefix="voicespan-backlog-") as folder:
        # 50 calls of ten turns a minute, three spans each, for ten minutes.
        return disk.backlog(15_000, Path(folder))


def _print(reports: list[Report]) -> None:
    rows = [HEADS] + [
        (
            r.name,
            *map(str, (r.runs, r.ended, r.received, r.lost)),
            f"{r.lost_in_window} ({r.window_ms:.0f} ms)" if r.lost_in_window else "0",
            *map(str, (r.repeated, r.recovered)),
            "" if r.p99_ms is None else f"{r.p99_ms:.0f}",
        )
        for r in reports
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    for row in rows:
        first, *rest = zip(row, widths, strict=True)
        print("  ".join((first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest))))
    for report in reports:
        for note in report.notes:
            print(f"{report.name}: {note}")
        for fault in report.faults[:10]:
            print(f"{report.name}: FAULT: {fault}")
        if len(report.faults) > 10:
            print(f"{report.name}: and {len(report.faults) - 10} more faults")
    ended, lost, repeated = (sum(getattr(r, name) for r in reports) for name in ("ended", "lost", "repeated"))
    print(f"chaos: ended {ended}, lost {lost}, repeated {repeated}")


def _collector() -> Path:
    found = subprocess.run(
        [REPOSITORY / "scripts" / "build-collector"],
        env={"PYTHON": sys.executable, **os.environ},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Path(found.stdout.strip())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description="Kills and outages under load.")
    names = ("kills", "workers", "outages", "backlog", "disk", "arrivals", "hung")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--kills", type=int, default=50, help="kills of the server (50)")
    parser.add_argument("--callers", type=int, default=50, help="concurrent calls whose arrivals are measured (50)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (1)")
    parser.add_argument("--verbose", action="store_true", help="show the logs of server and collector")
    parsed = parser.parse_args()
    if unknown := set(parsed.suites) - set(names):
        parser.error(f"no suite {', '.join(sorted(unknown))}: use {', '.join(names)}")
    return parsed


if __name__ == "__main__":
    sys.exit(main())
