"""How late an event loop runs: on a busy machine, the error of every time that is noted in it."""

import asyncio
from collections import deque
from time import perf_counter_ns

_TICK_S = 0.005
_WORTH_NOTING_S = 0.002
_MOST = 100_000


class Lateness:
    """Watches the running loop from the first question on."""

    def __init__(self) -> None:
        self._late: deque[tuple[int, float]] = deque(maxlen=_MOST)
        self._ticking: asyncio.Task[None] | None = None

    def now(self) -> int:
        """A moment to ask `worst_since` about."""
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())
        return perf_counter_ns()

    def worst_since(self, moment: int) -> float:
        """Seconds that the loop was late at worst since then."""
        return max((late for at, late in self._late if at >= moment), default=0.0)

    async def _tick(self) -> None:
        while True:
            before = perf_counter_ns()
            await asyncio.sleep(_TICK_S)
            now = perf_counter_ns()
            late = (now - before) / 1e9 - _TICK_S
            if late > _WORTH_NOTING_S:
                self._late.append((now, late))
