"""One call: a client's socket on one side, a Live session on the other, tools beside them, and telemetry told of all.

Loops in one task group: the client is read, the client is written to, the model is talked to. None waits for another:
what goes to the model and what goes to the client stands in bounded queues, and tools run in tasks of their own. The
first loop that ends the call ends them all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import AsyncExitStack, suppress
from typing import NoReturn, Protocol

from google.genai import live, types
from opentelemetry import context as otel_context

from voicespan import GeminiTranslator, VoiceSession
from voicespan import events as ev
from voicespan import operations as op
from voicespan.events import Close
from voicespan.session_scores import Outcomes
from voicespan_server import protocol as p
from voicespan_server.live import ConnectionFailed, Upstream, close_of, live_config
from voicespan_server.protocol import CloseCode, Message
from voicespan_server.settings import Settings
from voicespan_server.tools import run_tool

logger = logging.getLogger(__name__)

# Of what waits for the model beside audio: more than a client that means well can say in a while.
MAX_UPLINK_ITEMS = 4096
# What waits for the client: a minute of audio, for the model sends several times faster than real time.
MAX_DOWNLINK_BYTES = p.OUTPUT_RATE_HZ * 2 * 60
MIME_TYPE = f"audio/pcm;rate={p.INPUT_RATE_HZ}"

Uplink = bytes | p.Text | p.AudioEnd


class ClientSocket(Protocol):
    """The client's accepted WebSocket. `receive` raises `HungUp` at its end; sending to a closed one does nothing."""

    async def receive(self) -> str | bytes: ...  # noqa: D102
    async def send_text(self, text: str) -> None: ...  # noqa: D102
    async def send_bytes(self, data: bytes) -> None: ...  # noqa: D102


class HungUp(Exception):  # noqa: N818 - mostly nothing went wrong
    """The call is over: how its socket was closed, or is to be closed, and what the client is told first."""

    def __init__(self, close: Close, error_type: str | None = None, message: Message | None = None) -> None:
        super().__init__(close.reason)
        self.close = close
        self.error_type = error_type
        self.message = message


