"""Level after level: callers join, settle, are measured, and more of them join, until a level does not hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from voicespan_server.loadtest.caller import Board, Habits, call_until
from voicespan_server.loadtest.figures import Level, Report, Tally, level

TICK_S = 0.02
# How long callers may take to end their last answer.
GOODBYE_S = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`levels` are calls at once, rising; each is measured for `seconds` after `settle_s`."""

    levels: Sequence[int]
    seconds: float
    settle_s: float = 3.0
    slower_ms: float = 250.0


async def run(plan: Plan, habits: Habits, told: Callable[[Level], None], lives: Callable[[int, int], None]) -> Report:
    """Measure. `told` gets each level as it is done; `lives` now and then how many callers there are, and calls."""
    board, stop = Board(), asyncio.Event()
    found: list[Level] = []
    callers: list[asyncio.Task[None]] = []
    watching = asyncio.create_task(_watch(board, lambda: lives(len(callers), board.calls)))
    try:
        for count in plan.levels:
            board.tally = Tally()
            joining = count - len(callers)
            for _ in range(joining):
                callers.append(asyncio.create_task(call_until(stop, habits, board)))
                # Spread over the time to settle, so that they do not speak in chorus.
                await asyncio.sleep(plan.settle_s / joining)
            # Whoever was refused while joining, and how long it took the others, belongs to the level.
            board.tally = tally = Tally(connect_s=board.tally.connect_s, errors=board.tally.errors)
            began = time.monotonic()
            await asyncio.sleep(plan.seconds)
            board.tally = Tally()
            first = found[0] if found else None
            found.append(level(count, time.monotonic() - began, tally, first, plan.slower_ms))
            told(found[-1])
            if found[-1].faults:
                break
        stop.set()
        if callers:
            await asyncio.wait(callers, timeout=GOODBYE_S)
    finally:  # at once, where somebody has had enough
        for task in (*callers, watching):
            task.cancel()
        await asyncio.gather(*callers, watching, return_exceptions=True)
    return Report(habits.url, tuple(found))


async def _watch(board: Board, tick: Callable[[], None]) -> None:
    """How late this process's own loop is: what is measured here is only as good as that."""
    ticks = 0
    while True:
        before = time.monotonic()
        await asyncio.sleep(TICK_S)
        board.tally.own_lag_s.append(max(0.0, time.monotonic() - before - TICK_S))
        ticks += 1
        if ticks % 10 == 0:
            tick()
