"""uvicorn's WebSocket protocol with audio taken out: without sockets against uvicorn's own, and once with real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidState, InvalidStatus
from websockets.frames import Close, Frame, Opcode

from support.client_wire import UPGRADE, Wire, frame
from support.examples import examples
from support.real_server import running, soon
from voicespan_server import client_leg
from voicespan_server.client_leg import EXTENSION, ClientLeg

MAX_BYTES = 640
PCM = b"\x10\x27" * 160


class App:
    """An ASGI application that keeps what it hears, by ASGI and beside it, in one list."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.beside = 0
        self.leg: ClientLeg | None = None
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.leg = scope["extensions"].get(EXTENSION)
        await receive()
        await send({"type": "websocket.accept"})
        if self.leg:
            self.leg.take_audio(self._on_audio, MAX_BYTES)
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.heard.append((message.get("code"), message.get("reason") or ""))
                self.ended.set()
                return
            self.heard.append(message.get("bytes") if message.get("bytes") is not None else message["text"])

    def _on_audio(self, pcm: bytes) -> None:
        self.beside += 1
        self.heard.append(pcm)


class Served:
    def __init__(self, kind: type[WebSocketsSansIOProtocol]) -> None:
        self.app, self.wire = App(), Wire()
        config = uvicorn.Config(self.app, lifespan="off", ws_per_message_deflate=False, ws_max_size=700)
        config.load()
        self.protocol = kind(config, ServerState(), {}, asyncio.get_running_loop())
        self.protocol.connection_made(self.wire)
        self.protocol.data_received(UPGRADE)

    async def read(self, data: bytes, turns: int = 3) -> None:
        async with asyncio.timeout(5):
            await self.wire.reading.wait()
        if not self.wire.closing:
            try:
                self.protocol.data_received(data)
            except InvalidState:  # uvicorn on bad UTF-8 and a close at once; a real transport ends for it
                self.wire.close()
        for _ in range(turns):
            await asyncio.sleep(0)

    async def lose(self) -> None:
        self.protocol.connection_lost(None)
        async with asyncio.timeout(5):
            await self.app.ended.wait()

    @property
    def written(self) -> bytes:
        """Behind the answer to the upgrade."""
        return bytes(self.wire.written).split(b"\r\n\r\n", 1)[1]


async def served() -> Served:
    found = Served(ClientLeg)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return found


async def test_audio_is_heard_without_asgi() -> None:
    server = await served()
    await server.read(frame(PCM) + frame(PCM[:2]), turns=0)
    assert server.app.heard == [PCM, PCM[:2]]
    assert server.app.beside == 2


async def test_audio_behind_a_text_is_heard_behind_it() -> None:
    server = await served()
    await server.read(frame(PCM) + frame("end") + frame(PCM))
    assert server.app.heard == [PCM, "end", PCM]
    assert server.app.beside == 1
    await server.read(frame(PCM))
    assert server.app.beside == 2


@pytest.mark.parametrize("size", [0, 1, MAX_BYTES + 1, MAX_BYTES + 2])
async def test_what_is_no_audio_or_too_long_is_the_applications_to_judge(size: int) -> None:
    server = await served()
    await server.read(frame(bytes(size)))
    assert server.app.heard == [bytes(size)]
    assert not server.app.beside


async def test_what_is_too_long_for_uvicorn_ends_as_ever() -> None:
    server = await served()
    await server.read(frame(bytes(701)))
    await server.lose()
    assert server.app.heard[0] == (1009, "frame with 701 bytes exceeds limit of 700 bytes")


async def test_a_frame_that_comes_in_pieces_is_put_together() -> None:
    server = await served()
    data = frame(PCM) + frame("text") + frame(PCM)
    for at in range(0, len(data), 7):
        await server.read(data[at : at + 7])
    assert server.app.heard == [PCM, "text", PCM]
    assert server.app.beside == 2


async def test_given_back_audio_goes_through_asgi() -> None:
    server = await served()
    assert server.app.leg
    server.app.leg.take_audio(None, 0)
    await server.read(frame(PCM))
    assert server.app.heard == [PCM]
    assert not server.app.beside


