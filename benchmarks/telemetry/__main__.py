"""`make bench-telemetry`: the table, and whether the goals are reached."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.telemetry import measure
from benchmarks.telemetry.instructions import NoValgrindError, added_instructions


@dataclass(frozen=True)
class Row:
    """One result with its spread, and the goal."""

    key: str
    what: str
    value: float
    spread: tuple[float, float]
    goal: float

    @property
    def line(self) -> str:
        """As the table has it."""
        low, high = self.spread
        verdict = "reached" if self.value <= self.goal else "MISSED"
        return f"{self.what:<34} {self.value:8.2f} [{low:.2f}..{high:.2f}]   goal {self.goal:g}: {verdict}"


def main() -> int:
    """Prints the table; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the four numbers there")
    parser.add_argument("--blocks", type=int, default=15, help="pairs of blocks, of which the median counts")
    parser.add_argument("--instructions", action="store_true", help="also count instructions with valgrind (minutes)")
    options = parser.parse_args()
    rows = [*per_frame_and_message(options.blocks), per_turn(options.blocks), per_session()]
    of = f"Python {platform.python_version()}, commit {measure.commit()}"
    print(f"{of}: median of {options.blocks} pairs of blocks [quartiles]")
    print("\n".join(row.line for row in rows))
    if options.instructions:
        try:
            for kind in ("frame", "message"):
                print(f"{added_instructions(kind):.0f} instructions per {kind}")
        except NoValgrindError as error:
            print(error)
    if options.json:
        options.json.write_text(json.dumps({row.key: round(row.value, 4) for row in rows}) + "\n")
    return 0 if all(row.value <= row.goal for row in rows) else 1


def per_frame_and_message(blocks: int) -> list[Row]:
    """Microseconds; long blocks of one kind, for one alone is too short to time."""
    count = 10_000
    with measure.pipeline(None) as running:
        sent = [s / count * 1e6 for s in measure.added_s(measure.frames(count), running, blocks)]
        received = [s / count * 1e6 for s in measure.added_s(measure.messages(count), running, blocks)]
    return [
        Row("us_per_sent_frame", "us per sent audio frame", measure.median(sent), measure.quartiles(sent), 1.0),
        Row(
            "us_per_received_message",
            "us per received audio message",
            measure.median(received),
            measure.quartiles(received),
            3.0,
        ),
    ]


def per_turn(blocks: int) -> Row:
    """Milliseconds, with all that the store and the export take."""
    count = 100
    with measure.receiver() as endpoint, measure.pipeline(endpoint) as running:
        found = [s / count * 1e3 for s in measure.added_s(measure.turns(count, running), running, blocks)]
    what = "ms per turn, store and OTLP included"
    return Row("ms_per_turn", what, measure.median(found), measure.quartiles(found), 0.8)


def per_session() -> Row:
    """KiB; counted, not sampled."""
    kib = measure.kib_per_session(100, 5)
    return Row("kib_per_open_session", "KiB per open session", kib, (kib, kib), 10.0)


if __name__ == "__main__":
    sys.exit(main())
