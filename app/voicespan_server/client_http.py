"""A client's HTTP requests: a class for uvicorn's `http=` option, which waits for no request for ever.

uvicorn's own (0.54) has a bound for the time between two requests alone: whoever sends nothing, or half of a request,
keeps a connection, and whoever sends a head, or a trailer, without an end fills the memory. And who reads no answer
keeps both.
"""

from __future__ import annotations

import asyncio
import socket

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

# From the connection, or a later request's first byte, to the request's last.
REQUEST_S = 10.0
# For the rest of one that has begun when the server is stopped: others wait behind it.
STOPPING_S = 1.0
# As websockets takes 128 headers of 8 KiB, but of all of them together.
MAX_HEAD_BYTES = 64 << 10
# Of a client that takes nothing of what waits for it, be it an answer or a call's audio: a close waits for that too.
UNREAD_S = 60.0


class ClientHttp(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with bounds for a request's time, its head's and trailer's size and an unread answer."""

    _due: asyncio.TimerHandle | None = None
    _head_bytes = 0  # of a head, or of a trailer, that has no end so far
    _came_on = False  # whether what was read last ended one, or was of a body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """The first request is waited for; who reads nothing, of a WebSocket either, is not."""
        super().connection_made(transport)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux's: the kernel breaks the connection off
            milliseconds = round(UNREAD_S * 1000)
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for."""
        self._stop_waiting()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops: half of a request does not hold it up for long."""
        super().shutdown()
        if self._due:
            self._stop_waiting()
            self._wait(STOPPING_S)

    def data_received(self, data: bytes) -> None:
        """Some of a request, or a line's end ahead of one."""
        self._wait()
        self._came_on = False
        super().data_received(data)
        if not (self._came_on or self.transport.is_closing()):
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._head_bytes = 1  # with what else was read of it, unless that began with the end of another
        self._wait()

    def on_headers_complete(self) -> None:
        """A request's head is whole."""
        self._comes_on()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of a body, which has a bound of its own."""
        self._comes_on()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole, or the upgrade of one that becomes a WebSocket."""
        self._comes_on()
        self._stop_waiting()
        super().on_message_complete()

    def _comes_on(self) -> None:
        self._came_on, self._head_bytes = True, 0

    def _wait(self, seconds: float | None = None) -> None:
        if self._due is None:
            self._due = self.loop.call_later(REQUEST_S if seconds is None else seconds, self._time_out)

    def _stop_waiting(self) -> None:
        if self._due:
            self._due.cancel()
            self._due = None

    def _time_out(self) -> None:
        self._stop_waiting()
        if self._answering and (self.pipeline or not self.cycle.more_body):
            self._wait()  # what is late is the request behind the one that is answered, and may wait for that itself
        else:
            self._refuse(b"408 Request Timeout")

    @property
    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first, whatever uvicorn says it is
        return cycle is not None and not cycle.response_complete

    def _refuse(self, status: bytes) -> None:
        """Hang up; with an answer where there is half of a head, and none to another request is under way."""
        self._stop_waiting()
        if self._head_bytes and not self._answering:
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.transport.close()
