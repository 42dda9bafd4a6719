"""One call: a client's socket on one side, a Live session on the other, tools beside them, and telemetry told of all.

Loops in one task group: the client is read (here), the client is written to (`downlink`), the model is talked to
(`model_link`). None waits for another: what goes to the model (`uplink`) and what goes to the client stands in bounded
lines, and tools run in tasks of their own (`tool_runner`). The first loop that ends the call ends them all.

Audio passes four functions: `Call.audio_from_client`, `LiveConnection.send_audio`, `Call.audio_from_model` and
`ClientSocket.send_audio`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import NoReturn

from google.genai import types

from voicespan import GeminiTranslator, VoiceSession
from voicespan import events as ev
from voicespan import operations as op
from voicespan.events import Close
from voicespan.session_scores import Outcomes
from voicespan_server import protocol as p
from voicespan_server.access.allowance import Allowance
from voicespan_server.access.call_bounds import CallBounds
from voicespan_server.access.door import today
from voicespan_server.access.refusal import BUDGET, RATE_LIMITED, Reason
from voicespan_server.downlink import ClientSocket, Downlink
from voicespan_server.dropped_input import DroppedInput
from voicespan_server.hangup import HungUp
from voicespan_server.live import Upstream
from voicespan_server.model_link import Handle, ModelLink
from voicespan_server.progress import message_of
from voicespan_server.protocol import CloseCode, Message, TurnTaking
from voicespan_server.settings import Settings
from voicespan_server.tool_runner import ToolRunner
from voicespan_server.tools import Toolbox
from voicespan_server.transcripts import Role, Transcripts
from voicespan_server.uplink import Uplink
from voicespan_server.waiting import Flag

logger = logging.getLogger(__name__)

# How long the client may take to read the rest of the last turn that a budget pays for.
LAST_WORDS_S = 5.0
# What a frame of audio counts for at least, 2 ms of it: of smaller ones more would come than can be read.
LEAST_FRAME_BYTES = 64
ALWAYS = Flag()
ALWAYS.set()
TOO_LONG = Close(CloseCode.TOO_LONG, "the longest time for a call is over", "server")
SILENT = Close(CloseCode.TIMEOUT, "no message from the client", "server")
# With the first of these the model begins to answer: the user's words are complete.
ANSWER = (ev.ModelAudio, ev.ModelText, ev.OutputTranscript, ev.ToolCall, ev.Interrupted, ev.TurnComplete)
# With these its own are.
ANSWERED = (ev.GenerationComplete, ev.Interrupted, ev.TurnComplete)


class Call:
    """A running call. `run` returns how it ended: by then its spans have ended, and `outcomes` is complete."""

    def __init__(
        self,
        socket: ClientSocket,
        session: VoiceSession,
        upstream: Upstream,
        settings: Settings,
        toolbox: Toolbox,
        *,
        bounds: CallBounds | None = None,
        turns: TurnTaking = "auto",
        handle: Handle | None = None,
        outcomes: Outcomes | None = None,
    ) -> None:
        self._bounds = bounds or CallBounds.of(settings)
        self._limited = False  # a limit is met, or somebody else goes on with the session: it ends
        self._socket = socket
        self._session = session
        self._settings = settings
        self._translator = GeminiTranslator(sound=session.recorded)
        self._tasks = asyncio.TaskGroup()
        self._ended: HungUp | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._heard_s = self._ends_s = 0.0  # when the client was, and when the call has lasted too long
        self._turns: TurnTaking = turns
        self._images = Allowance(settings.max_images_per_s, settings.max_images_per_s + 1)
        self._transcripts = Transcripts()
        self.uplink = Uplink(settings.max_uplink_ms)
        self.downlink = Downlink(socket, self._on_overflow)
        self.tell = self.downlink.tell
        self._dropped = DroppedInput(self.tell)
        self._tools = ToolRunner(self._tasks, session, lambda: self._link.connection, self.tell, toolbox)
        self._link = ModelLink(
            upstream,
            settings,
            session,
            self.uplink,
            self,
            tasks=self._tasks,
            may_send=self._tools.idle if settings.holds_audio_during_tools else ALWAYS,
            turns=turns,
            handle=handle,
        )
        self.outcomes = outcomes or Outcomes()
        session.listener = self._on_operation

    @property
    def handle(self) -> Handle | None:
        """By which another call can go on with the model's session."""
        return self._link.handle

    def leave(self) -> None:
        """The client goes on with the session over another socket: end this one."""
        self._limit_to(Close(CloseCode.MOVED, "the session goes on over another connection", "client"))

    async def run(self, ready: Callable[[bool], Message]) -> HungUp:
        """Hold the call until somebody ends it.

        What `ready` makes is sent once the model can be talked to; its argument says whether the model knows what was
        said in the call that this one goes on with.
        """
        self._heard_s = monotonic()
        self._ends_s = self._heard_s + self._bounds.max_session_s
        try:
            async with self._tasks:
                self._watch_client()
                self._tasks.create_task(self.downlink.run())
                self._tasks.create_task(self._link.run(ready))
                await self._read_client()
        except* HungUp as group:
            self._end(_first(group))
        except* Exception as group:
            logger.exception("a call failed")
            self._end(HungUp(Close(CloseCode.INTERNAL, "internal error", "server"), type(group.exceptions[0]).__name__))
        finally:
            if self._watch:
                self._watch.cancel()
            self._dropped.stop()
            # Also when cancelled: whatever ends the call, its spans end with it.
            ended = self._end(HungUp(Close(CloseCode.INTERNAL, "cancelled", "process")))
            self._socket.take_audio(None, 0)
        await self._say_goodbye(ended)
        # The frames in its traceback hold the call that holds it: a circle, to be found by the garbage collector alone.
        ended.__context__ = None
        return ended.with_traceback(None)

    def _end(self, how: HungUp) -> HungUp:
        """The first reason stands. Spans end here and now, not after the sockets have said goodbye."""
        if self._ended is None:
            self._ended = how
            self._session.close(how.close, how.error_type)
        return self._ended

    def _hang_up(self, close: Close, error_type: str | None = None, message: Message | None = None) -> NoReturn:
        raise self._end(HungUp(close, error_type, message))

    async def _end_limited(self, how: HungUp) -> NoReturn:
        """End the call that met a limit, or is to leave. One that a budget ends has its last turn heard before."""
        if how.error_type == BUDGET.code:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await self.downlink.written()
        raise self._end(how)

    def _limit_to(self, close: Close, error_type: str | None = None, message: Message | None = None) -> None:
        """End the call, if nothing ends it yet."""
        if self._ended is None and not self._limited:
            self._limited = True
            self._tasks.create_task(self._end_limited(HungUp(close, error_type, message)))

    def _limit(self, reason: Reason, why: str) -> None:
        """A limit is met: by the client's frames, or by the cost of its turns."""
        message = p.error(reason.code, f"{why}: the call ends here")
        self._limit_to(Close(reason.close_code, why, "server"), reason.code, message)

    def _watch_client(self) -> None:
        """End the call when it has lasted too long, or its client was silent for too long."""
        now_s, silent_s = monotonic(), self._heard_s + self._settings.idle_timeout_s
        if now_s >= self._ends_s:
            self._limit_to(TOO_LONG)
        elif now_s >= silent_s:
            self._limit_to(SILENT)
        else:
            wait_s = min(self._ends_s, silent_s) - now_s
            self._watch = asyncio.get_running_loop().call_later(wait_s, self._watch_client)

    def _on_overflow(self) -> None:
        self._limit_to(Close(CloseCode.OVERLOADED, "the client does not read", "server"), "slow_client")

    def _allows(self, frame: bytes) -> bool:
        if self._bounds.audio.allow(max(len(frame), LEAST_FRAME_BYTES)):
            return True
        self._limit(RATE_LIMITED, "the client sends audio faster than anybody speaks")
        return False

    async def _say_goodbye(self, ended: HungUp) -> None:
        """What was still to be told, and why the call ends; nobody listens where the client's socket is gone."""
        if ended.close.initiator == "client" and ended.close.code not in {CloseCode.BYE, CloseCode.MOVED}:
            return
        bye: Message = {"type": "bye", "code": ended.close.code, "reason": ended.close.reason}
        await self.downlink.say_goodbye(*([ended.message] if ended.message else []), bye)

    # --- the client -------------------------------------------------------------------------------------------------

    async def _read_client(self) -> NoReturn:
        self._socket.take_audio(self._on_audio_alone, self._settings.max_frame_bytes)
        while True:
            try:
                received = await self._socket.receive()
                self._heard_s = monotonic()
                if isinstance(received, bytes):
                    self.audio_from_client(received)
                elif self._bounds.messages.allow(1):
                    self._on_client_message(p.parse(received))
                else:
                    self._limit(RATE_LIMITED, "the client sends messages faster than it may")
            except p.ProtocolError as error:
                close = Close(CloseCode.BAD_MESSAGE, p.close_reason(str(error)), "server")
                self._hang_up(close, "bad_message", p.error("bad_message", str(error)))
            except HungUp as how:
                raise self._end(how) from None

    def audio_from_client(self, frame: bytes) -> None:
        """A frame of the user's audio.

        Raises:
            ProtocolError: it is none.
        """
        p.check_audio(frame, self._settings.max_frame_bytes)
        if self._allows(frame):
            self._link.send_audio(frame)

    def _on_audio_alone(self, frame: bytes) -> None:
        """A checked frame that did not come by `receive`."""
        self._heard_s = monotonic()
        if self._allows(frame):
            self._link.send_audio(frame)

    def _on_client_message(self, message: p.ClientMessage) -> None:
        match message:
            case p.Text():
                self._link.send(message)
            case p.Image():
                self._look_at(message)
            case p.AudioEnd():
                if self._turns == "manual":
                    raise p.ProtocolError("audio.end: where turns are manual, activity.end ends an utterance")
                self._link.send(message)
            case p.ActivityStart() | p.ActivityEnd():
                if self._turns == "auto":
                    raise p.ProtocolError(f'{message.type}: say so in the hello: "input": {{"turns": "manual"}}')
                self._link.send(message)
            case p.Playback(event="started"):
                self._session.feed(ev.PlaybackStarted(message.turn))
            case p.Playback():
                self._session.feed(ev.PlaybackStopped(message.turn, message.ms / 1000))
            case p.Ping(t=t):
                self.tell({"type": "pong", "t": t})
            case p.Bye():
                self._hang_up(Close(CloseCode.BYE, "bye", "client"))
            case p.Hello():
                raise p.ProtocolError("hello: it was sent already")
            case p.Unknown():
                logger.debug("ignored a message of type %r", message.type)

    def on_input_dropped(self, duration_s: float) -> None:
        """The model does not take the user's audio fast enough."""
        self._session.feed(ev.InputDropped(duration_s))
        self._dropped.add(duration_s)

    def _look_at(self, image: p.Image) -> None:
        if len(image.data) > self._settings.max_image_bytes:
            raise p.ProtocolError(
                f"image: data: {len(image.data)} bytes, more than {self._settings.max_image_bytes}: make it smaller"
            )
        if self._images.allow(1):
            self._link.send(image)
        else:
            most = self._settings.max_images_per_s
            self.tell(p.warning("image_dropped", f"more than {most} pictures a second"))

    # --- the model --------------------------------------------------------------------------------------------------

    def audio_from_model(self, pcm: bytes) -> None:
        """A chunk of the model's voice, which no interruption has overtaken."""
        self.downlink.send_audio(pcm)

    def busy(self) -> bool:
        """Whether somebody speaks, works, answers, or is owed an answer."""
        return bool(self._tools) or not self._session.idle

    def on_model_audio(self, pcm: bytes, mime_type: str) -> None:
        """A message that is a chunk of audio and nothing else."""
        self._tell_all(self._transcripts.complete("user"))
        self._session.feed(self._translator.audio(pcm, mime_type))
        self.audio_from_model(pcm)

    def on_model_message(self, message: types.LiveServerMessage) -> None:
        """A message of the model."""
        interrupted = False
        for event in self._translator.events(message):
            if type(event) in ev.FROM_PROVIDER:
                self._link.worked()
            if isinstance(event, ANSWER):
                self._tell_all(self._transcripts.complete("user"))
            if isinstance(event, ANSWERED):
                self._tell_all(self._transcripts.complete("assistant"))
            self._session.feed(event)
            match event:
                case ev.InputTranscript(text):
                    self._tell_transcript("user", text)
                case ev.OutputTranscript(text) | ev.ModelText(text):
                    self._tell_transcript("assistant", text)
                case ev.ToolCall():
                    self._tools.start(event)
                case ev.ToolCancelled(call_id):
                    self._tools.cancel(call_id)
                case ev.Interrupted():
                    interrupted = True
                    self.downlink.drop_audio()
                    self.tell({"type": "interrupted", "turn": self._session.turn or self._session.totals.turns})
                case ev.GoAway(time_left_s):
                    self._link.going_away()
                    self.tell({"type": "going_away", "in_ms": round((time_left_s or 0) * 1000)})
        if not interrupted:
            for pcm in _audio_of(message):
                self.audio_from_model(pcm)

    # --- telling the client -----------------------------------------------------------------------------------------

    def _on_operation(self, operation: op.Operation) -> None:
        self.outcomes.count(operation)
        if message := message_of(operation):
            self.tell(message)
        if isinstance(operation, op.EndTurn | op.EndSession):
            self._count_cost()
        match operation:
            case op.Stalled():
                self._on_stall(operation)
            case op.Odd(anomaly=op.Anomaly.ANSWER_CUT_SHORT):
                turn = self._session.totals.turns
                self.tell(p.warning("answer_cut_short", "the model's service cut the answer short", turn=turn))

    def _count_cost(self) -> None:
        meter, cost_usd = self._bounds.meter, self._session.cost_usd
        if meter is None or cost_usd is None:
            return
        if why := meter.cost(cost_usd, today()):
            self._limit(BUDGET, why)

    def _on_stall(self, stall: op.Stalled) -> None:
        """Tell, and try another connection; an empty turn has ended all by itself, and the connection lives."""
        self.tell(p.warning("model_silent", "the model does not answer: say it again", kind=stall.kind.value))
        if self._settings.on_stall == "reconnect" and stall.kind is not op.StallKind.EMPTY_TURN:
            self._link.leave_stalled()

    def _tell_all(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.tell(message)

    def _tell_transcript(self, role: Role, text: str) -> None:
        # The user's words come before the turn that answers them begins.
        turn = self._session.turn or self._session.totals.turns + 1
        self._tell_all(self._transcripts.piece(role, text, turn))


def _first(group: BaseExceptionGroup[HungUp]) -> HungUp:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _audio_of(message: types.LiveServerMessage) -> list[bytes]:
    content = message.server_content
    parts = content.model_turn.parts if content and content.model_turn else None
    return [part.inline_data.data for part in parts or () if part.inline_data and part.inline_data.data]
