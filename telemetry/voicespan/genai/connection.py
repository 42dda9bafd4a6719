"""A program's Live connection as its telemetry sees it: what passes is told to the session, nothing is changed.

A session can outlive its connection: one that presents the handle of another goes on with the session of that.
"""

from __future__ import annotations

import re
from asyncio import CancelledError
from collections.abc import Mapping, Sequence
from typing import Any

from google.genai import types
from google.genai.types import Blob

from voicespan import events as ev
from voicespan.events import Close, Event, Initiator
from voicespan.gemini import GeminiTranslator
from voicespan.gemini_sent import Sender, media_chunks
from voicespan.genai.calls import Call
from voicespan.genai.errors import (
    ABNORMAL,
    GOING_AWAY,
    NORMAL,
    came_through,
    close_of,
    ended_connection,
    error_type,
)
from voicespan.genai.setup import Setup
from voicespan.guard import guarded, report
from voicespan.session import VoiceSession
from voicespan.wire_view import View, view

# The service takes 16-bit little-endian samples by whatever name.
_RATE = re.compile(r"audio/(?:pcm|l16)\b(?:.*rate=(\d+))?", re.IGNORECASE)
_DEFAULT_RATE_HZ = 16_000
_NONE_YET = "none yet"
_UNKNOWN = object()


class Unsent:
    """Something that is being sent."""

    __slots__ = ("at_ns", "events")

    def __init__(self, events: Sequence[Event], at_ns: int) -> None:
        self.events = events
        self.at_ns = at_ns


_NOTHING: Unsent | None = None