async def test_the_upgrades_headers_are_let_go_and_all_goes_on() -> None:
    server = await served()
    assert server.app.leg
    server.app.leg.forget_handshake()
    assert not server.protocol.scope
    server.app.leg.forget_handshake()
    await server.read(frame(PCM) + frame("text"))
    assert server.app.heard == [PCM, "text"]


async def test_audio_is_written_at_once_unless_the_client_does_not_read() -> None:
    server = await served()
    leg = server.app.leg
    assert leg
    assert leg.send_audio(PCM)
    assert server.written == Frame(Opcode.BINARY, PCM).serialize(mask=False)
    leg.pause_writing()
    assert not leg.send_audio(PCM)
    leg.resume_writing()
    assert leg.send_text("é")
    assert server.written.endswith(Frame(Opcode.TEXT, "é".encode()).serialize(mask=False))


async def test_nothing_is_written_before_the_upgrade_was_answered() -> None:
    server = Served(ClientLeg)
    assert not server.protocol.send_audio(PCM)  # type: ignore[attr-defined]
    assert not server.wire.written


async def test_nothing_is_written_to_a_client_that_has_gone() -> None:
    server = await served()
    leg = server.app.leg
    assert leg
    await server.read(frame(Close(1000, "").serialize(), Opcode.CLOSE) + frame(PCM))
    assert not leg.send_audio(PCM)
    assert server.app.heard == [(1000, "")], "nor is heard what stands behind its close"


async def test_nothing_is_written_behind_our_own_close() -> None:
    server = await served()
    leg = server.app.leg
    assert leg
    await leg.send({"type": "websocket.close", "code": 1000})
    assert not leg.send_audio(PCM)
    await server.read(frame(PCM))
    assert not server.app.beside


async def test_a_shutdown_is_told_and_the_client_has_time_to_answer() -> None:
    server = await served()
    server.protocol.shutdown()
    assert server.written == Frame(Opcode.CLOSE, Close(1012, "").serialize()).serialize(mask=False)
    await server.read(frame(PCM))
    assert not server.wire.closing, "what comes meanwhile is read, else the close would become a reset"
    assert server.app.heard == [(1012, "")]
    await server.read(frame(Close(1012, "").serialize(), Opcode.CLOSE))
    assert server.wire.closing


async def told(kind: type[WebSocketsSansIOProtocol], reads: Sequence[bytes], turns: Sequence[int]) -> Served:
    server = Served(kind)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for number, data in enumerate(reads):
        await server.read(data, turns[number % len(turns)])
    await server.lose()
    return server


payloads = st.one_of(st.binary(max_size=8), st.integers(0, MAX_BYTES + 3).map(bytes), st.text("aé", max_size=3))


@st.composite
def written(draw: st.DrawFn) -> list[bytes]:
    """Frames of all kinds, at the end perhaps one that ends the connection, in reads that end anywhere."""
    stream = b""
    for payload in draw(st.lists(payloads, max_size=8)):
        match draw(st.sampled_from(("whole", "whole", "whole", "fragments", "ping"))):
            case "whole":
                stream += frame(payload)
            case "fragments":
                stream += frame(payload, fin=False) + frame(b"", Opcode.PONG) + frame(b"ab", Opcode.CONT)
            case "ping":
                stream += frame(b"ping", Opcode.PING) + frame(payload)
    match draw(st.sampled_from(("nothing", "close", "too long", "broken in two", "damaged"))):
        case "close":
            stream += frame(Close(4000, "x").serialize(), Opcode.CLOSE) + frame(PCM)
        case "too long":
            stream += frame(bytes(701)) + frame(PCM)
        case "broken in two":
            stream += frame(PCM, fin=False) + frame(PCM)
        case "damaged":
            data = bytearray(frame(PCM))
            data[draw(st.integers(0, 7))] = draw(st.integers(0, 255))
            stream += data
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    parts = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    return [part for part in parts if part]


