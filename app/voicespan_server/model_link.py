"""The way to the model for as long as a call lasts: dial, serve, and dial again by handle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from google.genai import types

from voicespan import VoiceSession
from voicespan import events as ev
from voicespan.events import Close
from voicespan_server import protocol as p
from voicespan_server.hangup import HungUp
from voicespan_server.live import ConnectionFailed, Upstream, close_of
from voicespan_server.live_connection import LiveConnection, dial
from voicespan_server.protocol import CloseCode, Message
from voicespan_server.settings import Settings
from voicespan_server.uplink import Item, Uplink


class ModelLink:
    """Keeps a connection to the model. `on_message` gets each message of it; `tell` reaches the client.

    Of messages that are a chunk of audio alone `on_audio` gets the PCM and its mime type, where the connection can.

    `busy` says that a connection which will be cut is not to be left now, for somebody waits for something over it.
    """

    def __init__(
        self,
        upstream: Upstream,
        settings: Settings,
        session: VoiceSession,
        uplink: Uplink,
        *,
        tasks: asyncio.TaskGroup,
        on_message: Callable[[types.LiveServerMessage], None],
        on_audio: Callable[[bytes, str], None],
        tell: Callable[[Message], None],
        busy: Callable[[], bool],
    ) -> None:
        self.connection: LiveConnection | None = None
        self._upstream = upstream
        self._settings = settings
        self._session = session
        self._uplink = uplink
        self._tasks = tasks
        self._on_message = on_message
        self._on_audio = on_audio
        self._tell = tell
        self._busy = busy
        self._handle: tuple[str, float] | None = None
        self._going_away = False
        self._failures = 0

    def going_away(self) -> None:
        """The service will cut the connection: leave it when nobody speaks, answers or works."""
        self._going_away = True

    def send_audio(self, frame: bytes) -> None:
        """Send a frame of the user's audio now, or put it in the line where others wait or the connection would."""
        if not self._uplink and self.connection and self.connection.write_audio(frame):
            self._session.audio_sent(frame)
        elif dropped_s := self._uplink.put(frame):
            self._session.feed(ev.InputDropped(dropped_s))

    async def run(self, ready: Message) -> None:
        """Never returns: raises `HungUp` where there is no way, or no way back, to the model."""
        up = False
        while True:
            try:
                handle, given_at = self._handle or (None, 0.0)
                self._session.feed(ev.Dialing(bool(handle), time.monotonic() - given_at if handle else None))
                async with dial(self._upstream, self._settings, handle) as connection:
                    self._going_away = False
                    self._session.feed(ev.Connected(connection.provider_session_id))
                    self._tell({"type": "session.resumed"} if up else ready)
                    up = True
                    await self._serve(connection)
            except ConnectionFailed as error:
                self._failures += 1
                self._on_failure(error, up=up)
            self._tell({"type": "session.reconnecting"})
            if self._failures:
                await asyncio.sleep(min(0.25 * 2**self._failures, 4.0))

    async def _serve(self, connection: LiveConnection) -> None:
        """Pass messages both ways until the connection ends, or is best left before the service cuts it."""
        self.connection = connection
        connection.take_audio(self._on_model_audio)
        # In the call's group, so that a fault in it ends the call instead of leaving the model deaf.
        sending = self._tasks.create_task(self._send(connection))
        try:
            async for message in connection.messages(self._on_unreadable):
                self._failures = 0
                self._keep_handle(message.session_resumption_update)
                self._on_message(message)
                if self._may_leave():
                    break
            self._session.feed(ev.Disconnected(Close(CloseCode.BYE, "left before the provider's cut", "server")))
        finally:
            connection.take_audio(None)
            self.connection = None
            sending.cancel()

    def _on_model_audio(self, pcm: bytes, mime_type: str) -> None:
        self._failures = 0
        self._on_audio(pcm, mime_type)

    def _keep_handle(self, update: types.LiveServerSessionResumptionUpdate | None) -> None:
        # One is withheld while the model generates or calls; the one before it still holds.
        if update and update.new_handle and update.resumable:
            self._handle = (update.new_handle, time.monotonic())

    def _on_unreadable(self, error: Exception) -> None:
        self._session.feed(ev.Unreadable(type(error).__name__))

    def _may_leave(self) -> bool:
        return self._going_away and self._handle is not None and not self._busy()

    async def _send(self, connection: LiveConnection) -> None:
        with suppress(*ConnectionFailed):  # the receiving side tells of it
            while True:
                await self._send_item(connection, await self._uplink.get())

    async def _send_item(self, connection: LiveConnection, item: Item) -> None:
        match item:
            case bytes():
                self._session.audio_sent(item)
                await connection.send_audio(item)
            case p.Text(text=text):
                self._session.feed(ev.UserText(text))
                await connection.send_text(text)
            case p.AudioEnd():
                self._session.feed(ev.AudioStreamEnd())
                await connection.end_audio()

    def _on_failure(self, error: BaseException, *, up: bool) -> None:
        """Go on by handle, or end the call where there is no way back."""
        close = close_of(error)
        timed_out = isinstance(error, TimeoutError)
        self._session.feed(ev.Disconnected(close, "live_timeout" if timed_out else None))
        # 1007 and 1008 are the service's words for a setup, or a handle, that it will never take.
        resumable = up and self._handle is not None and (self._going_away or close.code not in {1007, 1008})
        if resumable and self._failures <= self._settings.reconnect_attempts:
            return
        what = "did not answer in time" if timed_out else f"ended the session: {close.reason or close.code}"
        raise HungUp(
            Close(
                CloseCode.MODEL_TIMEOUT if timed_out else CloseCode.MODEL_CLOSED,
                p.close_reason(f"live:{close.code} {close.reason}"),
                "provider",
            ),
            "live_timeout" if timed_out else f"live_{close.code}",
            p.error("model_closed", f"the model {what}", retryable=resumable),
        )
