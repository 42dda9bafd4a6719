"""A client of `voice.v1`, for the command line, the demo, the load generator and the tests.

async with call("ws://127.0.0.1:8000/ws/voice") as running:
    await running.say(pcm)
    await running.wait_for(lambda c: bool(c.of(TurnCompleted)))
    await running.hang_up()
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from voicespan_server.protocol import BEARER, INPUT_RATE_HZ, OUTPUT_RATE_HZ, SUBPROTOCOL
from voicespan_server.server_messages import (
    Error,
    Goodbye,
    Ready,
    ServerMessage,
    UnreadableMessage,
    parse_server_message,
)

FRAME_S = 0.04
UPGRADE_TIMEOUT_S = 10.0
FRAME_BYTES = int(INPUT_RATE_HZ * FRAME_S) * 2
SILENCE = bytes(FRAME_BYTES)

M = TypeVar("M", bound=ServerMessage)


class CallError(Exception):
    """The server refused the call, or ended it before it was over.

    `code` groups its causes: the code of the server's `error`, else `http-STATUS` or `close-CODE`.
    """

    def __init__(self, message: str, code: str = "", retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_ms = retry_after_ms


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


@dataclass(frozen=True, slots=True)
class Resumption:
    """A session of a call that was lost, as the next one names it."""

    session_id: str
    token: str


@dataclass(slots=True)
class VoiceClient:
    """A call in progress: an open microphone, what the server said, and how much it spoke."""

    socket: ClientConnection
    ready: Ready
    messages: list[ServerMessage] = field(default_factory=list)
    audio_bytes: int = 0
    listener: Callable[[ServerMessage], None] | None = None
    audio_listener: Callable[[bytes], None] | None = None
    close_code: int | None = None
    close_reason: str = ""
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _speech: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self.ready.session_id

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return self.ready.trace_id

    @property
    def manual(self) -> bool:
        """Whether this side says when its user speaks."""
        return self.ready.input.turns == "manual"

    @property
    def resumption(self) -> Resumption | None:
        """What goes on with this session in another call; None where the server keeps none."""
        kept = self.ready.resume
        return Resumption(self.session_id, kept.token) if kept else None

    @property
    def heard_s(self) -> float:
        """Seconds of the model's voice received so far."""
        return self.audio_bytes / 2 / OUTPUT_RATE_HZ

    def of(self, kind: type[M]) -> list[M]:
        """The server's messages of one type, in order."""
        return [message for message in self.messages if isinstance(message, kind)]

    async def say(self, pcm: bytes) -> None:
        """Speak into the microphone; returns when the last sample has been sent. Pushes to talk where turns are manual.

        Raises:
            CallError: the call ended first.
        """
        if self.manual:
            await self.send({"type": "activity.start"})
        for start in range(0, len(pcm), FRAME_BYTES):
            await self._speech.put(pcm[start : start + FRAME_BYTES].ljust(FRAME_BYTES, b"\0"))
        await self.wait_for(lambda call: call._speech.empty(), timeout_s=len(pcm) / INPUT_RATE_HZ + 30)
        if self.manual:
            await self.send({"type": "activity.end"})

    async def type_text(self, text: str) -> None:
        """Say something by keyboard."""
        await self.send({"type": "text", "text": text})

    async def end_audio(self) -> None:
        """Tell that the microphone was switched off."""
        await self.send({"type": "audio.end"})

    async def show(self, image: bytes, mime: str) -> None:
        """Show the model a picture."""
        await self.send({"type": "image", "mime": mime, "data": base64.b64encode(image).decode()})

    async def report_playback(self, turn: int, event: str, ms: float = 0) -> None:
        """Tell that the loudspeaker `started` to play a turn's answer, or `stopped`, `ms` into it."""
        await self.send({"type": "playback", "turn": turn, "event": event, "ms": ms})

    async def ping(self, t: float) -> None:
        """Ask for a pong that carries `t` back."""
        await self.send({"type": "ping", "t": t})

    async def send(self, message: dict[str, Any]) -> None:
        """Send a control message as it is."""
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
                    raise self.failure()
                await self._news.wait()

    async def wait_until_over(self, timeout_s: float = 30.0) -> None:
        """Wait until the server has ended the call.

        Raises:
            TimeoutError: it did not.
        """
        async with asyncio.timeout(timeout_s), self._news:
            while self.close_code is None:
                await self._news.wait()

    def failure(self) -> CallError:
        """Why a call that is over ended, for those who did not expect it."""
        told = self.of(Error)
        code = told[-1].code if told else f"close-{self.close_code}"
        return CallError(f"the call ended: {self.close_code} {self.close_reason}", code)

    async def hang_up(self) -> None:
        """Say goodbye and close."""
        try:
            await self.send({"type": "bye"})
            await self.wait_until_over(5)
        except (ConnectionClosed, TimeoutError):
            pass

    async def _listen(self) -> None:
        fault = ""
        try:
            async for received in self.socket:
                if isinstance(received, bytes):
                    self.audio_bytes += len(received)
                    if self.audio_listener:
                        self.audio_listener(received)
                else:
                    message = parse_server_message(received)
                    self.messages.append(message)
                    if self.listener:
                        self.listener(message)
                async with self._news:
                    self._news.notify_all()
        except ConnectionClosed:
            pass
        except UnreadableMessage as error:
            fault = f"the server does not speak {SUBPROTOCOL}: {error}"
            await self.socket.close(1002, "unreadable message")
        self.close_code = 1002 if fault else self.socket.close_code or 1006
        self.close_reason = fault or self.socket.close_reason or ""
        async with self._news:
            self._news.notify_all()

    async def _microphone(self, pace: float) -> None:
        """A frame every 40 ms, silence where nobody speaks, or nothing where nobody pushes to talk.

        Deadlines, not pauses: pauses add up.
        """
        began = time.monotonic()
        sent = 0
        try:
            while True:
                speaking = not self._speech.empty()
                if speaking or not self.manual:
                    await self.socket.send(self._speech.get_nowait() if speaking else SILENCE)
                if speaking and self._speech.empty():
                    async with self._news:
                        self._news.notify_all()
                sent += 1
                await asyncio.sleep(max(0.0, began + sent * FRAME_S * pace - time.monotonic()))
        except ConnectionClosed:
            pass