@settings(max_examples=examples(200), deadline=None)
@given(written(), st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_it_tells_what_uvicorn_tells_however_the_stream_is_cut(reads: list[bytes], turns: list[int]) -> None:
    async def compare() -> None:
        ours, theirs = await told(ClientLeg, reads, turns), await told(WebSocketsSansIOProtocol, reads, turns)
        assert ours.written == theirs.written
        assert ours.app.heard[-1] == theirs.app.heard[-1]
        if ours.app.heard != theirs.app.heard:
            # uvicorn forgets what it read at once with a frame that it refuses; by bytes it reads nothing at once.
            all_there_is = await told(WebSocketsSansIOProtocol, [bytes([byte]) for byte in b"".join(reads)], [0])
            assert theirs.protocol.conn.parser_exc
            assert is_within(theirs.app.heard, ours.app.heard)
            assert is_within(ours.app.heard, all_there_is.app.heard)

    asyncio.run(compare())


def is_within(some: list[object], more: list[object]) -> bool:
    """Whether all of some is in more, in this order."""
    rest = iter(more)
    return all(item in rest for item in some)


def url(port: int) -> str:
    return f"ws://127.0.0.1:{port}/"


async def closed(client: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as caught:
        await client.recv()
    assert caught.value.rcvd
    return caught.value.rcvd.code, caught.value.rcvd.reason


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_over_sockets_audio_passes_both_ways_and_a_shutdown_is_told() -> None:
    app = App()
    async with running(app) as (port, server), connect(url(port), compression=None) as client:
        for number in range(50):
            await client.send(bytes([number, 0]) * 320)
        await client.send("that was it")
        async with asyncio.timeout(5):
            await (await client.ping())
        assert app.heard == [*(bytes([number, 0]) * 320 for number in range(50)), "that was it"]
        assert app.beside == 50
        assert app.leg
        assert app.leg.send_audio(PCM)
        assert await client.recv() == PCM
        server.should_exit = True
        assert (await closed(client))[0] == 1012


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_over_sockets_a_client_that_does_not_read_is_written_to_no_more() -> None:
    app = App()
    async with running(app) as (port, _), connect(url(port), compression=None, max_queue=1) as client:
        await client.send(PCM)
        await soon(lambda: app.beside > 0)
        assert app.leg
        written = 0
        while app.leg.send_audio(bytes(4_800)):
            written += 1
            assert written < 20_000, "it never pauses"
        async with asyncio.timeout(5):
            for _ in range(written):
                assert len(await client.recv()) == 4_800
            await soon(lambda: app.leg is not None and app.leg.send_audio(PCM))
            assert await client.recv() == PCM


async def test_a_ping_is_answered_unless_the_client_reads_nothing() -> None:
    server = await served()
    await server.read(frame(b"one", Opcode.PING))
    server.protocol.pause_writing()
    await server.read(frame(b"two", Opcode.PING) * 100)
    server.protocol.resume_writing()
    await server.read(frame(b"three", Opcode.PING))
    assert server.written == b"\x8a\x03one\x8a\x05three"


@pytest.mark.parametrize(
    "flood", [frame(b"", Opcode.PING), frame(b"", Opcode.PONG), frame(b"")], ids=["ping", "pong", "no audio"]
)
async def test_a_flood_of_frames_is_not_read(monkeypatch: pytest.MonkeyPatch, flood: bytes) -> None:
    monkeypatch.setattr(client_leg, "FRAMES_PER_S", 1)
    monkeypatch.setattr(client_leg, "FRAMES_AT_ONCE", 8)
    server = await served()
    await server.read(frame("hello") + frame(PCM) * 20)
    for _ in range(20):
        await server.read(flood)
    assert b'"rate_limited"' in server.written
    assert server.app.heard[0] == "hello"
    assert server.app.heard[1:21] == [PCM] * 20
    assert server.app.heard[-1] == (4429, client_leg.FLOOD)
    assert len(server.app.heard) <= 22 + 8


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"cookie": "c" * 9_000}, 431),
        ({f"x-{number}": "v" for number in range(140)}, 431),
        ({"content-length": "5"}, 400),
        ({"transfer-encoding": "chunked"}, 400),
    ],
    ids=["a header that is too long", "too many", "a body", "a body in chunks"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_over_sockets_an_upgrade_that_cannot_be_read_is_answered(headers: dict[str, str], status: int) -> None:
    async with running(App()) as (port, _):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url(port), additional_headers=headers, open_timeout=5):
                pass
    assert refused.value.response.status_code == status
