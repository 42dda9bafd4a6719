"""A flag that can be waited for: asyncio's `Event` at a tenth of the memory, for a call has several."""

from __future__ import annotations

import asyncio


class Flag:
    """Not set at first. Belongs to one event loop, as `asyncio.Event` does; `set` wakes all who wait."""

    __slots__ = ("_set", "_waiters")

    def __init__(self) -> None:
        self._set = False
        self._waiters: list[asyncio.Future[None]] = []

    def is_set(self) -> bool:
        """Whether nobody would wait."""
        return self._set

    def set(self) -> None:
        """Wake who waits, and let pass who comes."""
        self._set = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters = []

    def clear(self) -> None:
        """Who comes from here on waits."""
        self._set = False

    async def wait(self) -> None:
        """Wait until it is set."""
        if self._set:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
