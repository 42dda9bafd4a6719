"""One connection to the model, made through google-genai: dial, send, receive, and what ended it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from google.genai import live, types

from voicespan_server.audio_wire import warn_once
from voicespan_server.failures import SetupRefused
from voicespan_server.interpreter import buffers_of_their_own
from voicespan_server.live import Upstream
from voicespan_server.settings import Settings
from voicespan_server.upstream_leg import MIME_TYPE, UpstreamLeg

# What the SDK raises on a message that it cannot make sense of: of a kind or a shape that it does not know, no JSON
# object at all, or one that is nested without end. Such a message is skipped, and told.
UNREADABLE = (TypeError, ValueError, AttributeError, LookupError, RecursionError)


class LiveConnection:
    """A Live session whose setup was answered. Sending to one that has ended raises `failures.ConnectionFailed`."""

    def __init__(
        self, session: live.AsyncSession, dialled: AbstractAsyncContextManager[live.AsyncSession] | None = None
    ) -> None:
        self._session = session
        self._dialled = dialled
        # What the service calls the session, on Vertex.
        self.provider_session_id = session.setup_complete.session_id if session.setup_complete else None
        session.setup_complete = None  # nobody reads it any more, and as a model it takes most of a KiB
        socket = getattr(session, "_ws", None)  # private: without it all goes the SDK's own way
        self._leg = socket if isinstance(socket, UpstreamLeg) else None
        if self._leg:
            self._leg.forget_handshake()
        else:
            warn_once("the model", "google-genai does not use the connection that it was given")

    async def forget_dialling(self) -> None:
        """Leave the SDK's `connect`, which holds all that it dialled with, 12 KiB, where that closes no connection."""
        if self._leg and self._dialled:
            self._leg.ignores_close = True
            dialled, self._dialled = self._dialled, None
            await dialled.__aexit__(None, None, None)

    async def end(self) -> None:
        """Close it for good."""
        await (self._dialled.__aexit__(None, None, None) if self._dialled else self._session.close())

    def take_audio(self, on_audio: Callable[[bytes, str], None] | None) -> None:
        """Have messages that are audio alone given to `on_audio`, as PCM and its mime type, and not to `messages`."""
        if self._leg:
            self._leg.on_audio = on_audio

    def write_audio(self, frame: bytes) -> bool:
        """Send one frame of the user's audio at once; False where `send_audio` has to, which may wait."""
        return self._leg is not None and self._leg.send_audio(frame)

    @property
    def traffic(self) -> int | None:
        """How many frames have come, pongs too; None where that is not known."""
        return self._leg.traffic if self._leg else None

    @property
    def ping_every_s(self) -> float | None:
        """How often to `ping`, so that proxies see that somebody is here; None where websockets does."""
        return self._leg.ping_interval if self._leg and self._leg.pings_are_ours else None

    def ping(self) -> None:
        """Nobody waits for the pong; it is traffic as all else."""
        if self._leg:
            self._leg.ping_at_once()

    async def send_audio(self, frame: bytes) -> None:
        """One frame of the user's audio."""
        if not self.write_audio(frame):
            await self._session.send_realtime_input(audio=types.Blob(data=frame, mime_type=MIME_TYPE))

    async def send_text(self, text: str) -> None:
        """What the user typed."""
        await self._session.send_realtime_input(text=text)

    async def end_audio(self) -> None:
        """The microphone was switched off: what was heard so far is the whole utterance."""
        await self._session.send_realtime_input(audio_stream_end=True)

    async def start_activity(self) -> None:
        """The user pressed the button, where turns are manual."""
        await self._session.send_realtime_input(activity_start=types.ActivityStart())

    async def end_activity(self) -> None:
        """The user let go of it."""
        await self._session.send_realtime_input(activity_end=types.ActivityEnd())

    async def send_image(self, data: bytes, mime_type: str) -> None:
        """A picture, or a frame of a video."""
        await self._session.send_realtime_input(video=types.Blob(data=data, mime_type=mime_type))

    async def close(self) -> None:
        """Leave: whoever reads the messages finds the connection ended."""
        await self._session.close()

    async def send_tool_response(self, response: types.FunctionResponse) -> None:
        """What a tool returned."""
        await self._session.send_tool_response(function_responses=response)

    async def messages(self, on_unreadable: Callable[[Exception], None]) -> AsyncIterator[types.LiveServerMessage]:
        """All messages until the connection ends, which raises `failures.ConnectionFailed`."""
        while True:
            try:
                # receive() ends with each turn; the session goes on.
                async for message in self._session.receive():
                    yield message
            except UNREADABLE as error:
                on_unreadable(error)


async def dial(upstream: Upstream, settings: Settings, config: types.LiveConnectConfig) -> LiveConnection:
    """Connect and have the setup answered, within `setup_timeout_s`. Who dialled ends it.

    Raises:
        failures.ConnectionFailed: there is no connection.
    """
    dialled = upstream.client.aio.live.connect(model=settings.model, config=config)
    async with asyncio.timeout(settings.setup_timeout_s):
        with buffers_of_their_own():
            session = await dialled.__aenter__()
    try:
        if session.setup_complete is None:
            # The SDK takes an error in place of the setup's answer for a session.
            raise SetupRefused("the model did not accept the setup")
        connection = LiveConnection(session, dialled)
        await connection.forget_dialling()
    except BaseException:
        await dialled.__aexit__(None, None, None)
        raise
    return connection
