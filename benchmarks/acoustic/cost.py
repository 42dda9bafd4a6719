"""What keeping the loudness costs: CPU time of a frame, bytes of a session."""

from __future__ import annotations

import random
import time
import tracemalloc
from array import array
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.acoustic.sounds import RATE

from voicespan.recent_audio import WINDOW_S, RecentAudio

FRAME_S = 0.020
RUNS, SESSIONS = 40, 200


@dataclass(frozen=True)
class Cost:
    """Of 20 ms frames at 16 kHz."""

    frame_us: float
    session_bytes: int

    def __str__(self) -> str:
        return (
            f"a frame of 20 ms: {self.frame_us:.2f} us of CPU; a session with a full window: {self.session_bytes} bytes"
        )


def cost() -> Cost:
    """Measured: the least of many runs, since other programs only ever add to it."""
    rng = random.Random(1)
    frames = [
        array("h", (round(rng.gauss(0, 1_000)) for _ in range(round(FRAME_S * RATE)))).tobytes()
        for _ in range(round(WINDOW_S / FRAME_S))
    ]
    return Cost(_frame_us(frames), _session_bytes(frames))


def _frame_us(frames: list[bytes]) -> float:
    recent = RecentAudio(RATE)

    def keep(add: Callable[[bytes, int], None]) -> int:
        began = time.process_time_ns()
        for frame in frames:
            add(frame, began)
        return time.process_time_ns() - began

    loop = min(keep(lambda pcm, sent_ns: None) for _ in range(RUNS))
    return (min(keep(recent.add) for _ in range(RUNS)) - loop) / len(frames) / 1_000


def _session_bytes(frames: list[bytes]) -> int:
    RecentAudio(RATE).add(frames[0], 0)  # what sessions share
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        sessions = [RecentAudio(RATE) for _ in range(SESSIONS)]
        for recent in sessions:
            for number, frame in enumerate(frames):
                recent.add(bytes(bytearray(frame)), number)  # a copy that only the session can keep alive
        return (tracemalloc.get_traced_memory()[0] - before) // SESSIONS
    finally:
        tracemalloc.stop()