class Connection:
    """One `AsyncSession`, from the dial to its end. `live` is false once it has ended."""

    __slots__ = (
        "_audio_sent",
        "_audio_type",
        "_call",
        "_events",
        "_feed",
        "_sender",
        "_session",
        "_setup",
        "_unsent",
        "live",
    )

    def __init__(self, call: Call, setup: Setup) -> None:
        self._call = call
        self._session = call.session
        self._feed = call.session.feed
        self._audio_sent = call.session.unguarded_audio_sent
        self._setup = setup
        self._events = GeminiTranslator(setup.non_blocking, sound=call.session.recorded).events
        self._sender = Sender(seeds_history=setup.seeds_history)
        self._unsent: tuple[Unsent, ...] = ()
        self._audio_type: str | None = _NONE_YET
        self.live = True

    @property
    def session(self) -> VoiceSession:
        """The session that it belongs to."""
        return self._session

    # --- the connection ---------------------------------------------------------------------------------------------

    @guarded(default=None)
    def connected(self, session: object) -> None:
        """The dial succeeded. google-genai takes an error in place of the setup's answer for a session too."""
        answer = getattr(session, "setup_complete", _UNKNOWN)  # somebody's own object in a session's place
        if answer is None:
            self._session.feed(ev.Unreadable("no_setup_complete"))
        else:
            self._session.feed(ev.Connected(getattr(answer, "session_id", None)))

    @guarded(default=None)
    def not_connected(self, error: BaseException) -> None:
        """The dial failed, or was given up."""
        if isinstance(error, CancelledError):
            self.abandoned("given up while dialling", "server")
        elif isinstance(error, (TypeError, ValueError)):  # what google-genai refuses to send nobody has seen
            self._end(Close(ABNORMAL, type(error).__name__, "server"), error_type(error))
        else:
            self._end(close_of(error), error_type(error))

    @guarded(default=None)
    def left(self, session: object, error: BaseException | None) -> None:
        """The program leaves, or closes, google-genai's session."""
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]  # a TaskGroup puts its task's error into one
        if error is None or (isinstance(error, SystemExit) and not error.code):
            self._end(Close(NORMAL, "", "server"), None)
        elif isinstance(error, (CancelledError, GeneratorExit, KeyboardInterrupt)):
            self._end(Close(NORMAL, "cancelled", "server"), None)
        elif ended_connection(error) and came_through(session, error):
            self._lost(error)
        else:
            self._end(Close(NORMAL, "", "server"), error_type(error))

    @guarded(default=None)
    def abandoned(self, reason: str, initiator: Initiator = "process") -> None:
        """Nobody is left who could end it, or resume it: the session ends with it, and nothing has failed."""
        if self.live:
            self.live = False
            self._flush()
            if self._call.connection is self:
                self._call.connection_ended(Close(NORMAL, reason, initiator), None, final=True)

    @guarded(default=None)
    def succeeded(self) -> None:
        """Another connection goes on with the session, which goes on."""
        if self.live:
            self.live = False
            self._flush()
            self._session.feed(ev.Disconnected(Close(NORMAL, "", "server")))

    def _lost(self, error: BaseException) -> None:
        close = close_of(error)
        planned = close.code in {NORMAL, GOING_AWAY} or self._call.going_away
        self._end(close, None if planned else error_type(error))

    def _end(self, close: Close, error: str | None) -> None:
        if not self.live:
            return
        self.live = False
        self._flush()
        if self._call.connection is self:
            self._session.feed(ev.Disconnected(close, error))
            self._call.connection_ended(close, error)

    # --- what the model sends ---------------------------------------------------------------------------------------

    def received(self, message: types.LiveServerMessage) -> None:
        """A message came. Guarded here, as `audio` is."""
        try:
            if self._unsent:
                self._flush()
            for event in self._events(message):
                if type(event) is ev.ToolCall:
                    self._sender.called(event)
                elif type(event) is ev.Resumption:
                    self._resumable(message.session_resumption_update)
                elif type(event) is ev.GoAway:
                    self._call.going_away = True
                self._feed(event)
        except Exception as error:  # noqa: BLE001 - the edge: whatever it is, the call goes on
            report(error)

    def _resumable(self, update: types.LiveServerSessionResumptionUpdate | None) -> None:
        if update and update.new_handle and update.resumable and self._setup.resumable:
            self._call.remember(update.new_handle)

    @guarded(default=None)
    def not_received(self, error: BaseException) -> None:
        """Waiting for a message ended otherwise."""
        if ended_connection(error):
            self._lost(error)
        elif isinstance(error, Exception) and not isinstance(error, RuntimeError):
            # RuntimeError: two tasks read at a time, which websockets refuses the second one.
            self._session.feed(ev.Unreadable(error_type(error)))

    # --- what the program sends -------------------------------------------------------------------------------------

    def audio(self, blob: Any) -> None:
        """A frame of audio is being sent. Fifty come in a second, so it is guarded here and not by one more call."""
        try:
            if type(blob) is not Blob:
                blob = view(blob)
                if not isinstance(blob, (Blob, View)):
                    return  # a picture, as `media` also takes
            if blob.mime_type == self._audio_type or self._is_audio(blob.mime_type):
                pcm = blob.data
                if type(pcm) is bytes:
                    self._audio_sent(pcm)
                elif isinstance(pcm, bytearray):  # which the program may fill again
                    self._audio_sent(bytes(pcm))
        except Exception as error:  # noqa: BLE001 - the edge: whatever it is, the call goes on
            report(error)

    @guarded(default=None)
    def audio_not_sent(self, blob: Any) -> None:
        """A frame was refused, or the connection is gone: what was counted of it is taken back."""
        blob = view(blob)
        pcm = blob.data if isinstance(blob, (Blob, View)) and blob.mime_type == self._audio_type else None
        if isinstance(pcm, (bytes, bytearray)):
            self._session.audio_not_sent(len(pcm))

    @guarded(default=_NOTHING)
    def realtime_input(self, sent: Mapping[str, object]) -> Unsent | None:
        """The arguments of `send_realtime_input` where they are no audio."""
        if (media := sent.get("media")) is not None:
            self.audio(media)
            return None
        return self._about_to_send(self._sender.realtime_input(sent))

    @guarded(default=_NOTHING)
    def client_content(self, sent: Mapping[str, object]) -> Unsent | None:
        """The arguments of `send_client_content`."""
        complete = bool(sent.get("turn_complete", True))
        return self._about_to_send(self._sender.client_content(sent.get("turns"), complete=complete))

    @guarded(default=_NOTHING)
    def tool_response(self, sent: Mapping[str, object]) -> Unsent | None:
        """The arguments of `send_tool_response`."""
        return self._about_to_send(self._sender.tool_response(sent.get("function_responses")))

    @guarded(default=_NOTHING)
    def message(self, sent: Mapping[str, object]) -> Unsent | None:
        """The arguments of the deprecated `send`."""
        content = sent.get("input")
        for blob in media_chunks(content):
            self.audio(blob)
        return self._about_to_send(self._sender.message(content, end_of_turn=bool(sent.get("end_of_turn"))))

    @guarded(default=None)
    def sent(self, unsent: Unsent) -> None:
        """It was sent."""
        if unsent in self._unsent:
            self._flush()

    @guarded(default=None)
    def not_sent(self, unsent: Unsent) -> None:
        """It was refused, or the connection is gone, which the receiving side tells."""
        if unsent in self._unsent:
            self._unsent = tuple(each for each in self._unsent if each is not unsent)

    def _about_to_send(self, events: Sequence[Event]) -> Unsent | None:
        if not events:
            return None
        unsent = Unsent(events, self._session.now_ns())
        self._unsent += (unsent,)
        return unsent

    def _flush(self) -> None:
        """A message that came in the meantime may answer what is still being sent: that was first."""
        waiting, self._unsent = self._unsent, ()
        for unsent in waiting:
            for event in unsent.events:
                self._session.feed(event, unsent.at_ns)

    def _is_audio(self, mime_type: str | None) -> bool:
        """Whether what has this type is sound, whose rate is then known."""
        found = _RATE.match(mime_type or "")
        if found:
            self._audio_type = mime_type
            self._session.input_rate(int(found[1] or 0) or _DEFAULT_RATE_HZ)
        return found is not None
