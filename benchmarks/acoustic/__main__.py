"""`python -m benchmarks.acoustic`: the tables, and whether the goal is reached."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks.acoustic.conditions import Clip, clips, scenes
from benchmarks.acoustic.cost import cost
from benchmarks.acoustic.openings import MODEL_RATE, OPENINGS, pieces
from benchmarks.acoustic.sounds import RATE
from benchmarks.acoustic.speech import HELD_OUT, TUNING, Cast, NoSpeakerError
from benchmarks.acoustic.table import HEADER, Row, total

from voicespan.onset import leading_silence_s
from voicespan.recent_audio import RecentAudio

T = TypeVar("T")
GOAL_P95_MS, GOAL_MEASURED, GOAL_ONSET_P95_MS = 60.0, 0.95, 20.0


def of_end(clip: Clip) -> tuple[float | None, float]:
    """The error in ms, None where no end was found; and the CPU time of the search in ms."""
    recent = RecentAudio(RATE)
    for start in range(0, len(clip.pcm), 2 * clip.frame):
        frame = clip.pcm[start : start + 2 * clip.frame]
        recent.add(frame, (start + len(frame)) // 2 * 1_000_000_000 // RATE)
    found, took_ms = _timed(recent.end_of_speech_ns)
    return None if found is None else found / 1e6 - clip.end * 1_000 / RATE, took_ms


def of_onset(piece: tuple[bytes, float]) -> tuple[float | None, float]:
    """The same for where a piece of the model's voice begins."""
    pcm, silence_s = piece
    found, took_ms = _timed(partial(leading_silence_s, pcm, MODEL_RATE))
    return None if found is None else (found - silence_s) * 1_000, took_ms


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    began = time.process_time_ns()
    result = call()
    return result, (time.process_time_ns() - began) / 1e6


def _row(name: str, results: Iterator[tuple[float | None, float]]) -> Row:
    errors, took = zip(*results, strict=True)
    return Row(name, len(errors), tuple(round(e, 1) for e in errors if e is not None), tuple(round(t, 2) for t in took))


def _scene(index: int, cast: Cast, seed: str, count: int) -> Row:
    scene = scenes(cast)[index]
    return _row(scene.name, map(of_end, clips(scene, cast, seed, count)))


def _opening(index: int, cast: Cast, seed: str, count: int) -> Row:
    opening = OPENINGS[index]
    return _row(opening.name, map(of_onset, pieces(opening, cast, seed, count)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; 0 where the goal is reached, 1 where it is not, 2 where nobody can speak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acoustic", description=__doc__)
    parser.add_argument("--tuning", action="store_true", help="the set that the thresholds were chosen on")
    parser.add_argument("--seed", default="2", help="of the noise and of what is drawn (default 2)")
    parser.add_argument("--count", type=int, default=40, help="clips of each condition (default 40)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers too")
    options = parser.parse_args(arguments)
    cast, name = (TUNING, "tuning") if options.tuning else (HELD_OUT, "held out")
    draw = {"cast": cast, "seed": f"{name}/{options.seed}", "count": options.count}
    try:
        number = len(scenes(cast))
        with ProcessPoolExecutor(2) as pool:
            print("The end of the user's speech", HEADER, sep="\n")
            ends = _printed(pool.map(partial(_scene, **draw), range(number)))
            print("\nThe start of the model's voice", HEADER, sep="\n")
            onsets = _printed(pool.map(partial(_opening, **draw), range(len(OPENINGS))))
    except NoSpeakerError as missing:
        print(missing, file=sys.stderr)
        return 2
    costs = cost()
    end, onset = total(f"ends, all ({name})", ends), total(f"starts, all ({name})", onsets)
    print("", costs, "", HEADER, onset, end, sep="\n")
    if options.json:
        rows = [{"name": row.name, "n": row.n, "errors_ms": row.errors_ms} for row in (*ends, *onsets)]
        options.json.write_text(json.dumps({"set": name, "seed": options.seed, "rows": rows, **asdict(costs)}) + "\n")
    reached = end.absolute(95) <= GOAL_P95_MS and end.measured >= GOAL_MEASURED
    return 0 if reached and onset.absolute(95) <= GOAL_ONSET_P95_MS else 1


def _printed(rows: Iterator[Row]) -> list[Row]:
    seen = []
    for row in rows:
        seen.append(row)
        print(row, flush=True)
    return seen


if __name__ == "__main__":
    raise SystemExit(main())
