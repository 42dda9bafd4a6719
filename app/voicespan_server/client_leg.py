"""The client's WebSocket, its audio taken and given as bytes: a class for uvicorn's `ws=` option.

Whole binary frames of audio go to a callback, and audio and text to the client straight to the transport. Everything
else, the upgrade, text of the client's, pings, closes, fragments, frames that are too long, is uvicorn's as ever, and
goes through ASGI. The application finds the leg among the scope's extensions; under a server without this class there
is none, and all goes through ASGI.

Order holds: uvicorn stops reading while a message waits for the application, and what was read by then goes behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import SecurityError
from websockets.frames import Opcode
from websockets.http11 import Request

from voicespan_server import protocol as p
from voicespan_server.access.allowance import Allowance
from voicespan_server.access.refusal import RATE_LIMITED
from voicespan_server.audio_wire import FINAL, FINAL_BINARY, FINAL_TEXT, MASKED, frame_at, server_frame, unmasked
from voicespan_server.waiting import Flag, Mailbox

EXTENSION = "voicespan.audio"
_DATA = frozenset({Opcode.CONT, Opcode.TEXT, Opcode.BINARY})
CLOSE_S = 1.0
# Frames that are not audio, pings and empty ones too: each costs as much as one that says something.
FRAMES_PER_S, FRAMES_AT_ONCE = 1_000, 5_000
FLOOD = "the client sends frames faster than it may"
_END_OF_HEAD = b"\r\n\r\n"


class ClientLeg(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol with a way around it for audio."""

    # Ours, and so many of uvicorn's own attributes that the rest are thirty at most: of more than that Python keeps the
    # names with each object, in a dict of 1.5 KiB instead of 0.3.
    __slots__ = (
        "_at_frame",
        "_frames",
        "_held",
        "_in_fragments",
        "_max_bytes",
        "_on_audio",
        "_owed",
        "_request",
        "close_timer",
        "flooded",
        "last_ping_rtt",
        "pending_ping_payload",
        "ping_interval",
        "ping_sent_at",
        "ping_timeout",
        "ping_timer",
        "pong_timer",
        "queue",
        "writable",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue, self.writable = Mailbox(), Flag()  # type: ignore[assignment]  # of a call's five KiB these were four
        self.writable.set()
        self._request: Request | None = None
        self._on_audio: Callable[[bytes], None] | None = None
        self._max_bytes = 0
        self._at_frame = False  # whether what is read next, behind what is held, begins with a frame
        self._held = b""
        self._in_fragments = False  # a message has begun and not ended
        self._frames = Allowance(FRAMES_PER_S, FRAMES_AT_ONCE)
        self.flooded = False  # whether its frames were too many, and it was hung up on
        self._owed = 0  # bytes that uvicorn's parser still waits for, of a frame that is not audio

    def handle_connect(self, event: Request) -> None:
        """Let the application find this object."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            self._request = event
            # The application's task was created, but has not run yet.
            cast("dict[str, object]", self.scope["extensions"])[EXTENSION] = self

    def forget_handshake(self) -> None:
        """Let go of the upgrade's headers and of the ASGI scope: nobody reads them once the call has begun."""
        if self._request:
            self._request.headers.clear()
            self._request = None
            self.response.headers.clear()
            cast("list[object]", self.scope["headers"]).clear()  # which Starlette has, too
            cast("dict[str, object]", self.scope).clear()

    async def send(self, message: ASGISendEvent) -> None:
        """As uvicorn's, but a refused upgrade was answered: uvicorn would log an error for each (0.54)."""
        await super().send(message)
        if self.initial_response and self.close_sent:
            self.handshake_complete = True

    def take_audio(self, on_audio: Callable[[bytes], None] | None, max_bytes: int) -> None:
        """Audio of an even number of bytes, at most `max_bytes`, goes to `on_audio`; with None to ASGI, as at first."""
        self._on_audio, self._max_bytes = on_audio, max_bytes

    def _refuse_head(self) -> None:
        """websockets takes 128 headers of 8 KiB and no body; of others uvicorn (0.54) would not hear, nor answer."""
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        too_large = isinstance(self.conn.handshake_exc, SecurityError)
        status = b"431 Request Header Fields Too Large" if too_large else b"400 Bad Request"
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.transport.close()

    # --- what comes ---------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Cut what was read into frames: audio is taken out, the rest is uvicorn's."""
        if not self._at_frame:
            # The upgrade, as uvicorn's HTTP protocol puts it together: the request's head and nothing behind it.
            self._at_frame = data.endswith(_END_OF_HEAD) and not self.handshake_initiated
            super().data_received(data)
            if self.conn.handshake_exc is not None and not self.handshake_initiated:
                self._refuse_head()
            return
        if self.flooded:
            return
        if self._held:
            data, self._held = self._held + data, b""
        at, left, size = min(self._owed, len(data)), 0, len(data)  # what stands before `left` is dealt with
        self._owed -= at
        while at < size:
            if (frame := frame_at(data, at)) is None:
                break
            payload, end = frame
            first = data[at]
            if first == FINAL_BINARY and data[at + 1] & MASKED and self._wants(end - payload):
                if end > size:
                    break
                # First what stands before it: it may be a text, and then this goes behind that, to ASGI.
                self._pass_on(data, left, at)
                left = at
                if self._on_audio and not (self.read_paused or self.close_sent or self.transport.is_closing()):
                    left = end
                    self._on_audio(unmasked(data, payload, end))
            else:
                if not self._frames.allow(1):
                    self._pass_on(data, left, at)
                    self._end_flood()
                    return
                if first & 0x0F in _DATA:
                    self._in_fragments = not first & FINAL
                if end > size:
                    self._owed, end = end - size, size
            at = end
        self._pass_on(data, left, at)
        if at < size:
            self._held = data[at:]

    def _wants(self, length: int) -> bool:
        return self._on_audio is not None and 0 < length <= self._max_bytes and not (length & 1 or self._in_fragments)

    def _pass_on(self, data: bytes, start: int, end: int) -> None:
        if start < end and not self.transport.is_closing():
            super().data_received(data if end - start == len(data) else data[start:end])

    def _end_flood(self) -> None:
        """Hang up on a client whose frames would keep the server from all others; what still comes is dropped."""
        self.flooded, self._held = True, b""
        if not self.handshake_complete:
            self.transport.close()
        elif not (self.close_sent or self.transport.is_closing()):
            self.send_text(p.encode(p.error(RATE_LIMITED.code, f"{FLOOD}: the call ends here")))
            self.conn.send_close(RATE_LIMITED.close_code, FLOOD)
            self._say_close(RATE_LIMITED.close_code, FLOOD)

    def handle_ping(self) -> None:
        """Answer, unless the client reads nothing: pongs that wait would fill the memory."""
        pong = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(pong)

    def shutdown(self) -> None:
        """The server stops: close as an application does, and give the client the time to answer.

        uvicorn would close the transport at once, and the code 1012, which says "call again", would not arrive.
        """
        if not self.handshake_complete or self.close_sent or self.transport.is_closing():
            super().shutdown()
            return
        self.conn.send_close(p.CloseCode.RESTART)
        self._say_close(p.CloseCode.RESTART, "")

    def handle_parser_exception(self) -> None:
        """The client said what it may not, and is told so: a message too long, a text that is none."""
        if self.close_sent:
            return  # what still comes is read and dropped
        close = self.conn.close_sent
        assert close is not None
        self._say_close(close.code, close.reason)

    def _say_close(self, code: int, reason: str) -> None:
        """Write the close that the connection has ready, and go on reading until it is answered, or for a second.

        Bytes that nobody reads reset the connection, and the code is lost with it.
        """
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSE_S, self.transport.close)

    # --- what goes ----------------------------------------------------------------------------------------------------

    def send_audio(self, pcm: bytes) -> bool:
        """Write a chunk of audio; False where the client takes none now: ASGI's `send` waits until it does."""
        return self._write(FINAL_BINARY, pcm)

    def send_text(self, text: str) -> bool:
        """Write a text; False as above."""
        return self._write(FINAL_TEXT, text.encode())

    def _write(self, first: int, payload: bytes) -> bool:
        if not self.writable.is_set() or not self.handshake_complete or self.close_sent or self.transport.is_closing():
            return False
        self.transport.write(server_frame(first, payload))
        return True