class Call:
    """A running call. `run` returns how it ended: by then its spans have ended, and `outcomes` is complete."""

    def __init__(self, socket: ClientSocket, session: VoiceSession, upstream: Upstream, settings: Settings) -> None:
        self._socket = socket
        self._session = session
        self._upstream = upstream
        self._settings = settings
        self._translator = GeminiTranslator()
        self._uplink: deque[Uplink] = deque()
        self._uplink_bytes = 0
        self._max_uplink_bytes = settings.max_uplink_ms * p.INPUT_RATE_HZ * 2 // 1000
        self._uplink_ready = asyncio.Event()
        self._downlink: deque[bytes | str] = deque()
        self._downlink_bytes = 0
        self._downlink_ready = asyncio.Event()
        self._overflowed = asyncio.Event()
        self._live: live.AsyncSession | None = None
        self._handle: tuple[str, float] | None = None
        self._going_away = False
        self._tools: dict[str, asyncio.Task[None]] = {}
        self._tasks = asyncio.TaskGroup()
        self._ended: HungUp | None = None
        self._failures = 0
        self.outcomes = Outcomes()
        session.listener = self._on_operation

    async def run(self, ready: Message) -> HungUp:
        """Hold the call until somebody ends it; `ready` is sent once the model can be talked to."""
        try:
            async with self._tasks:
                for loop in (
                    self._read_client(),
                    self._write_client(),
                    self._talk_to_model(ready),
                    self._watch_bounds(),
                ):
                    self._tasks.create_task(loop)
        except* HungUp:
            pass
        except* Exception as group:
            logger.exception("a call failed")
            self._end(HungUp(Close(CloseCode.INTERNAL, "internal error", "server"), type(group.exceptions[0]).__name__))
        finally:
            # Also when cancelled: whatever ends the call, its spans end with it.
            ended = self._end(HungUp(Close(CloseCode.INTERNAL, "cancelled", "process")))
        await self._say_goodbye(ended)
        return ended

    def _end(self, how: HungUp) -> HungUp:
        """The first reason stands. Spans end here and now, not after the sockets have said goodbye."""
        if self._ended is None:
            self._ended = how
            self._session.close(how.close, how.error_type)
        return self._ended

    def _hang_up(self, close: Close, error_type: str | None = None, message: Message | None = None) -> NoReturn:
        raise self._end(HungUp(close, error_type, message))

    async def _watch_bounds(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.max_session_s):
                await self._overflowed.wait()
            self._hang_up(Close(CloseCode.OVERLOADED, "the client does not read", "server"), "slow_client")
        self._hang_up(Close(CloseCode.TOO_LONG, "the longest time for a call is over", "server"))

    # --- the client -------------------------------------------------------------------------------------------------

    async def _read_client(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._settings.idle_timeout_s):
                    received = await self._socket.receive()
                if isinstance(received, bytes):
                    p.check_audio(received, self._settings.max_frame_bytes)
                    self._queue_for_model(received)
                else:
                    self._on_client_message(p.parse(received))
            except TimeoutError:
                self._hang_up(Close(CloseCode.TIMEOUT, "no message from the client", "server"))
            except p.ProtocolError as error:
                close = Close(CloseCode.BAD_MESSAGE, p.close_reason(str(error)), "server")
                self._hang_up(close, "bad_message", p.error("bad_message", str(error)))
            except HungUp as how:
                raise self._end(how) from None

    def _on_client_message(self, message: p.ClientMessage) -> None:
        match message:
            case p.Text() | p.AudioEnd():
                self._queue_for_model(message)
            case p.Playback(event="started"):
                self._session.feed(ev.PlaybackStarted(message.turn))
            case p.Playback():
                self._session.feed(ev.PlaybackStopped(message.turn, message.ms / 1000))
            case p.Ping(t=t):
                self._tell({"type": "pong", "t": t})
            case p.Bye():
                self._hang_up(Close(CloseCode.BYE, "bye", "client"))
            case p.Hello():
                raise p.ProtocolError("hello: it was sent already")
            case p.Unknown():
                logger.debug("ignored a message of type %r", message.type)

    def _queue_for_model(self, item: Uplink) -> None:
        """Put something in the line to the model; where the line is too long its oldest part is dropped."""
        self._uplink.append(item)
        self._uplink_bytes += _size(item)
        while len(self._uplink) > 1 and (
            self._uplink_bytes > self._max_uplink_bytes or len(self._uplink) > MAX_UPLINK_ITEMS
        ):
            # Audio goes before words that were typed: old audio only delays the answer.
            index = next((i for i, waiting in enumerate(self._uplink) if isinstance(waiting, bytes)), 0)
            dropped = _size(self._uplink[index])
            del self._uplink[index]
            self._uplink_bytes -= dropped
            if dropped:
                self._session.feed(ev.InputDropped(dropped / 2 / p.INPUT_RATE_HZ))
        self._uplink_ready.set()

    def _tell(self, message: Message) -> None:
        self._queue_for_client(p.encode(message))

    def _queue_for_client(self, item: bytes | str) -> None:
        """Put something in the line to the client, which is bounded: a client that does not read is hung up on."""
        if self._downlink_bytes + len(item) > MAX_DOWNLINK_BYTES:
            self._overflowed.set()
            return
        self._downlink.append(item)
        self._downlink_bytes += len(item)
        self._downlink_ready.set()

    def _drop_audio(self) -> None:
        """Unsent audio of an interrupted answer: the client is not to hear it."""
        self._downlink = deque(item for item in self._downlink if isinstance(item, str))
        self._downlink_bytes = sum(map(len, self._downlink))

    async def _write_client(self) -> None:
        while True:
            await self._downlink_ready.wait()
            self._downlink_ready.clear()
            while self._downlink:
                item = self._downlink.popleft()
                self._downlink_bytes -= len(item)
                if isinstance(item, bytes):
                    await self._socket.send_bytes(item)
                else:
                    await self._socket.send_text(item)

    async def _say_goodbye(self, ended: HungUp) -> None:
        """What was still to be told, and why the call ends; nobody listens where the client's socket is gone."""
        if ended.close.initiator == "client" and ended.close.code != CloseCode.BYE:
            return
        if ended.message:
            self._tell(ended.message)
        self._tell({"type": "bye", "code": ended.close.code, "reason": ended.close.reason})
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                for item in self._downlink:
                    if isinstance(item, str):
                        await self._socket.send_text(item)

    # --- the model --------------------------------------------------------------------------------------------------

    async def _talk_to_model(self, ready: Message) -> None:
        """Keep a connection to the model while the call lasts: dial, serve, and dial again by handle."""
        up = False
        while True:
            try:
                async with AsyncExitStack() as stack:
                    self._live = await self._dial(stack)
                    self._tell({"type": "session.resumed"} if up else ready)
                    up = True
                    await self._serve(self._live)
            except ConnectionFailed as error:
                self._failures += 1
                self._on_connection_failed(error, up=up)
            self._live = None
            self._tell({"type": "session.reconnecting"})
            if self._failures:
                await asyncio.sleep(min(0.25 * 2**self._failures, 4.0))

    async def _dial(self, stack: AsyncExitStack) -> live.AsyncSession:
        handle, given_at = self._handle or (None, 0.0)
        self._session.feed(ev.Dialing(bool(handle), time.monotonic() - given_at if handle else None))
        async with asyncio.timeout(self._settings.setup_timeout_s):
            session = await stack.enter_async_context(
                self._upstream.client.aio.live.connect(
                    model=self._settings.model, config=live_config(self._settings, handle)
                )
            )
        if session.setup_complete is None:
            # The SDK takes an error in place of the setup's answer for a session.
            raise ConnectionError("the model did not accept the setup")
        self._going_away = False
        self._session.feed(ev.Connected(session.setup_complete.session_id))
        return session

    async def _serve(self, session: live.AsyncSession) -> None:
        """Pass messages both ways until the connection ends, or is best left before the provider cuts it."""
        # In the call's group, so that a fault in it ends the call instead of leaving the model deaf.
        sending = self._tasks.create_task(self._send_to_model(session))
        self._uplink_ready.set()  # what was left when the former connection ended
        try:
            while not self._may_leave():
                try:
                    # receive() ends with each turn; the session goes on.
                    async for message in session.receive():
                        self._on_model_message(message)
                        if self._may_leave():
                            break
                except (TypeError, ValueError) as error:
                    # What the SDK raises on a message of a kind that it does not know: skip it.
                    self._session.feed(ev.Unreadable(type(error).__name__))
            self._session.feed(ev.Disconnected(Close(CloseCode.BYE, "left before the provider's cut", "server")))
        finally:
            sending.cancel()

    def _may_leave(self) -> bool:
        return self._going_away and self._handle is not None and not self._tools and self._session.idle

    async def _send_to_model(self, session: live.AsyncSession) -> None:
        with suppress(*ConnectionFailed):  # the receiving side tells of it
            while True:
                await self._uplink_ready.wait()
                self._uplink_ready.clear()
                while self._uplink:
                    item = self._uplink.popleft()
                    self._uplink_bytes -= _size(item)
                    match item:
                        case bytes():
                            self._session.audio_sent(item)
                            await session.send_realtime_input(audio=types.Blob(data=item, mime_type=MIME_TYPE))
                        case p.Text(text=text):
                            self._session.feed(ev.UserText(text))
                            await session.send_realtime_input(text=text)
                        case p.AudioEnd():
                            self._session.feed(ev.AudioStreamEnd())
                            await session.send_realtime_input(audio_stream_end=True)

    def _on_connection_failed(self, error: BaseException, *, up: bool) -> None:
        """Go on by handle, or end the call where there is no way back."""
        close = close_of(error)
        timed_out = isinstance(error, TimeoutError)
        self._session.feed(ev.Disconnected(close, "live_timeout" if timed_out else None))
        # 1007 and 1008 are the service's words for a setup, or a handle, that it will never take.
        resumable = up and self._handle is not None and (self._going_away or close.code not in {1007, 1008})
        if resumable and self._failures <= self._settings.reconnect_attempts:
            return
        what = "did not answer in time" if timed_out else f"ended the session: {close.reason or close.code}"
        self._hang_up(
            Close(
                CloseCode.MODEL_TIMEOUT if timed_out else CloseCode.MODEL_CLOSED,
                p.close_reason(f"live:{close.code} {close.reason}"),
                "provider",
            ),
            "live_timeout" if timed_out else f"live_{close.code}",
            p.error("model_closed", f"the model {what}", retryable=resumable),
        )

    def _on_model_message(self, message: types.LiveServerMessage) -> None:
        self._failures = 0
        update = message.session_resumption_update
        if update and update.new_handle and update.resumable:
            self._handle = (update.new_handle, time.monotonic())
        interrupted = False
        for event in self._translator.events(message):
            self._session.feed(event)
            match event:
                case ev.InputTranscript(text):
                    self._tell_transcript("user", text)
                case ev.OutputTranscript(text) | ev.ModelText(text):
                    self._tell_transcript("assistant", text)
                case ev.ToolCall():
                    if event.call_id not in self._tools:
                        self._tools[event.call_id] = self._tasks.create_task(self._run_tool(event, self._live))
                case ev.ToolCancelled(call_id):
                    if task := self._tools.pop(call_id, None):
                        task.cancel()
                case ev.Interrupted():
                    interrupted = True
                    self._drop_audio()
                    self._tell({"type": "interrupted", "turn": self._session.turn or self._session.totals.turns})
                case ev.GoAway(time_left_s):
                    self._going_away = True
                    self._tell({"type": "going_away", "in_ms": round((time_left_s or 0) * 1000)})
        if not interrupted:
            for audio in _audio_of(message):
                self._queue_for_client(audio)

    async def _run_tool(self, call: ev.ToolCall, session: live.AsyncSession | None) -> None:
        """Run, answer, and tell: exactly one response for a call, and none after it was taken back."""
        context = self._session.tool_context(call.call_id)
        token = otel_context.attach(context) if context else None
        try:
            end = await run_tool(call.name, call.arguments)
        finally:
            if token:
                otel_context.detach(token)
        if session is None or session is not self._live:
            self._tools.pop(call.call_id, None)
            return
        # Told before it is sent: the model's next words may be read while the send still waits.
        self._session.feed(ev.ToolResponse(call.call_id, end.outcome, end.response, end.error))
        for message in app_events(call.name, end.response):
            self._tell(message)
        call_id = None if call.unnamed else call.call_id  # an id the service never gave would end the session
        response = types.FunctionResponse(id=call_id, name=call.name, response=end.response)
        with suppress(*ConnectionFailed):  # the receiving side tells of it
            await session.send_tool_response(function_responses=response)
        self._tools.pop(call.call_id, None)

    # --- telling the client -----------------------------------------------------------------------------------------

    def _on_operation(self, operation: op.Operation) -> None:
        """The call's progress as the client is told of it; the numbers are those of the trace."""
        self.outcomes.count(operation)
        match operation:
            case op.StartTurn(index):
                self._tell({"type": "turn.started", "turn": index})
            case op.EndTurn(record):
                self._tell(turn_completed(record))
            case op.StartTool(call_id, turn, _, name):
                self._tell({"type": "tool.started", "id": call_id, "name": name, "turn": turn})
            case op.EndTool(call_id, _, outcome):
                self._tell({"type": "tool.completed", "id": call_id, "status": outcome.value})

    def _tell_transcript(self, role: str, text: str) -> None:
        # The user's words come before the turn that answers them begins.
        turn = self._session.turn or self._session.totals.turns + 1
        self._tell({"type": "transcript", "role": role, "text": text, "turn": turn})


