"""The service's addresses: the two WebSocket paths, and `generateContent` over HTTP."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from time import time_ns

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from voicespan_simulator.call import Call
from voicespan_simulator.client_messages import (
    INTERNAL_ERROR,
    INVALID_PAYLOAD,
    POLICY_VIOLATION,
    RefusedError,
    Setup,
    decode,
    parse,
    parse_setup,
)
from voicespan_simulator.conversation import Conversation, Handles
from voicespan_simulator.deeds import ConnectionDeed, Diary, NoDiary
from voicespan_simulator.dialect import DEVELOPER, VERTEX, Dialect, call_ids
from voicespan_simulator.lateness import Lateness
from voicespan_simulator.line import Line
from voicespan_simulator.pace import Pace
from voicespan_simulator.profiles import bare_model_name, profile_of
from voicespan_simulator.rest import generate_content
from voicespan_simulator.scenario import Refusal, Scenario
from voicespan_simulator.session import Session
from voicespan_simulator.tokens import Tokens, text_tokens
from voicespan_simulator.voice import Voice
from voicespan_simulator.wire_json import JsonObject

# In the ASGI scope: what drops the TCP connection, and what leaves pings unanswered.
ABORT_EXTENSION, NO_PONGS_EXTENSION = "voicespan.abort", "voicespan.no_pongs"
SCENARIO_HEADER = "x-simulator-scenario"
LABEL_HEADER = "x-simulator-label"  # what the client calls this connection in the deeds
_NO_CODE, _NO_CLOSE_FRAME = 1005, 1006  # uvicorn says either of a connection that was lost
_LONGEST_REASON_BYTES = 123  # what fits a close frame
_MOST_BODY_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Simulation:
    """What all calls share."""

    scenarios: Mapping[str, Scenario]
    default_scenario: str
    voice: Voice
    pace: Pace
    diary: Diary = field(default_factory=NoDiary)
    handles: Handles = field(default_factory=Handles)
    connections: Iterator[int] = field(default_factory=lambda: count(1))
    lateness: Lateness = field(default_factory=Lateness)


class WebSocketChannel:
    """A `Channel` over a WebSocket; as the service does, it sends JSON in binary frames."""

    def __init__(self, socket: WebSocket, deed: ConnectionDeed) -> None:
        self._socket = socket
        self._deed = deed
        self._abort: Callable[[], None] = socket.scope["extensions"][ABORT_EXTENSION]

    async def receive(self) -> str | bytes | None:
        """The next frame, or None when the connection has ended."""
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            code = message.get("code", _NO_CLOSE_FRAME)
            lost = code in {_NO_CODE, _NO_CLOSE_FRAME}
            self._deed.close("client", None if lost else code, message.get("reason") or "", lost=lost)
            return None
        frame: str | bytes = message["text"] if message.get("text") is not None else message["bytes"]
        return frame

    async def send(self, message: JsonObject) -> None:
        """Sends one message."""
        if self._open:
            try:
                await self._socket.send_bytes(json.dumps(message, separators=(",", ":")).encode())
            except WebSocketDisconnect:
                return  # whoever reads learns of it and ends the session

    async def close(self, code: int, reason: str) -> None:
        """Closes with a close frame."""
        if self._open:
            self._deed.close("service", code, reason)
            try:
                await self._socket.close(code, reason.encode()[:_LONGEST_REASON_BYTES].decode(errors="ignore"))
            except WebSocketDisconnect:
                return

    def abort(self) -> None:
        """Drops the TCP connection without one."""
        self._deed.close("service", None, "", lost=True)
        self._abort()

    @property
    def _open(self) -> bool:
        states = (self._socket.application_state, self._socket.client_state)
        return states == (WebSocketState.CONNECTED, WebSocketState.CONNECTED)


def application(simulation: Simulation) -> Starlette:
    """The ASGI application. Any API version is taken, any key, and none."""

    async def developer(socket: WebSocket) -> None:
        await _live(simulation, DEVELOPER, socket)

    async def vertex(socket: WebSocket) -> None:
        await _live(simulation, VERTEX, socket)

    return Starlette(
        routes=[
            WebSocketRoute("/ws/google.ai.generativelanguage.{method}", developer),
            WebSocketRoute("/ws/google.cloud.aiplatform.{service}/BidiGenerateContent", vertex),
            Route("/{path:path}:generateContent", _generate_content, methods=["POST"]),
            Route("/{path:path}:streamGenerateContent", _stream_generate_content, methods=["POST"]),
        ]
    )


async def _live(simulation: Simulation, dialect: Dialect, socket: WebSocket) -> None:
    scenario = socket.headers.get(SCENARIO_HEADER, simulation.default_scenario)
    if (played := simulation.scenarios.get(scenario)) and played.refusal:
        await _refuse(socket, played.refusal)
        return
    if played and not played.pongs:
        socket.scope["extensions"][NO_PONGS_EXTENSION]()
    await socket.accept()
    label = socket.headers.get(LABEL_HEADER, "")
    deed = ConnectionDeed(next(simulation.connections), label, dialect.name, scenario, time_ns())
    channel = WebSocketChannel(socket, deed)
    began = simulation.lateness.now() if simulation.diary.asked_for else 0
    session: Session | None = None
    try:
        frame = await channel.receive()
        if frame is None:
            return
        session = Session(_call(simulation, dialect, parse_setup(decode(frame)), channel, deed))
        await session.begin()
        while (frame := await channel.receive()) is not None:
            for message in parse(decode(frame)):
                await session.take(message)
    except RefusedError as refused:
        await channel.close(refused.code, refused.reason)
    finally:
        if session is not None:
            await session.end()
        if simulation.diary.asked_for:
            deed.late_ms = round(simulation.lateness.worst_since(began) * 1000, 3)
            simulation.diary.write(deed)


async def _refuse(socket: WebSocket, refusal: Refusal) -> None:
    """Answers the upgrade as Google's front end does, with an error's JSON."""
    error: JsonObject = {"code": refusal.status, "message": "The simulator takes no call.", "status": "REFUSED"}
    after = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
    await socket.send_denial_response(JSONResponse({"error": error}, refusal.status, after))


def _call(
    simulation: Simulation, dialect: Dialect, setup: Setup, channel: WebSocketChannel, deed: ConnectionDeed
) -> Call:
    profile = profile_of(setup.model)
    if profile is None:
        raise RefusedError(
            POLICY_VIOLATION,
            f"{setup.model} is not found for this API version, or is not supported for bidiGenerateContent.",
        )
    deed.model = bare_model_name(setup.model)
    if deed.scenario not in simulation.scenarios:
        known = ", ".join(sorted(simulation.scenarios))
        raise RefusedError(POLICY_VIOLATION, f"{SCENARIO_HEADER}: no scenario {deed.scenario!r}, only {known}")
    instructions = Tokens(text=text_tokens(setup.instruction_characters))
    conversation = Conversation(simulation.scenarios[deed.scenario], profile.accounting.base + instructions)
    if setup.handle is not None:
        conversation = _resumed(simulation.handles, setup.handle, deed)
    return Call(
        setup=setup,
        profile=profile,
        dialect=dialect,
        conversation=conversation,
        handles=simulation.handles,
        voice=simulation.voice,
        line=Line(channel, simulation.pace),
        new_call_id=call_ids(dialect, profile.name),
        deed=deed,
        dead=deed.dead,
    )


def _resumed(handles: Handles, handle: str, deed: ConnectionDeed) -> Conversation:
    conversation = handles.load(handle)
    fate = "refused" if conversation is None else conversation.resumption()
    if conversation is None or fate == "refused":
        deed.handle = "refused"
        raise RefusedError(INVALID_PAYLOAD, "Invalid session resumption handle.")
    if fate == "unavailable":
        deed.handle = "refused"
        raise RefusedError(INTERNAL_ERROR, "The service is currently unavailable.")
    deed.handle, deed.dead = "resumed", fate == "dead"
    return conversation


async def _generate_content(request: Request) -> Response:
    body = await request.body()
    try:
        if len(body) > _MOST_BODY_BYTES:
            raise RefusedError(INVALID_PAYLOAD, "The request is too large.")
        return JSONResponse(generate_content(bare_model_name(request.path_params["path"]), decode(body)))
    except RefusedError as refused:
        error = {"code": 400, "message": refused.reason, "status": "INVALID_ARGUMENT"}
        return JSONResponse({"error": error}, status_code=400)


async def _stream_generate_content(request: Request) -> Response:
    """The whole response as the stream's only event."""
    response = await _generate_content(request)
    if response.status_code != 200:
        return response
    return Response(b"data: " + bytes(response.body) + b"\n\n", media_type="text/event-stream")
