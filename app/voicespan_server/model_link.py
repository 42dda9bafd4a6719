"""The way to the model for as long as a call lasts: dial, serve, and dial again by handle."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from google.genai import types

from voicespan import VoiceSession
from voicespan import events as ev
from voicespan.events import Close
from voicespan_server import protocol as p
from voicespan_server.failures import UNREACHABLE, ConnectionFailed, Failure, Stalled, failure_of
from voicespan_server.hangup import HungUp
from voicespan_server.live import Upstream, live_config
from voicespan_server.live_connection import LiveConnection, dial
from voicespan_server.protocol import CloseCode, Message, TurnTaking
from voicespan_server.redial import Fault, GiveUp, Redial
from voicespan_server.settings import Settings
from voicespan_server.uplink import Item, Uplink
from voicespan_server.waiting import Flag

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Handle:
    """What continues a Live session over another connection: a credential, never told. `given_at_s` is monotonic."""

    value: str = field(repr=False)
    given_at_s: float


class Host(Protocol):
    """The call that a link is part of, as the link knows it."""

    def tell(self, message: Message) -> None:
        """Tell the client."""

    def on_model_message(self, message: types.LiveServerMessage) -> None:
        """The model said something, in order."""

    def on_model_audio(self, pcm: bytes, mime_type: str) -> None:
        """A message of a chunk of audio and nothing else, where the connection can tell; in order with the others."""

    def on_input_dropped(self, duration_s: float) -> None:
        """So much of the user's audio was dropped."""

    def busy(self) -> bool:
        """Whether a connection that will be cut is not to be left now: somebody waits for something over it."""


