"""uvicorn's HTTP protocol with a bound for a request's time and its head's size, over real sockets."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import connect

from support.client_wire import UPGRADE
from support.real_server import running, soon
from voicespan_server import client_http

GET = b"GET / HTTP/1.1\r\nHost: server.test\r\n"
POST = b"POST / HTTP/1.1\r\nHost: server.test\r\nContent-Length: 10\r\n\r\n"
LARGE = 16 << 20

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of uvicorn's and websockets'


class App:
    """An ASGI application that answers with a request's body, late at `/slow`, and keeps what it hears.

    At `/large` it answers with more than a socket holds, and closes.
    """

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.server: uvicorn.Server | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            if scope["path"] == "/large":
                await send({"type": "websocket.send", "bytes": bytes(LARGE)})
                await send({"type": "websocket.close"})
            while (message := await receive())["type"] != "websocket.disconnect":
                await send({"type": "websocket.send", "text": message["text"]})
            return
        body, more = b"", True
        while more:
            message = await receive()
            self.heard.append(message["type"])
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        if scope["path"] == "/slow":
            await asyncio.sleep(2 * client_http.REQUEST_S)
        if scope["path"] == "/large":
            body = bytes(LARGE)
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def port(app: App, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(client_http, "REQUEST_S", 0.3)
    async with running(app) as (found, app.server):
        yield found


async def told(port: int, *pieces: bytes, apart_s: float = 0.0) -> list[bytes]:
    """The status lines that come back until the server hangs up."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(apart_s)
        answer = await reader.read()
        writer.close()
    return re.findall(rb"HTTP/1.1 [^\r]*", answer)


@pytest.mark.parametrize("begun", [b"G", GET, UPGRADE[:-2]], ids=["a letter", "half a head", "half an upgrade"])
async def test_a_request_that_does_not_come_is_not_waited_for(port: int, app: App, begun: bytes) -> None:
    assert await told(port, begun) == [b"HTTP/1.1 408 Request Timeout"]
    assert not app.heard


async def test_who_says_nothing_is_hung_up_on(port: int) -> None:
    assert await told(port) == []


async def test_neither_is_one_that_comes_letter_by_letter(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        answer = asyncio.create_task(reader.readline())
        for letter in GET * 100:
            if answer.done():
                break
            writer.write(bytes([letter]))
            await asyncio.sleep(0.02)
        assert await answer == b"HTTP/1.1 408 Request Timeout\r\n"
    writer.close()


async def test_nor_the_second_one_of_a_connection(port: int, app: App) -> None:
    assert await told(port, GET + b"\r\n", GET) == [b"HTTP/1.1 200 OK", b"HTTP/1.1 408 Request Timeout"]
    assert app.heard == ["http.request"]


async def test_nor_a_body(port: int, app: App) -> None:
    assert await told(port, POST + b"half") == []
    assert app.heard == ["http.request", "http.disconnect"]


async def test_nor_what_does_not_even_begin(port: int) -> None:
    assert await told(port, GET + b"\r\n", b"\r\n", apart_s=0.05) == [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 408 Request Timeout",
    ]


@pytest.mark.parametrize(
    "behind", [b"\r\n", GET, GET + b"\r\n" + GET, POST, b"\r\n" + POST + b"half"], ids=lambda behind: repr(behind[-9:])
)
async def test_what_does_not_come_ends_no_answer_before_it(port: int, behind: bytes) -> None:
    slow = GET.replace(b"/", b"/slow", 1) + b"\r\n"
    assert (await told(port, slow, behind, apart_s=0.05))[0] == b"HTTP/1.1 200 OK"


async def test_half_a_request_does_not_hold_up_a_server_that_stops(
    port: int, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_http, "REQUEST_S", 60)
    monkeypatch.setattr(client_http, "STOPPING_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST + b"half")
    async with asyncio.timeout(5):
        while not app.heard:  # noqa: ASYNC110 - nobody sets an event for it
            await asyncio.sleep(0.005)
        assert app.server
        app.server.should_exit = True
        assert await reader.read() == b""
    writer.close()
    assert app.heard == ["http.request", "http.disconnect"]


async def test_a_head_without_an_end_is_refused(port: int, app: App) -> None:
    header = b"x-more: " + bytes([120]) * 1_000 + b"\r\n"
    assert await told(port, GET + header * 65) == [b"HTTP/1.1 431 Request Header Fields Too Large"]
    assert not app.heard


async def test_nor_does_a_trailer_without_an_end_fill_the_memory(
    port: int, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_http, "REQUEST_S", 60)
    chunked = b"POST / HTTP/1.1\r\nHost: server.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"
    assert await told(port, chunked, b"0\r\n", b"x-more: ", *[bytes([120]) * 20_000] * 4, apart_s=0.02) == []
    assert app.heard == ["http.request", "http.disconnect"]


async def test_a_head_is_not_as_long_as_the_body_that_it_came_with(port: int) -> None:
    long = b"POST / HTTP/1.1\r\nHost: server.test\r\nContent-Length: 63000\r\n\r\n" + bytes([120]) * 63_000
    pieces = [long + GET + b"Connection: close\r\nx-large: " + bytes([120]) * 6_000, b"\r\n\r\n"]
    assert await told(port, *pieces, apart_s=0.05) == [b"HTTP/1.1 200 OK"] * 2


async def test_requests_that_come_are_answered(port: int) -> None:
    pieces = [GET + b"x-large: " + bytes([120]) * 60_000 + b"\r\n\r\n", POST, b"half", b"whole!", POST + b"0123456789"]
    # The last is that of a fourth request, for which nobody waits longer.
    assert await told(port, *pieces, GET, apart_s=0.05) == [b"HTTP/1.1 200 OK"] * 3 + [b"HTTP/1.1 408 Request Timeout"]


async def test_a_websocket_may_be_silent_for_longer(port: int) -> None:
    async with connect(f"ws://127.0.0.1:{port}/") as client:
        await asyncio.sleep(2 * client_http.REQUEST_S)
        await client.send("still there")
        assert await client.recv() == "still there"


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the bound is Linux's")
@pytest.mark.parametrize(
    "request_",
    [GET + b"\r\n", GET + b"Connection: close\r\n\r\n", (GET + b"\r\n") * 2, UPGRADE],
    ids=["an answer", "the last answer", "the first of two", "a call"],
)
async def test_what_nobody_reads_does_not_wait_for_ever(
    port: int, app: App, monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    monkeypatch.setattr(client_http, "UNREAD_S", 0.3)
    assert app.server
    connections = app.server.server_state.connections
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(re.sub(rb"GET \S+", b"GET /large", request_))
        await soon(lambda: bool(connections))
        await soon(lambda: not connections)


async def test_what_is_read_slowly_arrives(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_http, "UNREAD_S", 0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=64 << 10)
    writer.write(GET.replace(b"/", b"/large", 1) + b"Connection: close\r\n\r\n")
    received = 0
    async with asyncio.timeout(20):
        while piece := await reader.read(256 << 10):
            received += len(piece)
            await asyncio.sleep(0.005)
    writer.close()
    assert received > LARGE
