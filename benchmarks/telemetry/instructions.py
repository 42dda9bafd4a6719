"""Machine instructions that instrumentation adds to a frame, message or turn, counted by valgrind: no clock, no noise.

python -m benchmarks.telemetry.instructions turn

A turn's are those of the event loop alone: the SDK has no processor here.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.telemetry.line import FRAME, cut, dial, turn
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from voicespan.instrumentor import GeminiLiveInstrumentor
from voicespan.live_settings import LiveSettings

# Runs of so many, and more, of each kind; what is done once falls out.
RUNS = {"frame": (2_000, 12_000), "message": (2_000, 12_000), "turn": (30, 130)}


class NoValgrindError(RuntimeError):
    """There is no valgrind on the path."""


def added_instructions(kind: str) -> float:
    """Per `frame`, `message` or `turn`: the slope with instrumentation less the slope without.

    Raises:
        NoValgrindError: install it to count instructions.
    """
    if shutil.which("valgrind") is None:
        raise NoValgrindError("there is no valgrind here: install it, or leave --instructions out")
    few, many = RUNS[kind]
    _counted(kind, 1, "on")  # whatever is compiled or cached once
    slopes = [(_counted(kind, many, on) - _counted(kind, few, on)) / (many - few) for on in ("on", "off")]
    return slopes[0] - slopes[1]


def _counted(kind: str, count: int, on: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={out}"]
        work = [sys.executable, "-m", "benchmarks.telemetry.instructions", kind, str(count), on]
        subprocess.run([*command, *work], check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": "0"})
        found = re.search(r"^summary: (\d+)", out.read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1])


def _work(kind: str, count: int, on: str) -> None:
    async def work() -> None:
        async with dial() as session:
            for _ in range(count):
                if kind == "frame":
                    await session.send_realtime_input(audio=FRAME)
                elif kind == "turn":
                    await turn(session, line)
                else:
                    await session._receive()

    # An SDK without processors: no thread that counts along.
    with cut() as line:
        if on == "off":
            asyncio.run(work())
            return
        GeminiLiveInstrumentor().instrument(
            tracer_provider=TracerProvider(shutdown_on_exit=False),
            meter_provider=MeterProvider(shutdown_on_exit=False),
            settings=LiveSettings(),
        )
        asyncio.run(work())


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(f"{added_instructions(sys.argv[1]):.0f} instructions per {sys.argv[1]}")
    else:
        _work(sys.argv[1], int(sys.argv[2]), sys.argv[3])
