"""The connection to the model, its audio taken and given as bytes.

google-genai lets its Live client be given a subclass of websockets' connection (`create_connection`, in
`HttpOptions.async_client_args`). It dials, authenticates and sets up as ever, and all but audio goes through its typed
`receive`. What is plainly a chunk of the model's voice goes to a callback instead, and the user's audio is written
straight to the transport.

Order holds: while a message that went to `receive` has not been dealt with, audio behind it waits in websockets' own
queue. And where anything is not as this file expects it, all goes to `receive`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import Opcode
from websockets.protocol import OPEN

from voicespan_server.audio_wire import (
    FINAL_BINARY,
    FINAL_TEXT,
    audio_writer,
    frame_at,
    model_audio,
    says_nothing,
    warn_once,
)
from voicespan_server.protocol import INPUT_RATE_HZ
from voicespan_server.waiting import Line

MIME_TYPE = f"audio/pcm;rate={INPUT_RATE_HZ}"
# Longer than any chunk of audio that was ever seen (1.08 s, 69 KB of base64): a longer frame is not held together here.
MAX_FRAME_BYTES = 256 << 10
_INTERNALS = ("protocol", "transport", "paused", "send_in_progress")
_WHOLE = frozenset({FINAL_TEXT, FINAL_BINARY})
_END_OF_HEAD = b"\r\n\r\n"
_audio_frame = audio_writer(MIME_TYPE)


class UpstreamLeg(ClientConnection):
    """websockets' client connection with a way around it for audio.

    `on_audio` is called with the PCM and the mime type of each chunk of the model's voice; while it is None `receive`
    gets all.
    """

    # Beside websockets' own attributes, which fill a dict: with these in it, it would be twice as large.
    __slots__ = (
        "_at_frame",
        "_held",
        "_in_hand",
        "_owed",
        "_plain",
        "_unread",
        "frames_received",
        "ignores_close",
        "on_audio",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drain_waiters = Line()  # type: ignore[assignment]
        self.on_audio: Callable[[bytes, str], None] | None = None
        self.ignores_close = False  # the next one
        self.frames_received = 0
        self._plain = False
        self._at_frame = False  # whether what is read next, behind what is held, begins with a frame
        self._held = b""
        self._owed = 0  # bytes that the parser still waits for, of a long frame
        self._unread = 0  # messages that `receive` is to have
        self._in_hand = False  # whether it has one that is not dealt with yet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Look whether websockets is as it is known."""
        super().connection_made(transport)
        if missing := [name for name in _INTERNALS if not hasattr(self, name)]:
            self._go_plain(f"this version of websockets has no {', '.join(missing)}")
        if hasattr(self.recv_messages, "frames"):
            self.recv_messages.frames.queue = Line()  # type: ignore[assignment]

    def forget_handshake(self) -> None:
        """Let go of the upgrade's headers and of the certificate as a dict: 8 KiB that nobody reads any more."""
        for side in (self.request, self.response):
            if side:
                side.headers.clear()
        if certificate := self.transport.get_extra_info("peercert"):
            certificate.clear()

    @property
    def pings_are_ours(self) -> bool:
        """Whether who holds the connection is to ping: where nobody waits for the pongs, that needs no task."""
        return self.ping_interval is not None and self.ping_timeout is None

    def start_keepalive(self) -> None:
        """Have websockets ping, unless we do."""
        if not self.pings_are_ours:
            super().start_keepalive()

    def ping_at_once(self) -> None:
        """Ping; nobody waits for the pong."""
        if self.protocol.state is OPEN:
            self.protocol.send_ping(b"")
            self.send_data()

    @property
    def traffic(self) -> int | None:
        """How many frames have come, pongs too; None where they are not counted."""
        return None if self._plain else self.frames_received

    def _go_plain(self, reason: str) -> None:
        self._plain = True
        warn_once("the model", reason)

    # --- what comes ---------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Cut what was read into frames: audio is taken out, the rest is websockets'."""
        if not self._at_frame:
            self._held = (self._held + data)[-len(_END_OF_HEAD) :]
            super().data_received(data)
            if not self._plain and self.protocol.state is OPEN:
                # Ours is the first word, the setup: so the answer to the upgrade stands alone.
                self._at_frame = self._held == _END_OF_HEAD
                self._held = b""
                if not self._at_frame:
                    self._go_plain("the model's side spoke before it was spoken to")
            return
        if self._held:
            data, self._held = self._held + data, b""
        at, left, size = min(self._owed, len(data)), 0, len(data)  # what stands before `left` is dealt with
        self._owed -= at
        while at < size:
            if (frame := frame_at(data, at)) is None:
                break
            payload, end = frame
            if end > size and end - at <= MAX_FRAME_BYTES:
                break
            self.frames_received += 1
            if end > size or not (self.on_audio and self._may_take(data[at])):
                self._count(data[at])
            elif audio := model_audio(data, payload, end):
                self._pass_on(data, left, at)
                left = end
                self.on_audio(*audio)
            elif says_nothing(data, payload, end):
                self._pass_on(data, left, at)
                left = end
            else:
                self._count(data[at])
            if end > size:
                self._owed, end = end - size, size
            at = end
        self._pass_on(data, left, at)
        if at < size:
            self._held = data[at:]

    def _may_take(self, first: int) -> bool:
        """Whether the frame, whole and uncompressed, is the next thing that the call is to hear of."""
        return first in _WHOLE and not self._unread and not self._in_hand

    def _count(self, first: int) -> None:
        if first & 0x0F in {Opcode.TEXT, Opcode.BINARY}:  # continuations belong to the message that one of these began
            self._unread += 1

    def _pass_on(self, data: bytes, start: int, end: int) -> None:
        if start < end:
            super().data_received(data if end - start == len(data) else data[start:end])

    async def recv(self, decode: bool | None = None) -> Any:
        """The next message that is not audio. Asked for one more, its reader has dealt with the last.

        Audio that came behind it had to wait for that, and is now given where all audio is.
        """
        self._in_hand = False
        while True:
            message = await super().recv(decode)
            self._unread -= 1
            if not self._plain and self.on_audio and isinstance(message, bytes):
                size = len(message)
                if audio := model_audio(message, 0, size):
                    self.on_audio(*audio)
                    continue
                if says_nothing(message, 0, size):
                    continue
            self._in_hand = True
            return message

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye, unless this once it is not meant."""
        if self.ignores_close:
            self.ignores_close = False
            return
        await super().close(code, reason)

    # --- what goes ----------------------------------------------------------------------------------------------------

    def send_audio(self, pcm: bytes) -> bool:
        """Write a chunk of the user's audio; False where it takes none now: the SDK's `send` waits, or tells why."""
        if (
            self._plain
            or self.paused
            or self.send_in_progress
            or self.protocol.state is not OPEN
            or self.transport.is_closing()
        ):
            return False
        self.transport.write(_audio_frame(pcm))
        return True
