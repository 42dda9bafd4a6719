"""`/ws/voice`: the upgrade, the hello, the `Voice Session` span, and then the call."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import cast

from fastapi import WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse
from fastapi.websockets import WebSocketState
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from voicespan import Identity, TraceShape, VoiceSession
from voicespan import conventions as c
from voicespan import identity as ident
from voicespan.events import Close, Initiator
from voicespan_server import protocol as p
from voicespan_server.access.call_bounds import CallBounds
from voicespan_server.access.door import Caller, token_of
from voicespan_server.access.refusal import RATE_LIMITED, SUBPROTOCOL, Refused
from voicespan_server.audio_wire import warn_once
from voicespan_server.call import Call
from voicespan_server.client_leg import EXTENSION, ClientLeg
from voicespan_server.downlink import MAX_BYTES
from voicespan_server.hangup import HungUp
from voicespan_server.kept_sessions import Kept, Owner
from voicespan_server.protocol import CloseCode, Hello, TurnTaking
from voicespan_server.server import Server
from voicespan_server.settings import Settings

logger = logging.getLogger(__name__)

PATH = "/ws/voice"
MAX_TRACESTATE = 512
CLOSE_S = 1.0
_PROPAGATOR = TraceContextTextMapPropagator()


class Socket:
    """A Starlette WebSocket as a call sees it; with the server's `ClientLeg` below it, audio goes around ASGI."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        leg = websocket.scope.get("extensions", {}).get(EXTENSION)
        self._leg = leg if isinstance(leg, ClientLeg) else None

    def take_audio(self, on_audio: Callable[[bytes], None] | None, max_bytes: int) -> None:
        """Have audio given to `on_audio`; with None, or without a leg, it comes by `receive`."""
        if self._leg:
            self._leg.forget_handshake()
            self._leg.take_audio(on_audio, max_bytes)
        else:
            warn_once("the client", "the server runs without voicespan_server.client_leg (`voicespan serve` has it)")

    def write_audio(self, pcm: bytes) -> bool:
        """Send at once; False where that cannot be."""
        return self._leg is not None and self._leg.send_audio(pcm)

    async def receive(self) -> str | bytes:
        """The next frame; raises `HungUp` when the client is gone."""
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            flooded = self._leg is not None and self._leg.flooded
            close = _close_of(message.get("code"), message.get("reason"), flooded=flooded)
            raise HungUp(close, RATE_LIMITED.code if flooded else None)
        data = message.get("bytes")
        return cast("bytes", data) if data is not None else cast("str", message["text"])

    async def send_text(self, text: str) -> None:
        """Send, unless the client is gone: reading tells of that."""
        if self._leg and self._leg.send_text(text):
            return
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.send_text(text)

    async def send_audio(self, pcm: bytes) -> None:
        """Send, unless the client is gone."""
        if self.write_audio(pcm):
            return
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.send_bytes(pcm)

    async def close(self, close: Close) -> None:
        """Close, unless that was done."""
        with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            # A client that reads nothing would not take the close either.
            async with asyncio.timeout(CLOSE_S):
                await self._websocket.close(close.code, p.close_reason(close.reason))


@dataclass(frozen=True, slots=True)
class Entered:
    """Somebody who was let in: who they are, how they take turns, and the upgrade's span.

    `former` is what is left of the call that they go on with.
    """

    caller: Caller
    turns: TurnTaking
    identity: Identity
    span: SpanContext
    former: Kept | None


class Leaving:
    """What is undone when a connection ends, the last first: an `ExitStack` without its deque, a KiB of every call."""

    __slots__ = ("_inside", "afterwards")

    def __init__(self) -> None:
        self._inside: list[AbstractContextManager[None]] = []
        # Who goes on with this session is told of its end when it counts no more.
        self.afterwards: Callable[[], None] | None = None

    def enter(self, context: AbstractContextManager[None]) -> None:
        """Enter it now, leave it then."""
        context.__enter__()
        self._inside.append(context)

    def leave(self) -> None:
        """All of it."""
        while self._inside:
            self._inside.pop().__exit__(None, None, None)
        if self.afterwards:
            self.afterwards()


async def voice(websocket: WebSocket, server: Server) -> None:
    """Handle one connection from upgrade to close."""
    socket = Socket(websocket)
    leaving = Leaving()
    try:
        entered = await _enter(websocket, socket, server, leaving)
        if entered:
            await _hold(socket, entered, server, leaving)
    finally:
        leaving.leave()