@asynccontextmanager
async def call(
    url: str,
    *,
    user_id: str | None = None,
    token: str | None = None,
    turns: Literal["auto", "manual"] = "auto",
    resume: Resumption | None = None,
    traceparent: str | None = None,
    pace: float = 1.0,
    microphone: bool = True,
) -> AsyncIterator[VoiceClient]:
    """Place a call to a server's `/ws/voice`. With `pace` 0.1 the microphone runs ten times faster than time.

    `token` is a session token; it travels as the second subprotocol. `traceparent` is the caller's own span, as W3C
    writes it: the call's trace is linked with it. Without a `microphone` only what is typed is sent.

    Raises:
        CallError: the server refused it.
        OSError: the server is not there.
    """
    offered = [Subprotocol(SUBPROTOCOL), *([Subprotocol(BEARER + token)] if token else [])]
    try:
        connection = await connect(
            url, subprotocols=offered, compression=None, max_size=1 << 22, open_timeout=UPGRADE_TIMEOUT_S
        )
    except InvalidStatus as error:
        status = error.response.status_code
        after = error.response.headers.get("Retry-After", "")
        body = (error.response.body or b"").decode(errors="replace").strip()[:200]
        said = f": {body}" if body else ""
        raise CallError(
            f"{url}: refused with HTTP {status}{said}",
            f"http-{status}",
            int(after) * 1000 if after.isdecimal() else None,
        ) from error
    except WebSocketException as error:
        raise CallError(f"{url}: {error}", type(error).__name__) from error
    except TimeoutError as error:
        raise CallError(f"{url}: the upgrade was not answered within {UPGRADE_TIMEOUT_S:g} s", "no-answer") from error
    async with connection as socket:
        client = VoiceClient(socket, await _begin(socket, user_id, turns, resume, traceparent))
        loops = [asyncio.create_task(client._listen())]
        if microphone:
            loops.append(asyncio.create_task(client._microphone(pace)))
        try:
            yield client
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)


async def _begin(
    socket: ClientConnection, user_id: str | None, turns: str, resume: Resumption | None, traceparent: str | None
) -> Ready:
    hello: dict[str, Any] = {"type": "hello", "v": 1, "input": {"rate": INPUT_RATE_HZ, "turns": turns}}
    if resume:
        hello["resume"] = {"session_id": resume.session_id, "token": resume.token}
    if user_id:
        hello["user"] = {"id_hash": user_id}
    if traceparent:
        hello["traceparent"] = traceparent
    try:
        with suppress(ConnectionClosed):  # refused before a hello: why, is still to be read
            await socket.send(json.dumps(hello))
        while True:
            received = await socket.recv()
            if isinstance(received, bytes):
                continue
            match parse_server_message(received):
                case Ready() as ready:
                    return ready
                case Error() as error:
                    raise CallError(f"{error.code}: {error.message}", error.code, error.retry_after_ms)
                case Goodbye() as goodbye:
                    raise CallError(f"the server ended the call: {goodbye.reason}", f"close-{goodbye.code}")
    except ConnectionClosed as error:
        code = error.rcvd.code if error.rcvd else 1006
        raise CallError(f"the server closed the call: {error}", f"close-{code}") from error
    except UnreadableMessage as error:
        raise CallError(f"the server does not speak {SUBPROTOCOL}: {error}", "unreadable") from error
