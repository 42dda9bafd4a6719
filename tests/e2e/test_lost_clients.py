"""Clients that lose their connection and come back, and the pings that keep it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from support.caller import speech
from support.otlp_sink import OtlpHttpSink
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


async def ask(socket: ClientConnection) -> Message:
    """Say something; returns the turn's end."""
    pcm = speech(0.5) + bytes(48_000)
    for start in range(0, len(pcm), 1_280):
        await socket.send(pcm[start : start + 1_280])
    return await told(socket, "turn.completed")


async def told(socket: ClientConnection, kind: str) -> Message:
    async with asyncio.timeout(20):
        while True:
            received = await socket.recv()
            if isinstance(received, str) and (message := json.loads(received))["type"] == kind:
                return dict(message)


def resume(ready: Message) -> Message:
    return {"session_id": ready["session_id"], "token": ready["resume"]["token"]}


async def test_a_client_that_was_lost_goes_on_with_its_session(environ: dict[str, str], receiver: OtlpHttpSink) -> None:
    with ServerProcess({**environ, "VOICESPAN_SIMULATOR_SCENARIO": "parallel_tools"}) as server:
        socket, first = await call(server, user={"id_hash": "user-1"})
        assert (first["resumed"], first["restored"]) == (False, False)
        await ask(socket)
        await asyncio.sleep(0.1)  # the handle comes behind the turn
        socket.transport.abort()
        socket, second = await call(server, resume=resume(first))
        assert (second["resumed"], second["restored"]) == (True, True)
        assert second["session_id"] == first["session_id"]
        assert second["trace_id"] != first["trace_id"]
        assert second["resume"]["token"] != first["resume"]["token"]
        await ask(socket)
        await socket.send('{"type": "bye"}')
        await socket.wait_closed()
        # A call that was hung up on is over.
        socket, third = await call(server, resume=resume(second))
        assert (third["resumed"], third["session_id"] != first["session_id"]) == (False, True)
        await socket.close()
        spans = receiver.spans.wait_for(lambda found: sum(s.name == "WebSocket Session" for s in found) == 3)
    sessions = {s.trace_id: s for s in spans if s.name == "WebSocket Session"}
    roots = {s.trace_id: s for s in spans if s.name == "Voice Session"}
    former, latter = sessions[first["trace_id"]], sessions[second["trace_id"]]
    assert former.attributes["session.id"] == latter.attributes["session.id"] == first["session_id"]
    assert latter.attributes["user.id"] == "user-1"
    links = [(link.trace_id, link.span_id) for link in roots[second["trace_id"]].links]
    assert links == [(former.trace_id, former.span_id)]
    assert not roots[third["trace_id"]].links


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
