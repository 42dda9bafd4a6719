"""`make pipeline`: prints what arrived where, what each panel would show, and the alert of each incident.

The last line is `pipeline: P panels with data of P, A alerts of A`; the exit code is 1 where one is missing, something
did not arrive, or the clean day fired. The pages go to build/pipeline.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.pipeline import play
from benchmarks.pipeline.panels import boards
from benchmarks.pipeline.render import amount, page

from support.stack import Binaries, Stack
from voicespan_simulator.process import SimulatorProcess

REPOSITORY = Path(__file__).resolve().parents[2]
SHOWN = 4


def main() -> int:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200, help="real calls through the server (default 200)")
    parser.add_argument("--at-once", type=int, default=10, help="of which so many at a time (default 10)")
    options = parser.parse_args()
    binaries = Binaries(_built("build-collector"), _built("build-jaeger"), _built("build-prometheus"))
    began = time.monotonic()
    with SimulatorProcess(pace="fast") as simulator, Stack(binaries, faster=play.FASTER) as stack:

        def write() -> None:
            _write_pages(stack, time.monotonic() - began)

        played = play.run(stack, simulator, calls=options.calls, at_once=options.at_once, everything_shown=write)
    _report(played)
    return 0 if played.good else 1


def _report(played: play.Played) -> None:
    print(f"{len(played.calls.trace_ids)} calls with {played.calls.turns} turns, in real processes:")
    for arrival in played.arrivals:
        print(f"  {arrival.destination}: {arrival.arrived} of {arrival.owed} {arrival.what}")
    print("calls that were told:", ", ".join(f"{name} {count}" for name, count in played.told.items()))
    print("panels:")
    for panel, shown, full in played.panels:
        first = ", ".join(f"{name} {amount(value, panel.unit)}" for name, value in list(shown.items())[:SHOWN])
        more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
        print(f"  {'' if full else 'NO DATA '}{panel.board}, {panel.title}: {first}{more}")
    print("incidents:")
    for alarm in played.alarms:
        board, title = alarm.incident.panel
        print(
            f"  {'' if alarm.good else 'NOT AS IT SHOULD '}{alarm.incident.name}: {_names(alarm.fired)}; "
            f"{board}, {title}: {alarm.series} {_number(alarm.now)}, usually {_number(alarm.usual)}"
        )
    print(f"  a clean day: {_names(played.clean)}")
    with_data, good = sum(full for _, _, full in played.panels), sum(alarm.good for alarm in played.alarms)
    print(f"pipeline: {with_data} panels with data of {len(played.panels)}, {good} alerts of {len(played.alarms)}")


def _names(alerts: frozenset[str]) -> str:
    return ", ".join(sorted(alerts)) or "nothing"


def _built(script: str) -> Path:
    found = subprocess.run([REPOSITORY / "scripts" / script], stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode:
        raise SystemExit(f"pipeline: scripts/{script} gave nothing to run")
    return Path(found.stdout.strip())


def _write_pages(stack: Stack, span_s: float) -> None:
    folder = REPOSITORY / "build/pipeline"
    folder.mkdir(parents=True, exist_ok=True)
    for board in boards():
        (folder / f"{board.uid}.html").write_text(page(board, stack.prometheus, span_s=span_s))


def _number(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
