"""The connection as a call sees it."""

import asyncio
from typing import Protocol

from voicespan_simulator.pace import Pace
from voicespan_simulator.wire_json import JsonObject

# At fast pace, between the announcement of a close and the close: a client that leaves at once is the first to close.
TIME_TO_LEAVE_S = 0.25


class Channel(Protocol):
    """One client's connection; sending on one that is gone does nothing."""

    async def send(self, message: JsonObject) -> None:
        """Sends one message."""

    async def close(self, code: int, reason: str) -> None:
        """Closes with a close frame."""

    def abort(self) -> None:
        """Drops the TCP connection without one."""


class Line:
    """A channel, the pace of the call, and a closing that was announced."""

    def __init__(self, channel: Channel, pace: Pace) -> None:
        self._channel = channel
        self.pace = pace
        self._closing: asyncio.Task[None] | None = None

    async def send(self, message: JsonObject) -> None:
        """Sends now."""
        await self._channel.send(message)

    async def close(self, code: int, reason: str) -> None:
        """Closes now."""
        await self._channel.close(code, reason)

    def abort(self) -> None:
        """Loses the connection."""
        self._channel.abort()

    def close_later(self, seconds: float, code: int, reason: str) -> None:
        """Closes when the time is up, whatever happens until then."""

        async def close_when_due() -> None:
            await self.pace.wait(seconds)
            await self.pace.hold(TIME_TO_LEAVE_S)
            await self._channel.close(code, reason)

        self._closing = asyncio.create_task(close_when_due())

    async def hang_up(self) -> None:
        """The connection has ended: nothing is to be closed any more."""
        if self._closing is not None:
            self._closing.cancel()
            await asyncio.gather(self._closing, return_exceptions=True)