def turn_completed(record: op.TurnRecord) -> Message:
    """A turn's end, with its tokens and times."""
    ttfa_s = record.time_to_first_audio_s
    usage = record.usage
    return {
        "type": "turn.completed",
        "turn": record.index,
        "reason": record.end_reason.value,
        "usage": {"input": usage.input_tokens, "output": usage.output_tokens} if usage else None,
        "metrics": {
            "time_to_first_audio_ms": None if ttfa_s is None else round(ttfa_s * 1000),
            "audio_ms": round(record.output_audio_s * 1000),
        },
    }


def app_events(tool: str, response: Message) -> list[Message]:
    """What an application shows of a tool's result: places on a map, or the way to one."""
    if tool == "search_nearby" and "places" in response:
        return [{"type": "places", "places": response["places"]}]
    if tool == "navigate_to_location" and "position" in response:
        return [{"type": "navigate", "destination": response["destination"], "position": response["position"]}]
    return []


def _size(item: Uplink) -> int:
    return len(item) if isinstance(item, bytes) else 0


def _audio_of(message: types.LiveServerMessage) -> list[bytes]:
    content = message.server_content
    parts = content.model_turn.parts if content and content.model_turn else None
    return [part.inline_data.data for part in parts or () if part.inline_data and part.inline_data.data]
