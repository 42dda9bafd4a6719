"""What a call waits for: asyncio's `Event` and `Queue` at a tenth of the memory, for each call has several."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


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


class Line(list[T]):
    """As much of a deque as websockets uses of it: one that is empty takes three quarters of a KiB."""

    __slots__ = ()

    def popleft(self) -> T:
        """Take the first."""
        return self.pop(0)

    def extendleft(self, items: Iterable[T]) -> None:
        """Put each before all others."""
        self[:0] = [*items][::-1]


class Mailbox(Generic[T]):
    """As much of an unbounded `asyncio.Queue` as uvicorn uses: one reads."""

    __slots__ = ("_items", "_reader")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._reader: asyncio.Future[None] | None = None

    def empty(self) -> bool:
        """Whether nothing is there."""
        return not self._items

    def put_nowait(self, item: T) -> None:
        """Add an item."""
        self._items.append(item)
        if self._reader and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> T:
        """The oldest item, waiting for one where none is there."""
        while not self._items:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._items.pop(0)
