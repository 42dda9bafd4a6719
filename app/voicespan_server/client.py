"""A client of `voice.v1`, for the command line, the demo and the tests."""

from __future__ import annotations

import asyncio
import json
import time
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from voicespan_server.protocol import INPUT_RATE_HZ, OUTPUT_RATE_HZ, SUBPROTOCOL

FRAME_S = 0.04
FRAME_BYTES = int(INPUT_RATE_HZ * FRAME_S) * 2
SILENCE = bytes(FRAME_BYTES)

Message = dict[str, Any]


class CallError(Exception):
    """The server refused the call, or ended it before it began."""


def read_wav(path: Path) -> bytes:
    """16-bit mono PCM at 16 kHz from a WAV file.

    Raises:
        CallError: it has another format; says which.
    """
    try:
        with wave.open(str(path), "rb") as file:
            found = (file.getnchannels(), file.getsampwidth() * 8, file.getframerate())
            if found != (1, 16, INPUT_RATE_HZ):
                channels, bits, rate = found
                raise CallError(
                    f"{path}: {channels} channel(s), {bits} bits, {rate} Hz; needed are 1, 16 and {INPUT_RATE_HZ}"
                )
            return file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise CallError(f"{path} cannot be read as a WAV file: {error}") from error


@dataclass(slots=True)
class VoiceClient:
    """A call in progress: an open microphone, what the server said, and how much it spoke."""

    socket: ClientConnection
    ready: Message
    messages: list[Message] = field(default_factory=list)
    audio_bytes: int = 0
    listener: Callable[[Message], None] | None = None
    close_code: int | None = None
    close_reason: str = ""
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _speech: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    @property
    def session_id(self) -> str:
        """The session's id."""
        return str(self.ready["session_id"])

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return str(self.ready["trace_id"])

    @property
    def heard_s(self) -> float:
        """Seconds of the model's voice received so far."""
        return self.audio_bytes / 2 / OUTPUT_RATE_HZ

    async def say(self, pcm: bytes) -> None:
        """Speak into the open microphone; returns when the last sample has been sent.

        Raises:
            CallError: the call ended first.
        """
        for start in range(0, len(pcm), FRAME_BYTES):
            await self._speech.put(pcm[start : start + FRAME_BYTES].ljust(FRAME_BYTES, b"\0"))
        await self.wait_for(lambda call: call._speech.empty(), timeout_s=len(pcm) / INPUT_RATE_HZ + 30)

    async def send(self, message: Message) -> None:
        """Send a control message."""
        await self.socket.send(json.dumps(message))

    async def wait_for(self, wanted: Callable[[VoiceClient], bool], timeout_s: float = 30.0) -> None:
        """Wait until something is true of the call.

        Raises:
            TimeoutError: it did not become true.
            CallError: the call ended first.
        """
        async with asyncio.timeout(timeout_s), self._news:
            while not wanted(self):
                if self.close_code is not None:
                    raise CallError(f"the call ended: {self.close_code} {self.close_reason}")
                await self._news.wait()

    def of_type(self, kind: str) -> list[Message]:
        """The server's messages of one type, in order."""
        return [message for message in self.messages if message["type"] == kind]

    async def hang_up(self) -> None:
        """Say goodbye and close."""
        try:
            await self.send({"type": "bye"})
            async with asyncio.timeout(5):
                await self.socket.wait_closed()
        except (ConnectionClosed, TimeoutError):
            pass

    async def _listen(self) -> None:
        try:
            async for received in self.socket:
                if isinstance(received, bytes):
                    self.audio_bytes += len(received)
                else:
                    message = json.loads(received)
                    self.messages.append(message)
                    if self.listener:
                        self.listener(message)
                async with self._news:
                    self._news.notify_all()
        except ConnectionClosed:
            pass
        self.close_code = self.socket.close_code or 1006
        self.close_reason = self.socket.close_reason or ""
        async with self._news:
            self._news.notify_all()

    async def _microphone(self, pace: float) -> None:
        """A frame every 40 ms, silence where nobody speaks. Deadlines, not pauses: pauses add up."""
        began = time.monotonic()
        sent = 0
        try:
            while True:
                speaking = not self._speech.empty()
                await self.socket.send(self._speech.get_nowait() if speaking else SILENCE)
                if speaking and self._speech.empty():
                    async with self._news:
                        self._news.notify_all()
                sent += 1
                await asyncio.sleep(max(0.0, began + sent * FRAME_S * pace - time.monotonic()))
        except ConnectionClosed:
            pass


@asynccontextmanager
async def call(url: str, *, user_id: str | None = None, pace: float = 1.0) -> AsyncIterator[VoiceClient]:
    """Place a call to a server's `/ws/voice`. With `pace` 0.1 the microphone runs ten times faster than time.

    Raises:
        CallError: the server refused it.
        OSError: the server is not there.
    """
    try:
        connection = await connect(url, subprotocols=[SUBPROTOCOL], compression=None, max_size=1 << 22)  # type: ignore[list-item]
    except WebSocketException as error:
        raise CallError(f"{url}: {error}") from error
    async with connection as socket:
        hello: Message = {"type": "hello", "v": 1, "input": {"rate": INPUT_RATE_HZ}}
        if user_id:
            hello["user"] = {"id_hash": user_id}
        await socket.send(json.dumps(hello))
        try:
            first = json.loads(await socket.recv())
        except ConnectionClosed as error:
            raise CallError(f"the server closed the call: {error}") from error
        if first["type"] != "ready":
            raise CallError(f"{first.get('code')}: {first.get('message')}")
        client = VoiceClient(socket, first)
        loops = [asyncio.create_task(loop) for loop in (client._listen(), client._microphone(pace))]
        try:
            yield client
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
