"""What waits for the model: the user's audio and words, bounded in milliseconds, the oldest audio dropped first."""

from __future__ import annotations

from collections.abc import Awaitable

from voicespan_server import protocol as p
from voicespan_server.waiting import Flag

# Of what waits beside audio: more than a client that means well can say in a while.
MAX_ITEMS = 4096
MAX_IMAGES = 4

Item = bytes | p.Text | p.Image | p.AudioEnd | p.ActivityStart | p.ActivityEnd


class Uplink:
    """A line of audio frames and messages in the order in which the client sent them, holding `max_ms` of audio."""

    def __init__(self, max_ms: int) -> None:
        self._max_bytes = max_ms * p.INPUT_RATE_HZ * 2 // 1000
        self._items: list[Item] = []  # a deque that is empty takes a KiB, and these are few
        self._bytes = 0
        self._images = 0
        self._filled = Flag()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def audio_bytes(self) -> int:
        """Of audio that waits."""
        return self._bytes

    def put(self, item: Item) -> float:
        """Add to the line's end; returns the seconds of audio that were dropped at its front for it."""
        self._items.append(item)
        self._count(item, 1)
        self._filled.set()
        return self._drop_what_is_too_much()

    def put_back(self, item: Item) -> float:
        """What could not be sent stands in front again, within the same bounds."""
        self._items.insert(0, item)
        self._count(item, 1)
        self._filled.set()
        return self._drop_what_is_too_much()

    def wait(self) -> Awaitable[None]:
        """Until something is there."""
        return self._filled.wait()

    def pop(self) -> Item:
        """The oldest item.

        Raises:
            IndexError: nothing waits.
        """
        item = self._items.pop(0)
        self._count(item, -1)
        if not self._items:
            self._filled.clear()
        return item

    def _count(self, item: Item, sign: int) -> None:
        if isinstance(item, bytes):
            self._bytes += sign * len(item)
        elif isinstance(item, p.Image):
            self._images += sign

    def _drop_what_is_too_much(self) -> float:
        dropped = 0
        while len(self._items) > 1 and self._bytes > self._max_bytes:
            dropped += self._drop_oldest(bytes)
        if self._images > MAX_IMAGES:
            self._drop_oldest(p.Image)
        while len(self._items) > MAX_ITEMS:
            # Audio goes before words that were typed: old audio only delays the answer.
            dropped += self._drop_oldest(bytes)
        return dropped / 2 / p.INPUT_RATE_HZ

    def _drop_oldest(self, kind: type) -> int:
        """Drop the oldest of a kind, or of any where there is none; returns its bytes of audio."""
        index = next((i for i, waiting in enumerate(self._items) if isinstance(waiting, kind)), 0)
        item = self._items[index]
        del self._items[index]
        self._count(item, -1)
        return len(item) if isinstance(item, bytes) else 0