async def _enter(websocket: WebSocket, socket: Socket, server: Server, leaving: Leaving) -> Entered | None:
    """Let a client in, or tell it why not. Until it leaves the door counts it."""
    door, told = server.door, True
    span = _start_voice_session(server.telemetry.tracer, websocket)
    try:
        door.check_page(websocket)
        if p.SUBPROTOCOL not in websocket.scope["subprotocols"]:
            raise Refused(SUBPROTOCOL, f"the client does not speak {p.SUBPROTOCOL}")
        await websocket.accept(p.SUBPROTOCOL)
        span.set_attribute(c.HTTP_STATUS, 101)
        leaving.enter(door.knock(door.address(websocket)))
        token = token_of(websocket.scope["subprotocols"])
        caller = door.by_token(token) if token is not None else None
        with door.unknown() if caller is None else nullcontext():
            hello = await _hello(socket, server.settings.hello_timeout_s)
        _link(span, {"traceparent": hello.traceparent, "tracestate": hello.tracestate})
        caller = caller or door.by_token(hello.token)
        former = await _former(server, hello, caller)
        if former:
            # A trace of its own, for the former one is over: the session's id and a link hold them together.
            span.add_link(former.span, {c.LINK: "session"})
        try:
            leaving.enter(door.inside_as(caller, goes_on=former is not None))
        except Refused:
            if former and hello.resume:
                server.kept_sessions.put_back(hello.resume.token, former)
            raise
        user_id = caller.user or hello.user.id_hash or (former.owner.user_id if former else None)
        session_id = former.session_id if former else None
        identity = new_identity(server.upstream.backend, user_id, session_id, key_id=caller.key_id)
        ident.stamp(span, identity)
        return Entered(caller, hello.input.turns, identity, span.get_span_context(), former)
    except Refused as refused:
        door.count(refused)
        told = door.tells()
        _fail(span, refused.reason.code, refused.message)
        if websocket.application_state is WebSocketState.CONNECTING:
            span.set_attribute(c.HTTP_STATUS, refused.reason.status)
            await websocket.send_denial_response(PlainTextResponse(refused.message, refused.reason.status))
        else:
            await socket.send_text(p.encode(refused.as_message()))
            await socket.close(Close(refused.reason.close_code, p.close_reason(refused.message), "server"))
    except HungUp as hung_up:
        _fail(span, hung_up.error_type or "client_gone", hung_up.close.reason or "the client left before hello")
        if hung_up.message:
            await socket.send_text(p.encode(hung_up.message))
        await socket.close(hung_up.close)
    finally:
        if told:
            span.end()
    return None


async def _hold(socket: Socket, entered: Entered, server: Server, leaving: Leaving) -> None:
    """The call, from its span's beginning to its socket's close."""
    settings, upstream, telemetry = server.settings, server.upstream, server.telemetry
    identity = entered.identity
    session = VoiceSession(
        identity,
        upstream.model,
        tracer=telemetry.tracer,
        capture=telemetry.capture,
        parent=trace.set_span_in_context(NonRecordingSpan(entered.span), Context()),
        instructions=settings.instructions,
        input_rate_hz=p.INPUT_RATE_HZ,
        metrics=telemetry.metrics,
        logger=telemetry.logger,
        shape=TraceShape(settings.trace_scope, settings.generation_spans, settings.speech_spans),
        stall_after_s=settings.stall_after_s or None,
        recordings=telemetry.recordings,
    )
    meter = server.door.meter(session.trace_id, entered.caller, upstream.backend)
    bounds = CallBounds.of(settings, entered.caller, meter)
    turns, former = entered.turns, entered.former
    call = Call(
        socket,
        session,
        upstream,
        settings,
        server.toolbox,
        bounds=bounds,
        turns=turns,
        handle=former.handle if former else None,
        outcomes=former.outcomes if former else None,
    )
    owner = Owner(entered.caller.key_id, identity.user_id)
    token = server.kept_sessions.open(identity.session_id, owner, call.leave)
    ready = p.Ready(
        identity.session_id,
        session.trace_id,
        upstream.model.name,
        turns,
        _limits(settings, bounds.max_session_s),
        token,
        resumed=former is not None,
    )
    ended: HungUp | None = None
    try:
        ended = await call.run(lambda restored: ready.message(restored=restored))
    finally:
        kept = None
        if ended is not None and ended.may_go_on:
            context = trace.get_current_span(session.context).get_span_context()
            kept = Kept(identity.session_id, owner, call.handle, context, call.outcomes)
        leaving.afterwards = partial(server.kept_sessions.close, token, kept)
        telemetry.score_session(identity.session_id, call.outcomes)
    await socket.close(ended.close)


async def _former(server: Server, hello: Hello, caller: Caller) -> Kept | None:
    """What is left of the call that a client wants to go on with, if it is the same client's."""
    if hello.resume is None:
        return None
    claimed = Owner(caller.key_id, caller.user)
    return await server.kept_sessions.take(hello.resume.session_id, hello.resume.token, claimed)