class ModelLink:
    """Keeps a connection to the model. While `may_send` is not set, what the client sends waits."""

    def __init__(
        self,
        upstream: Upstream,
        settings: Settings,
        session: VoiceSession,
        uplink: Uplink,
        host: Host,
        *,
        tasks: asyncio.TaskGroup,
        may_send: Flag,
        turns: TurnTaking,
        handle: Handle | None,
    ) -> None:
        self.connection: LiveConnection | None = None
        self.handle = handle
        self._upstream = upstream
        self._settings = settings
        self._session = session
        self._uplink = uplink
        self._host = host
        self._tasks = tasks
        self._may_send = may_send
        self._turns: TurnTaking = turns
        self._redial = Redial(settings.reconnect_budget_s)
        self._began = False
        self._told_of_outage = False
        self._going_away = False
        self._served = False  # the model has said something over this connection
        self._left_because = ""
        self._round_timer: asyncio.TimerHandle | None = None
        self._in_activity = False
        self._unsent: Item | None = None  # it was told, and will be sent over the next connection

    def going_away(self) -> None:
        """The service will cut the connection: leave it when nobody speaks, answers or works."""
        self._going_away = True

    def send_audio(self, frame: bytes) -> None:
        """Send a frame of the user's audio now, or put it in the line where others wait or the connection would."""
        if not self._uplink and self.connection and self._may_send.is_set() and self.connection.write_audio(frame):
            self._session.audio_sent(frame)
        else:
            self.send(frame)

    def send(self, item: Item) -> None:
        """Put something in the line to the model."""
        if dropped_s := self._uplink.put(item):
            self._host.on_input_dropped(dropped_s)

    def worked(self) -> None:
        """The model said something: what fails after it is another failure."""
        self._redial.worked()
        self._served = True

    def leave_stalled(self) -> None:
        """An answer does not come: dial anew by handle. Without one nothing is done, for the words would be lost."""
        if self.connection and self.handle:
            self._leave(self.connection, "an answer did not come")

    def _leave(self, connection: LiveConnection, why: str) -> None:
        self._left_because = why
        self._tasks.create_task(connection.close())

    def _look_after(self, connection: LiveConnection, seen: int | None = None, silent_s: float = 0.0) -> None:
        """Ping now and then, and see whether anything has come: a network that is gone says nothing of it for minutes.

        `seen` had come by the last time, and for so long nothing had before that.
        """
        if connection is not self.connection:
            return
        received, dead_after_s = connection.traffic, self._settings.dead_after_s
        if received is None or received != seen:  # None where that is not known
            silent_s = 0.0
        if dead_after_s and silent_s >= dead_after_s:
            self._leave(connection, "the connection is dead")
            return
        ping_every_s = connection.ping_every_s
        if ping_every_s and seen is not None:
            connection.ping()
        if every_s := min(filter(None, (ping_every_s, dead_after_s)), default=None):
            later = asyncio.get_running_loop().call_later
            self._round_timer = later(every_s, self._look_after, connection, received or 0, silent_s + every_s)

    async def run(self, ready: Callable[[bool], Message]) -> None:
        """Never returns: raises `HungUp` where there is no way, or no way back, to the model.

        What `ready` makes is told of the first connection; its argument says whether that continues a session.
        """
        while True:
            connected_at_s: float | None = None
            try:
                self._session.feed(ev.Dialing(*self._handle_told()))
                connection = await dial(self._upstream, self._settings, self._config())
                try:
                    connected_at_s = time.monotonic()
                    self._session.feed(ev.Connected(connection.provider_session_id))
                    self._tell_of_connection(ready, restored=self.handle is not None)
                    await self._serve(connection)
                finally:
                    await connection.end()
                self._going_away = False
                self._tell_of_outage()
            except ConnectionFailed as error:
                lived_s = 0.0 if connected_at_s is None else time.monotonic() - connected_at_s
                why, self._left_because = self._left_because, ""
                await self._recover(Stalled(why) if why else error, lived_s)

    def _config(self) -> types.LiveConnectConfig:
        return live_config(self._settings, self.handle.value if self.handle else None, self._turns)

    def _handle_told(self) -> tuple[bool, float | None]:
        return (True, time.monotonic() - self.handle.given_at_s) if self.handle else (False, None)

    def _tell_of_connection(self, ready: Callable[[bool], Message], *, restored: bool) -> None:
        self._host.tell({"type": "session.resumed", "restored": restored} if self._began else ready(restored))
        self._began = True
        self._told_of_outage = self._served = False

    def _tell_of_outage(self) -> None:
        """Once, however many attempts it takes."""
        if self._began and not self._told_of_outage:
            self._told_of_outage = True
            self._host.tell({"type": "session.reconnecting"})

    async def _recover(self, error: BaseException, lived_s: float) -> None:
        """Wait for the next attempt, or end the call where there is no way back."""
        failure = failure_of(error)
        self._session.feed(ev.Disconnected(failure.close, failure.connection_error))
        # A cut that was announced is no verdict on the session, whatever its code.
        announced, self._going_away = self._going_away, False
        fault = Fault.TRANSIENT if announced and failure.fault is Fault.INVALID else failure.fault
        decision = self._redial.after(
            fault,
            time.monotonic(),
            began=self._began,
            resumable=self.handle is not None,
            lived_s=lived_s,
            retry_after_s=failure.retry_after_s,
        )
        if isinstance(decision, GiveUp):
            raise _hang_up(failure, decision)
        if decision.fresh:
            self.handle = None
        self._tell_of_outage()
        await asyncio.sleep(decision.wait_s)

    async def _serve(self, connection: LiveConnection) -> None:
        """Pass messages both ways until the connection ends, or is best left before the service cuts it."""
        if self._in_activity:
            # The connection on which the user began to speak is gone, and the button is still held.
            await connection.start_activity()
        self.connection = connection
        self._look_after(connection)
        connection.take_audio(self._on_model_audio)
        # In the call's group, so that a fault in it ends the call instead of leaving the model deaf.
        sending = self._tasks.create_task(self._send(connection))
        try:
            async for message in connection.messages(self._on_unreadable):
                self._keep_handle(message.session_resumption_update)
                self._host.on_model_message(message)
                if self._may_leave():
                    break
            self._session.feed(ev.Disconnected(Close(CloseCode.BYE, "left before the provider's cut", "server")))
        finally:
            connection.take_audio(None)  # what is still read belongs to nobody
            self.connection = None
            if self._round_timer:
                self._round_timer.cancel()
            sending.cancel()

    def _on_model_audio(self, pcm: bytes, mime_type: str) -> None:
        self.worked()
        self._host.on_model_audio(pcm, mime_type)

    def _keep_handle(self, update: types.LiveServerSessionResumptionUpdate | None) -> None:
        # One is withheld while the model generates or calls; the one before it still holds.
        if update and update.new_handle and update.resumable:
            self.handle = Handle(update.new_handle, time.monotonic())

    def _on_unreadable(self, error: Exception) -> None:
        self._session.feed(ev.Unreadable(type(error).__name__))

    def _may_leave(self) -> bool:
        # One that is announced to go before it said a word is kept to its end: the next would be as short.
        return self._going_away and self._served and self.handle is not None and not self._host.busy()

    # --- to the model -----------------------------------------------------------------------------------------------

    async def _send(self, connection: LiveConnection) -> None:
        with suppress(*ConnectionFailed):  # the receiving side tells of it
            while True:
                await self._may_send.wait()
                await self._uplink.wait()
                if self._may_send.is_set():
                    await self._send_or_put_back(connection, self._uplink.pop())

    async def _send_or_put_back(self, connection: LiveConnection, item: Item) -> None:
        try:
            await self._send_item(connection, item)
        except ConnectionFailed:
            self._unsent = item
            if dropped_s := self._uplink.put_back(item):
                self._host.on_input_dropped(dropped_s)
            raise

    async def _send_item(self, connection: LiveConnection, item: Item) -> None:
        if isinstance(item, bytes):
            await connection.send_audio(item)
            self._session.audio_sent(item)
            return
        # Told before it is sent, for the answer may be read while the send still waits; and told once.
        if item is not self._unsent:
            self._tell_telemetry(item)
        match item:
            case p.Text(text=text):
                await connection.send_text(text)
            case p.Image(data=data, mime=mime):
                await connection.send_image(data, mime)
            case p.AudioEnd():
                await connection.end_audio()
            case p.ActivityStart():
                await connection.start_activity()
                self._in_activity = True
            case p.ActivityEnd():
                await connection.end_activity()
                self._in_activity = False

    def _tell_telemetry(self, item: Item) -> None:
        match item:
            case p.Text(text=text):
                self._session.feed(ev.UserText(text))
            case p.AudioEnd():
                self._session.feed(ev.AudioStreamEnd())
            case p.ActivityStart():
                self._session.feed(ev.ActivityStart("client"))
            case p.ActivityEnd():
                self._session.feed(ev.ActivityEnd("client"))


