"""What waits for the client: one writer, a bound in bytes, and audio that is dropped at an interruption."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from voicespan_server import protocol as p
from voicespan_server.protocol import Message
from voicespan_server.waiting import Flag

# A minute of audio, for the model sends several times faster than real time.
MAX_BYTES = p.OUTPUT_RATE_HZ * 2 * 60
GOODBYE_S = 1.0


class ClientSocket(Protocol):
    """The client's accepted WebSocket. `receive` raises `HungUp` at its end; sending to a closed one does nothing.

    Where the socket can, `take_audio` has frames of audio of at most `max_bytes` given to `on_audio` and not to
    `receive`, in order with it. `write_audio` sends at once, or returns False: then `send_audio` has to, and may wait.
    """

    async def receive(self) -> str | bytes: ...  # noqa: D102
    def take_audio(self, on_audio: Callable[[bytes], None] | None, max_bytes: int) -> None: ...  # noqa: D102
    def write_audio(self, pcm: bytes) -> bool: ...  # noqa: D102
    async def send_text(self, text: str) -> None: ...  # noqa: D102
    async def send_audio(self, pcm: bytes) -> None: ...  # noqa: D102


class Downlink:
    """A line of audio and messages to one client. What is put in never waits; `run` writes it out in order.

    Beyond `MAX_BYTES` nothing more is taken and `on_overflow` is called: the client does not read.
    """

    def __init__(self, socket: ClientSocket, on_overflow: Callable[[], None]) -> None:
        self._socket = socket
        self._on_overflow = on_overflow
        self._items: list[bytes | str] = []
        self._bytes = 0
        self._filled = Flag()
        self._writing = False
        self._emptied = Flag()
        self._emptied.set()

    @property
    def waiting_bytes(self) -> int:
        """Of audio and text that wait."""
        return self._bytes

    def send_audio(self, pcm: bytes) -> None:
        """Audio of the model for the client: now, or behind what waits already."""
        if self._items or self._writing or not self._socket.write_audio(pcm):
            self._put(pcm)

    def tell(self, message: Message) -> None:
        """A message for the client."""
        self._put(p.encode(message))

    def _put(self, item: bytes | str) -> None:
        if self._bytes + len(item) > MAX_BYTES:
            self._on_overflow()
            return
        self._items.append(item)
        self._bytes += len(item)
        self._emptied.clear()
        self._filled.set()

    def drop_audio(self) -> None:
        """Unsent audio of an interrupted answer: the client is not to hear it."""
        self._items = [item for item in self._items if isinstance(item, str)]
        self._bytes = sum(map(len, self._items))

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._items:
                item = self._items.pop(0)
                self._bytes -= len(item)
                self._writing = True
                if isinstance(item, bytes):
                    await self._socket.send_audio(item)
                else:
                    await self._socket.send_text(item)
                del item  # it would be held until there is another
            self._writing = False
            self._emptied.set()

    async def written(self) -> None:
        """Wait until nothing waits."""
        await self._emptied.wait()

    async def say_goodbye(self, *messages: Message) -> None:
        """Write what was still to be told, and these: no audio, and no longer than a second. `run` has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                for text in [*(item for item in self._items if isinstance(item, str)), *map(p.encode, messages)]:
                    await self._socket.send_text(text)
