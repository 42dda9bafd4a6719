"""`make bench-telemetry`: the table, and whether the goals are reached."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

from benchmarks.commit import commit
from benchmarks.telemetry import floor, measure
from benchmarks.telemetry.instructions import RUNS, NoValgrindError, added_instructions
from benchmarks.telemetry.line import Line, cut

from voicespan.sdk.pipeline import Pipeline

# A shared machine is quick for some seconds, and slow for some: so all is measured in so many rounds.
ROUNDS = 12
# How far turns are apart, in seconds, and how many blocks of them are in a round; the first is the goal's.
PACES = {"one after the other": (0.0, 8), "10 ms apart": (0.01, 4)}


@dataclass(frozen=True)
class Row:
    """One result, and the goal."""

    key: str
    what: str
    value: float
    median: float
    goal: float

    @property
    def line(self) -> str:
        """As the table has it."""
        verdict = "reached" if self.value <= self.goal else "MISSED"
        return f"{self.what:<38} {self.value:8.2f} {self.median:8.2f} {self.goal:8g}  {verdict}"


def main() -> int:
    """Prints the table; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the four numbers there")
    parser.add_argument("--instructions", action="store_true", help="also count instructions with valgrind (minutes)")
    options = parser.parse_args()
    rows, turns = asyncio.run(of_work())
    # Of so many that what Python keeps for next time, the memory of some thousand small tuples, does not count.
    kib = measure.kib_per_session(400, 5)
    rows.append(Row("kib_per_open_session", "KiB per open session, after 5 turns", kib, kib, 10.0))
    print(f"Python {platform.python_version()}, commit {commit()}, CPU time that instrumentation adds")
    print(f"{'':<38} {'lowest':>8} {'median':>8} {'goal':>8}")
    print("\n".join(row.line for row in rows))
    print("ms per turn, lowest (median); the SDK alone makes the same spans and measurements, and nothing else:")
    print("\n".join(f"  {when:<20} {_ms(ours)}  the SDK alone {_ms(alone)}" for when, ours, alone in turns))
    if options.instructions:
        try:
            for kind in RUNS:
                print(f"{added_instructions(kind):.0f} instructions per {kind}")
        except NoValgrindError as error:
            print(error)
    if options.json:
        options.json.write_text(json.dumps({row.key: round(row.value, 4) for row in rows}) + "\n")
    return 0 if all(row.value <= row.goal for row in rows) else 1


def _ms(found: measure.Added) -> str:
    return f"{found.lowest * 1e3:.2f} ({found.median * 1e3:.2f})"


async def of_work() -> tuple[list[Row], list[tuple[str, measure.Added, measure.Added]]]:
    """What takes time; and turns at each pace: when, ours, and the SDK alone, which is the floor of all that use it."""
    with measure.receiver() as endpoint, cut() as line:
        noted = await floor.note_turn(line)
        with measure.pipeline(endpoint) as running, measure.instrumented(running):
            rounds = [await _round(line, running, noted, endpoint) for _ in range(ROUNDS)]
    found = {what: reduce(add, (each[what] for each in rounds)) for what in rounds[0]}

    def row(key: str, what: str, of: str, unit_s: float, goal: float) -> Row:
        return Row(key, what, found[of].lowest / unit_s, found[of].median / unit_s, goal)

    rows = [
        row("us_per_sent_frame", "us per sent audio frame of 20 ms", "frame", 1e-6, 1.0),
        row("us_per_received_message", "us per received audio message", "message", 1e-6, 3.0),
        row("ms_per_turn", "ms per turn, with store and OTLP", next(iter(PACES)), 1e-3, 0.8),
    ]
    return rows, [(when, found[when], found[f"{when}, SDK"]) for when in PACES]


async def _round(line: Line, running: Pipeline, noted: floor.Noted, endpoint: str) -> dict[str, measure.Added]:
    """Some blocks of everything."""
    found = {"frame": await measure.frames(line, 200, 50), "message": await measure.messages(line, 200, 50)}
    for when, (apart_s, blocks) in PACES.items():
        found[when] = await measure.turns(line, running, blocks, 25, apart_s)
        found[f"{when}, SDK"] = await floor.by_the_sdk(noted, endpoint, blocks, 25, apart_s)
    return found


if __name__ == "__main__":
    sys.exit(main())