def _hang_up(failure: Failure, decision: GiveUp) -> HungUp:
    """The end of a call whose model cannot be reached any more, in words for its client."""
    said = failure.close.reason or str(failure.close.code)
    match failure.fault:
        case Fault.TIMEOUT:
            code, name, words = CloseCode.MODEL_TIMEOUT, "model_timeout", "the model did not answer in time"
        case Fault.QUOTA:
            code, name, words = CloseCode.LIMITED, "quota", "the model's service takes no more calls for now"
        case Fault.REFUSED:
            logger.error("the model's service refuses this server: %s", said)
            code, name, words = CloseCode.MODEL_CLOSED, "model_refused", "the model's service refuses this server"
        case _ if failure.error_type == UNREACHABLE:
            logger.error("the model cannot be reached: %s", said)
            code, name, words = CloseCode.MODEL_CLOSED, "model_closed", "the model cannot be reached"
        case _:
            code, name, words = CloseCode.MODEL_CLOSED, "model_closed", f"the model ended the session: {said}"
    later_ms = None if decision.retry_after_s is None else round(decision.retry_after_s * 1000)
    return HungUp(
        Close(code, p.close_reason(f"live:{failure.close.code} {failure.close.reason}"), "provider"),
        failure.error_type,
        p.error(name, words, retryable=later_ms is not None, retry_after_ms=later_ms),
    )
