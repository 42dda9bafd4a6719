"""What waits for the model: the user's audio and words, bounded in milliseconds, the oldest audio dropped first."""

from __future__ import annotations

import asyncio
from collections import deque

from voicespan_server import protocol as p

# Of what waits beside audio: more than a client that means well can say in a while.
MAX_ITEMS = 4096

Item = bytes | p.Text | p.AudioEnd


class Uplink:
    """A line of audio frames and messages in the order in which the client sent them, holding `max_ms` of audio."""

    def __init__(self, max_ms: int) -> None:
        self._max_bytes = max_ms * p.INPUT_RATE_HZ * 2 // 1000
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def audio_bytes(self) -> int:
        """Of audio that waits."""
        return self._bytes

    def put(self, item: Item) -> float:
        """Add to the line's end; returns the seconds of audio that were dropped at its front for it."""
        self._items.append(item)
        self._bytes += _size(item)
        dropped = 0
        while len(self._items) > 1 and (self._bytes > self._max_bytes or len(self._items) > MAX_ITEMS):
            dropped += self._drop_oldest()
        self._filled.set()
        return dropped / 2 / p.INPUT_RATE_HZ

    def _drop_oldest(self) -> int:
        # Audio goes before words that were typed: old audio only delays the answer.
        index = next((i for i, waiting in enumerate(self._items) if isinstance(waiting, bytes)), 0)
        size = _size(self._items[index])
        del self._items[index]
        self._bytes -= size
        return size

    async def get(self) -> Item:
        """The oldest item, once there is one. Cancelled while it waits, it takes none."""
        while not self._items:
            self._filled.clear()
            await self._filled.wait()
        item = self._items.popleft()
        self._bytes -= _size(item)
        return item


def _size(item: Item) -> int:
    return len(item) if isinstance(item, bytes) else 0
