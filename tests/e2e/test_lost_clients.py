"""A client that comes back before its loss was noticed, the pings that keep a connection, and frames that end it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from support.server import ServerProcess

pytestmark = pytest.mark.e2e

Message = dict[str, Any]


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "OTEL_METRICS_EXPORTER": "none"}


async def call(server: ServerProcess, **hello: object) -> tuple[ClientConnection, Message]:
    socket = await connect(server.voice_url, subprotocols=["voice.v1"], max_size=1 << 22)  # type: ignore[list-item]
    await socket.send(json.dumps({"type": "hello", **hello}))
    ready = json.loads(await socket.recv())
    assert ready["type"] == "ready"
    return socket, ready


async def told(socket: ClientConnection, kind: str) -> Message:
    async with asyncio.timeout(20):
        while True:
            received = await socket.recv()
            if isinstance(received, str) and (message := json.loads(received))["type"] == kind:
                return dict(message)


def resume(ready: Message) -> Message:
    return {"session_id": ready["session_id"], "token": ready["resume"]["token"]}


async def test_a_call_that_still_runs_is_taken_over(environ: dict[str, str]) -> None:
    # There is room for one: the former call has left when the latter one comes in.
    with ServerProcess({**environ, "VOICESPAN_MAX_SESSIONS_PER_KEY": "1"}) as server:
        former, first = await call(server)
        latter, second = await call(server, resume=resume(first))
        assert second["resumed"]
        assert (await told(former, "bye"))["code"] == 1001
        with pytest.raises(ConnectionClosed):
            await former.recv()
        assert former.close_code == 1001
        await latter.close()


async def test_where_sessions_are_not_kept_there_is_no_token(environ: dict[str, str]) -> None:
    with ServerProcess({**environ, "VOICESPAN_RESUME_S": "0"}) as server:
        socket, ready = await call(server)
        assert (ready["resume"], ready["limits"]["resume_s"]) == (None, 0)
        await socket.close()


class Pinged(ClientConnection):
    """Counts the server's pings."""

    pings = 0

    def process_event(self, event: Any) -> None:
        self.pings += isinstance(event, Frame) and event.opcode is Opcode.PING
        super().process_event(event)


async def test_a_silent_connection_is_kept_by_pings(environ: dict[str, str]) -> None:
    with ServerProcess({**environ, "VOICESPAN_PING_INTERVAL_S": "0.2"}) as server:
        async with connect(
            server.voice_url,
            subprotocols=["voice.v1"],  # type: ignore[list-item]
            create_connection=Pinged,
        ) as socket:
            assert isinstance(socket, Pinged)
            await socket.send('{"type": "hello"}')
            await told(socket, "ready")
            async with asyncio.timeout(10):
                while socket.pings < 3:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.05)
            await socket.send('{"type": "ping", "t": 7}')
            assert (await told(socket, "pong"))["t"] == 7


async def test_a_frame_longer_than_any_message_closes_with_1009(environ: dict[str, str]) -> None:
    with ServerProcess(environ) as server:
        socket, ready = await call(server)
        await socket.send(json.dumps({"type": "tomorrow", "much": "x" * ready["limits"]["max_message_bytes"]}))
        await socket.wait_closed()
        assert socket.close_code == 1009


async def test_the_code_arrives_though_the_client_goes_on_sending(environ: dict[str, str]) -> None:
    with ServerProcess(environ) as server:
        for _ in range(5):
            socket, ready = await call(server)
            too_long = "x" * (8 * ready["limits"]["max_message_bytes"])
            with suppress(ConnectionClosed):
                for _ in range(20):
                    await socket.send(too_long)
            await socket.wait_closed()
            assert socket.close_code == 1009


async def test_a_text_that_is_none_closes_with_1007_and_is_a_line_in_the_log(environ: dict[str, str]) -> None:
    with ServerProcess(environ) as server:
        socket, _ = await call(server)
        before = server.log.count("\n")
        await socket.send(b'{"type": "\xa0"}', text=True)
        await socket.wait_closed()
        assert socket.close_code == 1007
        (line,) = server.log.splitlines()[before:]
        assert "Invalid UTF-8" in line
