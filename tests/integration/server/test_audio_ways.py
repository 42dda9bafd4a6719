"""A call with both legs: audio goes past ASGI and the SDK, and keeps every bound and its place among the rest."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import uvicorn
from fastapi import WebSocket
from google.genai import types
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader

from support.client_wire import UPGRADE, Wire, frame
from support.telling import IDENTITY, MODEL, Recorder
from support.upstream_wire import Transport, connected, session_over
from support.upstream_wire import frame as service_frame
from voicespan import VoiceSession
from voicespan_server.call import Call
from voicespan_server.client_leg import ClientLeg
from voicespan_server.hangup import HungUp
from voicespan_server.live import Upstream
from voicespan_server.places import EmbeddedPlaces
from voicespan_server.protocol import CloseCode
from voicespan_server.settings import Settings
from voicespan_server.tools import Toolbox
from voicespan_server.upstream_leg import UpstreamLeg
from voicespan_server.voice import Socket

SPOKEN = [bytes([number, 0]) * 320 for number in range(200)]
ANSWERED = [bytes([number, 1]) * 960 for number in range(200)]


class Held:
    """A call whose two ends are read and written here."""

    def __init__(self, leg: type[WebSocketsSansIOProtocol] = ClientLeg, **settings: object) -> None:
        self.settings = Settings(**settings)  # type: ignore[arg-type]
        self.client_wire = Wire()
        self.recorder = Recorder()
        self.up = asyncio.Event()
        self.ended: asyncio.Future[HungUp] = asyncio.get_running_loop().create_future()
        config = uvicorn.Config(
            self._serve, interface="asgi3", lifespan="off", ws_per_message_deflate=False, log_config=None
        )
        config.load()
        self.client = leg(config, ServerState(), {}, asyncio.get_running_loop())
        self.client.connection_made(self.client_wire)
        self.client.data_received(UPGRADE)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        websocket = WebSocket(scope, receive, send)
        await websocket.accept()
        session = VoiceSession(IDENTITY, MODEL, tracer=self.recorder.tracer)
        client = SimpleNamespace(aio=SimpleNamespace(live=SimpleNamespace(connect=self._connect)))
        upstream = Upstream(cast("Any", client), "simulator", MODEL, MODEL)
        self.call = Call(Socket(websocket), session, upstream, self.settings, Toolbox(EmbeddedPlaces()))
        self.ended.set_result(await self.call.run(lambda _: {"type": "ready"}))

    @asynccontextmanager
    async def _connect(self, **_: object) -> AsyncIterator[Any]:
        self.model = connected(UpstreamLeg)
        self.model_wire = cast("Transport", self.model.transport)
        session = session_over(self.model)
        session.setup_complete = types.LiveServerSetupComplete()
        self.up.set()
        yield session

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    def says(self, *frames: bytes) -> None:
        """The client writes, all at once."""
        self.client.data_received(b"".join(frames))

    def answers(self, *messages: dict[str, Any] | bytes) -> None:
        """The service writes, all at once; bytes are audio."""
        found = (audio(item) if isinstance(item, bytes) else item for item in messages)
        self.model.data_received(b"".join(service_frame(json.dumps(item, indent=2).encode()) for item in found))

    @property
    def to_client(self) -> list[bytes | str]:
        """Audio as it is, messages by their type."""
        found = frames_in(self.client_wire, masked=False)
        return [item if isinstance(item, bytes) else json.loads(item)["type"] for item in found]

    @property
    def to_model(self) -> list[bytes | str]:
        """Audio as it is, other input by its name."""
        said = [json.loads(item)["realtime_input"] for item in frames_in(self.model_wire, masked=True)]
        return [base64.b64decode(one["audio"]["data"]) if "audio" in one else next(iter(one)) for one in said]

    async def hang_up(self) -> HungUp:
        self.says(frame(Close(1000, "").serialize(), Opcode.CLOSE))
        async with asyncio.timeout(5):
            return await self.ended


async def held(leg: type[WebSocketsSansIOProtocol] = ClientLeg, **settings: object) -> Held:
    found = Held(leg, **settings)
    async with asyncio.timeout(5):
        await found.up.wait()
    await found.settle()
    return found


def audio(pcm: bytes) -> dict[str, Any]:
    data = {"mimeType": "audio/pcm;rate=24000", "data": base64.b64encode(pcm).decode()}
    return {"serverContent": {"modelTurn": {"parts": [{"inlineData": data}]}}}


def frames_in(wire: Transport, *, masked: bool) -> list[bytes | str]:
    reader = StreamReader()
    reader.feed_data(bytes(wire.written).split(b"\r\n\r\n", 1)[1])
    reader.feed_eof()
    found: list[bytes | str] = []
    while not _run(reader.at_eof()):
        item = _run(Frame.parse(reader.read_exact, mask=masked))
        if item.opcode in (Opcode.BINARY, Opcode.TEXT):
            found.append(bytes(item.data) if item.opcode is Opcode.BINARY else bytes(item.data).decode())
    return found


def _run(generator: Any) -> Any:
    try:
        next(generator)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it wants more bytes")


TEXT = frame('{"type": "text", "text": "Hello."}')
INTERRUPTED = {"serverContent": {"interrupted": True}}


async def test_what_the_client_says_reaches_the_model_in_its_order() -> None:
    call = await held()
    call.says(frame(SPOKEN[0]), frame(SPOKEN[1]))
    assert call.to_model == SPOKEN[:2], "without a turn of the loop"
    call.says(TEXT, frame(SPOKEN[2]))
    await call.settle()
    call.says(frame(SPOKEN[3]))
    assert call.to_model == [*SPOKEN[:2], "text", *SPOKEN[2:4]]
    assert call.call.uplink.audio_bytes == 0
    await call.hang_up()


async def test_what_the_model_says_reaches_the_client_in_its_order() -> None:
    call = await held()
    call.answers(ANSWERED[0])
    await call.settle()
    assert call.to_client == ["ready", "turn.started", ANSWERED[0]], "audio belongs to a turn that was told of"
    call.answers(ANSWERED[1], ANSWERED[2])
    assert call.to_client[3:] == ANSWERED[1:3], "without a turn of the loop"
    call.answers({"serverContent": {"outputTranscription": {"text": "Yes"}}}, ANSWERED[3])
    await call.settle()
    assert call.to_client[5:] == ["transcript", ANSWERED[3]]
    await call.hang_up()


async def test_of_an_interrupted_answer_nothing_follows_the_interruption() -> None:
    call = await held()
    call.answers(ANSWERED[0])
    await call.settle()
    call.client.pause_writing()
    call.answers(ANSWERED[1], ANSWERED[2], INTERRUPTED, ANSWERED[3])
    await call.settle()
    assert call.call.downlink.waiting_bytes
    call.client.resume_writing()
    await call.settle()
    told = call.to_client[3:]
    interrupted = told.index("interrupted")
    assert ANSWERED[2] not in told
    assert told[:interrupted].count(ANSWERED[1]) == told.count(ANSWERED[1]), "what the writer had already"
    assert ANSWERED[3] in told[interrupted:], "the next answer's audio"
    await call.hang_up()


async def test_while_the_model_does_not_read_the_oldest_audio_is_dropped_and_counted() -> None:
    call = await held(max_uplink_ms=100)
    call.model.pause_writing()
    call.says(*map(frame, SPOKEN[:9]))
    await call.settle()
    assert call.to_model == [SPOKEN[4]], "one waits in the connection, the others in the line"
    call.model.resume_writing()
    await call.settle()
    assert call.to_model == SPOKEN[4:9]
    call.says(frame(SPOKEN[9]))
    assert call.to_model[-1] == SPOKEN[9]
    assert "warning" in call.to_client
    await call.hang_up()


async def test_a_client_that_does_not_read_is_hung_up_on() -> None:
    call = await held()
    call.answers(ANSWERED[0])
    await call.settle()
    call.client.pause_writing()
    for _ in range(20):
        call.answers(*ANSWERED)
        await call.settle()
    async with asyncio.timeout(5):
        assert (await call.ended).close.code == CloseCode.OVERLOADED


async def test_a_client_that_only_speaks_is_not_idle() -> None:
    call = await held(idle_timeout_s=0.1)
    for pcm in SPOKEN[:20]:
        call.says(frame(pcm))
        await asyncio.sleep(0.02)
    assert not call.ended.done()
    async with asyncio.timeout(5):
        assert (await call.ended).close.code == CloseCode.TIMEOUT


async def test_half_a_sample_ends_the_call_with_its_reason() -> None:
    call = await held()
    call.says(frame(SPOKEN[0]), frame(b"\0" * 641))
    async with asyncio.timeout(5):
        ended = await call.ended
    assert ended.close.code == CloseCode.BAD_MESSAGE
    assert "641 bytes" in ended.close.reason


async def test_after_its_end_a_call_hears_nothing() -> None:
    call = await held()
    await call.hang_up()
    call.client.data_received(frame(SPOKEN[0]))
    assert call.call.uplink.audio_bytes == 0


async def test_under_a_plain_uvicorn_the_call_is_the_same() -> None:
    call = await held(WebSocketsSansIOProtocol)
    call.says(frame(SPOKEN[0]), TEXT, frame(SPOKEN[1]))
    call.answers(ANSWERED[0])
    await call.settle()
    assert call.to_model == [SPOKEN[0], "text", SPOKEN[1]]
    assert call.to_client == ["ready", "turn.started", ANSWERED[0]]
    await call.hang_up()
