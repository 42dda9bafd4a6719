"""The Python client of `voice.v1`, against a server of a few lines that does what a test says."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.datastructures import Headers

from voicespan_server import protocol as p
from voicespan_server.client import FRAME_BYTES, CallError, Resumption, call
from voicespan_server.server_messages import Error, Pong, Unrecognised, Warning  # noqa: A004 - the protocol's name

READY = {
    "type": "ready",
    "v": 1,
    "session_id": "s-1",
    "trace_id": "a" * 32,
    "model": "gemini",
    "input": {"rate": 16_000, "turns": "auto"},
    "output": {"rate": 24_000},
    "limits": {"max_frame_bytes": 32_768, "idle_s": 60, "max_s": 1800},
    "resume": {"token": "again"},
}
MANUAL = {**READY, "input": {"rate": 16_000, "turns": "manual"}}

Script = Callable[[ServerConnection, dict[str, Any]], Awaitable[None]]


@asynccontextmanager
async def server(script: Script, refuse: Response | None = None) -> AsyncIterator[str]:
    """Reads the hello, then does as the script says, then closes with 1000."""

    async def handle(socket: ServerConnection) -> None:
        hello = json.loads(await socket.recv())
        await script(socket, hello)

    def answer(_: ServerConnection, __: Request) -> Response | None:
        return refuse

    async with serve(
        handle, "127.0.0.1", 0, subprotocols=[p.SUBPROTOCOL], process_request=answer, compression=None
    ) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/ws/voice"


TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


async def tell(socket: ServerConnection, *messages: dict[str, Any]) -> None:
    for message in messages:
        await socket.send(json.dumps(message))


async def test_what_the_server_says_is_kept_in_order_and_by_type() -> None:
    async def script(socket: ServerConnection, _: dict[str, Any]) -> None:
        warning = {"type": "warning", "code": "input_dropped", "message": "late", "ms": 40}
        await tell(socket, READY, {"type": "pong", "t": 1}, warning, {"type": "hologram"})
        await socket.send(bytes(960))

    async with server(script) as url, call(url) as running:
        await running.wait_until_over()
        assert [message.type for message in running.messages] == ["pong", "warning", "hologram"]
        assert running.of(Pong)[0].t == 1
        assert running.of(Warning)[0].ms == 40
        assert len(running.of(Unrecognised)) == 1
        assert running.heard_s == pytest.approx(0.02)
        assert running.close_code == 1000


async def test_a_token_is_offered_as_a_subprotocol_and_user_and_trace_are_named_in_hello() -> None:
    seen: list[object] = []

    async def script(socket: ServerConnection, hello: dict[str, Any]) -> None:
        assert socket.request is not None
        seen.extend(
            [socket.request.headers["Sec-WebSocket-Protocol"], hello["user"], hello["traceparent"], socket.request.path]
        )
        await tell(socket, READY)

    async with server(script) as url, call(url, user_id="u-1", token="abc.def", traceparent=TRACE) as running:
        await running.wait_until_over()
    assert seen == ["voice.v1, bearer.abc.def", {"id_hash": "u-1"}, TRACE, "/ws/voice"]


async def test_push_to_talk_sends_audio_between_start_and_end_and_none_besides() -> None:
    heard: list[object] = []
    done = asyncio.Event()

    async def script(socket: ServerConnection, hello: dict[str, Any]) -> None:
        assert hello["input"]["turns"] == "manual"
        await tell(socket, MANUAL)
        async for frame in socket:
            heard.append(len(frame) if isinstance(frame, bytes) else json.loads(frame)["type"])
            if heard[-1] == "activity.end":
                done.set()

    async with server(script) as url, call(url, turns="manual", pace=0.01) as running:
        await running.say(bytes(FRAME_BYTES * 3))
        await done.wait()
    assert heard == ["activity.start", FRAME_BYTES, FRAME_BYTES, FRAME_BYTES, "activity.end"]


async def test_an_open_microphone_sends_silence_until_somebody_speaks() -> None:
    heard: list[bytes] = []
    silence = asyncio.Event()

    async def script(socket: ServerConnection, _: dict[str, Any]) -> None:
        await tell(socket, READY)
        async for frame in socket:
            assert isinstance(frame, bytes)
            heard.append(frame)
            silence.set()
            if frame[0]:
                return

    async with server(script) as url, call(url, pace=0.01) as running:
        await silence.wait()
        await running.say(b"\1\0" * (FRAME_BYTES // 2))
        await running.wait_until_over()
    assert not any(heard[0])
    assert heard[-1] == b"\1\0" * (FRAME_BYTES // 2)


async def test_a_session_goes_on_in_another_call() -> None:
    asked: list[object] = []

    async def script(socket: ServerConnection, hello: dict[str, Any]) -> None:
        asked.append(hello.get("resume"))
        await tell(socket, READY)

    async with server(script) as url:
        async with call(url) as first:
            await first.wait_until_over()
        assert first.resumption == Resumption("s-1", "again")
        async with call(url, resume=first.resumption) as second:
            await second.wait_until_over()
    assert asked == [None, {"session_id": "s-1", "token": "again"}]


async def test_an_error_before_ready_is_a_call_that_was_refused() -> None:
    async def script(socket: ServerConnection, _: dict[str, Any]) -> None:
        await tell(socket, {**p.error("overloaded", "too many calls", retryable=True), "retry_after_ms": 1500})
        await socket.close(1013)

    async with server(script) as url:
        with pytest.raises(CallError, match="too many calls") as refused:
            async with call(url):
                pass
    assert (refused.value.code, refused.value.retry_after_ms) == ("overloaded", 1500)


async def test_a_refused_upgrade_carries_its_status_and_when_to_come_again() -> None:
    async def script(_: ServerConnection, __: dict[str, Any]) -> None: ...

    refusal = Response(HTTPStatus.SERVICE_UNAVAILABLE, "no", Headers({"Retry-After": "2"}), b"the server is stopping")
    async with server(script, refusal) as url:
        with pytest.raises(CallError, match="HTTP 503: the server is stopping") as refused:
            async with call(url):
                pass
    assert (refused.value.code, refused.value.retry_after_ms) == ("http-503", 2000)


async def test_who_listens_and_does_not_answer_is_told_from_a_model_that_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voicespan_server.client.UPGRADE_TIMEOUT_S", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(CallError, match=r"the upgrade was not answered within 0\.05 s") as raised,
    ):
        async with call(f"ws://127.0.0.1:{silent.getsockname()[1]}/ws/voice"):
            pass
    assert raised.value.code == "no-answer"


async def test_a_close_before_ready_is_named_by_its_code() -> None:
    async def script(socket: ServerConnection, _: dict[str, Any]) -> None:
        await socket.close(1012, "restart")

    async with server(script) as url:
        with pytest.raises(CallError, match="restart") as refused:
            async with call(url):
                pass
    assert refused.value.code == "close-1012"


async def test_who_waits_is_told_when_the_call_ends_and_why() -> None:
    async def script(socket: ServerConnection, _: dict[str, Any]) -> None:
        await tell(socket, READY, p.error("budget", "the budget is spent"))
        await socket.close(4429, "budget")

    async with server(script) as url, call(url) as running:
        with pytest.raises(CallError, match="4429 budget") as ended:
            await running.wait_for(lambda _: False)
    assert ended.value.code == "budget"
    assert running.of(Error)[0].retryable is False


@pytest.mark.parametrize("frame", ["{", '{"type": "interrupted"}'])
async def test_a_server_that_speaks_another_language_is_left(frame: str) -> None:
    seen: list[int] = []

    async def script(socket: ServerConnection, _: dict[str, Any]) -> None:
        await tell(socket, READY)
        await socket.send(frame)
        await socket.wait_closed()
        seen.append(socket.close_code or 0)

    async with server(script) as url:
        async with call(url) as running:
            await running.wait_until_over()
        assert running.close_code == 1002
        assert "does not speak voice.v1" in running.close_reason
    assert seen == [1002]
