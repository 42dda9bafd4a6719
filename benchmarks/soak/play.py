"""The server, its simulated model, its callers, and who looks at it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from benchmarks.soak.growth import Sample
from benchmarks.soak.server import PROBE

from support.server import ServerProcess
from voicespan_server.client import read_wav
from voicespan_server.loadtest import Plan, run
from voicespan_server.loadtest.caller import Board, Habits, call_until
from voicespan_server.loadtest.figures import Summary, summary

REPOSITORY = Path(__file__).resolve().parents[2]
TURNS = 2  # then the caller hangs up and calls again
SAMPLES = 60
QUIET_S = 30.0
# Of what the ramp found the machine to carry: a soak at the knee would measure the knee.
SHARE_OF_KNEE = 0.7


class SoakedServer(ServerProcess):
    """The server with the probe."""

    module = "benchmarks.soak.server"

    def sample(self, began: float) -> Sample:
        """Look at it."""
        counted = self.get(PROBE)
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        pss_kib = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        return Sample(
            at_s=time.monotonic() - began,
            calls=self.get("/healthz")["calls"],
            memory_mib=pss_kib / 1024,
            descriptors=len(list(Path(f"/proc/{self.process.pid}/fd").iterdir())),
            **counted,
        )


@dataclass
class Soak:
    """What was seen: before anybody called, under load, and after everybody had hung up."""

    calls: int
    seconds: float
    idle: Sample
    samples: list[Sample] = field(default_factory=list)
    quiet: Sample | None = None
    answers: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    first_audio_ms: Summary | None = None

    @property
    def left(self) -> dict[str, int]:
        """What is there after the calls and was not before them."""
        assert self.quiet is not None
        names = ("calls", "tasks", "descriptors", "timers", "threads")
        return {name: getattr(self.quiet, name) - getattr(self.idle, name) for name in names}


def soak(calls: int | None, seconds: float, told: Callable[[Sample], None]) -> Soak:
    """Hold `calls` for `seconds`; without a number as many as a ramp finds the machine to carry, and a bit fewer."""
    receiver = subprocess.Popen(
        [sys.executable, REPOSITORY / "benchmarks/telemetry/receiver.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert receiver.stdout is not None
    assert receiver.stdin is not None
    env = {
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.stdout.readline().strip(),
        "VOICESPAN_MAX_SESSIONS": "0",
        "VOICESPAN_MAX_SESSIONS_PER_ADDRESS": "0",
        "VOICESPAN_NEW_SESSIONS_PER_MINUTE_PER_ADDRESS": "0",
        "VOICESPAN_MAX_UPLINK_MS": "1000",
        "VOICESPAN_RAISE": "",
        "VOICESPAN_STORE_MAX_MB": "64",
    }
    try:
        with SoakedServer(env) as server:
            return asyncio.run(_soak(server, calls, seconds, told))
    finally:
        receiver.stdin.close()
        receiver.wait(10)


async def _soak(server: SoakedServer, calls: int | None, seconds: float, told: Callable[[Sample], None]) -> Soak:
    habits = _habits(server)
    # A first call makes what every process makes once.
    await run(Plan([1], 8), habits, lambda _: None, lambda _, __: None)
    calls = calls or await _carried(habits)
    began = time.monotonic()
    found = Soak(calls, seconds, await asyncio.to_thread(_quiet, server, began))
    board, stop = Board(), asyncio.Event()
    callers = []
    for _ in range(calls):
        callers.append(asyncio.create_task(call_until(stop, habits, board)))
        await asyncio.sleep(5 / calls)
    began = time.monotonic()
    for number in range(1, SAMPLES + 1):
        await asyncio.sleep(max(0.0, began + number * seconds / SAMPLES - time.monotonic()))
        found.samples.append(await asyncio.to_thread(server.sample, began))
        told(found.samples[-1])
    stop.set()
    await asyncio.wait(callers, timeout=60)
    found.quiet = await asyncio.to_thread(_quiet, server, began)
    tally = board.tally
    found.answers, found.errors = tally.answers, dict(tally.errors)
    found.first_audio_ms = summary(tally.first_audio_s)
    return found


def _habits(server: SoakedServer) -> Habits:
    folder = Path(str(files("voicespan_server") / "demo_audio"))
    lines = [read_wav(folder / name) for name in ("01-navigate.wav", "02-search.wav")]

    async def no_token() -> None:
        return None

    return Habits(server.voice_url, lines, TURNS, 30.0, no_token)


async def _carried(habits: Habits) -> int:
    report = await run(Plan(range(20, 401, 20), 10.0), habits, lambda _: None, lambda _, __: None)
    return max(5, int((report.knee or 5) * SHARE_OF_KNEE))


def _quiet(server: SoakedServer, began: float) -> Sample:
    """Without calls, once what they left has been tidied: sockets close, the store commits, the sender sends."""
    deadline = time.monotonic() + QUIET_S
    former = server.sample(began)
    while time.monotonic() < deadline:
        time.sleep(1.0)
        now = server.sample(began)
        if now.calls == 0 and (now.tasks, now.descriptors, now.timers) == (
            former.tasks,
            former.descriptors,
            former.timers,
        ):
            return now
        former = now
    return former