def _limits(settings: Settings, max_session_s: float) -> p.Message:
    """What a client has to keep to, and what it can count on."""
    return {
        "max_frame_bytes": settings.max_frame_bytes,
        "max_message_bytes": settings.max_message_bytes,
        "max_text_chars": p.MAX_TEXT_CHARS,
        "max_image_bytes": settings.max_image_bytes,
        "max_images_per_s": settings.max_images_per_s,
        "max_uplink_ms": settings.max_uplink_ms,
        "max_downlink_bytes": MAX_BYTES,
        "idle_s": settings.idle_timeout_s,
        "max_s": max_session_s,
        "resume_s": settings.resume_s,
    }


async def refuse(websocket: WebSocket, server: Server, status: int, reason: str) -> None:
    """Answer the upgrade with an HTTP status instead of a call, and tell of it, of a flood of them not of each."""
    span = _start_voice_session(server.telemetry.tracer, websocket)
    try:
        span.set_attribute(c.HTTP_STATUS, status)
        span.set_status(Status(StatusCode.ERROR, reason))
        await websocket.send_denial_response(PlainTextResponse(reason, status, headers={"Retry-After": "1"}))
    finally:
        if server.door.tells():
            span.end()


def new_identity(backend: str, user_id: str | None, session_id: str | None, *, key_id: str) -> Identity:
    """A session of this server; its id is the program's own id of the conversation too."""
    session_id = session_id or uuid.uuid4().hex
    return Identity(
        session_id=session_id,
        user_id=user_id,
        conversation_id=session_id,
        backend=backend,
        key_id=key_id or None,
        tags=("voice", backend),
    )


def _fail(span: Span, error_type: str, why: str) -> None:
    span.set_attribute(c.ERROR_TYPE, error_type)
    span.set_status(Status(StatusCode.ERROR, why))


def _start_voice_session(tracer: trace.Tracer, websocket: WebSocket) -> Span:
    """The upgrade's span: a new trace, linked to the client's. No query string: tokens travel in those."""
    span = tracer.start_span(
        c.VOICE_SESSION,
        context=Context(),
        kind=SpanKind.SERVER,
        attributes={
            c.HTTP_METHOD: "GET",
            c.URL_SCHEME: websocket.url.scheme,
            c.URL_PATH: websocket.url.path,
            c.HTTP_ROUTE: PATH,
            c.NETWORK_PROTOCOL: "websocket",
            c.LF_TYPE: "span",
        },
    )
    _link(span, {name: websocket.headers.get(name) for name in ("traceparent", "tracestate")})
    return span


def _link(span: Span, carrier: dict[str, str | None]) -> None:
    """Link to the client's own span; it is no parent, for then any client could choose our trace ids and sampling."""
    if not p.is_traceparent(carrier["traceparent"]):
        return
    # A longer state may be dropped, says the W3C; ours would be a line in the log of whatever somebody likes.
    known = {name: value for name, value in carrier.items() if value and len(value) <= MAX_TRACESTATE}
    theirs = trace.get_current_span(_PROPAGATOR.extract(known, Context())).get_span_context()
    if theirs.is_valid:
        span.add_link(theirs, {c.LINK: "client"})


async def _hello(socket: Socket, timeout_s: float) -> Hello:
    """Wait for the client's first message."""
    try:
        async with asyncio.timeout(timeout_s):
            received = await socket.receive()
        if isinstance(received, bytes):
            raise p.ProtocolError("the first message must be a hello, not audio")
        message = p.parse(received)
        if not isinstance(message, Hello):
            raise p.ProtocolError(f"the first message must be a hello, not {message.type}")
    except TimeoutError:
        reason = f"no hello within {timeout_s:g} s"
        raise HungUp(Close(CloseCode.TIMEOUT, reason, "server"), "hello_timeout", p.error("timeout", reason)) from None
    except p.ProtocolError as error:
        close = Close(CloseCode.BAD_MESSAGE, p.close_reason(str(error)), "server")
        raise HungUp(close, "bad_message", p.error("bad_message", str(error))) from None
    return message


def _close_of(code: int | None, reason: str | None, *, flooded: bool) -> Close:
    """A disconnect as uvicorn tells it: 1012 is its own shutdown, 1005 also a lost connection."""
    code = code or 1005
    # A frame that is too big, and too many of them, are met before they come here.
    ours = flooded or code == CloseCode.TOO_BIG
    initiator: Initiator = "process" if code == CloseCode.RESTART else "server" if ours else "client"
    return Close(code, reason or "", initiator)
