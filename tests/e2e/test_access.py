"""Who may call a real server, how much, and what it says to those who may not."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.error
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from support.api import AS_ALICE, KEY, KEYS, OTHER_KEY
from support.caller import ask, call
from support.otlp_sink import OtlpHttpSink
from support.server import ServerProcess
from voicespan_server.access.door import MAX_UNKNOWN
from voicespan_server.access.tokens import Claims, Signer
from voicespan_server.server_messages import TurnCompleted

pytestmark = pytest.mark.e2e

TOKEN_SECRET = "a-secret-that-signs-session-tokens"
CAP = 4


@dataclass(frozen=True, slots=True)
class Told:
    """How a call ended for its client."""

    messages: list[dict[str, Any]]
    code: int | None
    audio_bytes: int = 0

    @property
    def errors(self) -> list[str]:
        return [message["code"] for message in self.messages if message["type"] == "error"]

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.messages]


@asynccontextmanager
async def raw(
    server: ServerProcess,
    *,
    token: str | None = None,
    in_hello: bool = False,
    origin: str | None = None,
    address: str | None = None,
) -> AsyncIterator[ClientConnection]:
    """A client that does as the test says; it has said hello."""
    offered = [Subprotocol("voice.v1")] + ([Subprotocol(f"bearer.{token}")] if token and not in_hello else [])
    headers = {"X-Forwarded-For": address} if address else None
    async with connect(
        server.voice_url,
        subprotocols=offered,
        origin=Origin(origin) if origin else None,
        additional_headers=headers,
    ) as socket:
        hello = {"type": "hello", "v": 1, **({"token": token} if in_hello else {})}
        with suppress(ConnectionClosed):  # refused before it said anything: what it was told is still to be read
            await socket.send(json.dumps(hello))
        yield socket


async def read(socket: ClientConnection, until: str | None = None) -> Told:
    """What the server says until a message of a type, or until it closes."""
    messages: list[dict[str, Any]] = []
    audio_bytes = 0
    try:
        async with asyncio.timeout(30):
            while True:
                received = await socket.recv()
                if isinstance(received, bytes):
                    audio_bytes += len(received)
                    continue
                messages.append(json.loads(received))
                if messages[-1]["type"] == until:
                    return Told(messages, None, audio_bytes)
    except ConnectionClosed:
        return Told(messages, socket.close_code, audio_bytes)


async def told(server: ServerProcess, **how: Any) -> Told:
    async with raw(server, **how) as socket:
        return await read(socket, "ready")


def all_have_left(server: ServerProcess) -> None:
    deadline = time.monotonic() + 10
    while server.get("/healthz")["calls"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def keyed(environ: dict[str, str]) -> Iterator[ServerProcess]:
    keys = {
        "VOICESPAN_API_KEYS": KEYS,
        "VOICESPAN_TOKEN_SECRET": TOKEN_SECRET,
        "VOICESPAN_TRUSTED_PROXIES": "127.0.0.1",
    }
    limits = {
        "VOICESPAN_MAX_SESSIONS_PER_KEY": "2",
        "VOICESPAN_MAX_SESSIONS_PER_ADDRESS": "2",
        "VOICESPAN_NEW_SESSIONS_PER_MINUTE_PER_ADDRESS": "3",
        "VOICESPAN_ALLOWED_ORIGINS": "https://app.example.com",
    }
    with ServerProcess({**environ, **keys, **limits}) as server:
        yield server


async def test_a_token_lets_in_whom_it_is_for(keyed: ServerProcess, receiver: OtlpHttpSink) -> None:
    answer = await asyncio.to_thread(keyed.post, "/v1/session-tokens", {"user_id": "u-7"}, AS_ALICE)
    for in_hello in (False, True):
        async with raw(keyed, token=answer["token"], in_hello=in_hello) as socket:
            assert socket.subprotocol == "voice.v1"
            ready = (await read(socket, "ready")).messages[0]
            await socket.send('{"type": "bye"}')
            await read(socket)
        spans = receiver.spans.wait_for(
            lambda found, of=ready: any(  # type: ignore[misc]
                s.trace_id == of["trace_id"] and s.name == "WebSocket Session" for s in found
            )
        )
        mine = [span for span in spans if span.trace_id == ready["trace_id"]]
        assert {(s.attributes["voicespan.key_id"], s.attributes["user.id"]) for s in mine} == {("alice", "u-7")}
    listed = await asyncio.to_thread(keyed.get, "/v1/sessions?key_id=alice", AS_ALICE)
    assert len(listed["sessions"]) == 2


async def test_without_a_good_token_nobody_gets_in(keyed: ServerProcess) -> None:
    now_s = int(time.time())
    signer = Signer(TOKEN_SECRET.encode())
    good = signer.issue(Claims("alice", now_s, now_s + 60))
    for token in (
        None,
        KEY,
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        signer.issue(Claims("alice", now_s - 600, now_s - 300)),
        signer.issue(Claims("carol", now_s, now_s + 60)),
        Signer(b"another").issue(Claims("alice", now_s, now_s + 60)),
    ):
        for in_hello in (False, True):
            refused = await told(keyed, token=token, in_hello=in_hello)
            assert (refused.types, refused.errors, refused.code) == (["error"], ["unauthorized"], 4401)
    assert (await told(keyed, token=good)).types == ["ready"]


async def test_a_page_of_another_origin_is_refused_before_anything_else(keyed: ServerProcess) -> None:
    now_s = int(time.time())
    token = Signer(TOKEN_SECRET.encode()).issue(Claims("alice", now_s, now_s + 60))
    with pytest.raises(InvalidStatus) as refused:
        await told(keyed, token=token, origin="https://evil.example.com")
    assert refused.value.response.status_code == 403
    assert (await told(keyed, token=token, origin="https://app.example.com")).types == ["ready"]
    assert "ERROR" not in keyed.log  # or strangers could fill the disk


async def test_a_key_and_an_address_have_so_many_sessions(keyed: ServerProcess) -> None:
    now_s = int(time.time())
    alice, bob = (Signer(TOKEN_SECRET.encode()).issue(Claims(key, now_s, now_s + 60)) for key in ("alice", "bob"))
    async with AsyncExitStack() as held:
        for number in range(2):
            socket = await held.enter_async_context(raw(keyed, token=alice, address=f"198.51.100.{number}"))
            assert (await read(socket, "ready")).types == ["ready"]
        full = await told(keyed, token=alice, address="198.51.100.9")
        assert (full.errors, full.code) == (["too_many_sessions"], 4429)
        assert full.messages[0]["retry_after_ms"] >= 1000
        for _ in range(2):
            socket = await held.enter_async_context(raw(keyed, token=bob, address="203.0.113.1"))
            assert (await read(socket, "ready")).types == ["ready"]
        assert (await told(keyed, token=bob, address="203.0.113.1")).errors == ["too_many_sessions"]
    # Four in a minute are one too many for an address, also where none is open.
    for _ in range(3):
        await asyncio.to_thread(all_have_left, keyed)
        assert (await told(keyed, token=bob, address="203.0.113.2")).types == ["ready"]
    await asyncio.to_thread(all_have_left, keyed)
    assert (await told(keyed, token=bob, address="203.0.113.2")).errors == ["rate_limited"]


async def test_strangers_who_say_nothing_keep_nobody_out_who_shows_a_token(environ: dict[str, str]) -> None:
    keys = {"VOICESPAN_API_KEYS": KEYS, "VOICESPAN_TOKEN_SECRET": TOKEN_SECRET, "VOICESPAN_HELLO_TIMEOUT_S": "60"}
    now_s = int(time.time())
    token = Signer(TOKEN_SECRET.encode()).issue(Claims("alice", now_s, now_s + 60))
    with ServerProcess({**environ, **keys}) as server:
        async with AsyncExitStack() as held:
            for _ in range(MAX_UNKNOWN):
                await held.enter_async_context(connect(server.voice_url, subprotocols=[Subprotocol("voice.v1")]))
            assert (await told(server, token=token, in_hello=True)).errors == ["overloaded"]
            assert (await told(server, token=token)).types == ["ready"]


async def test_three_times_as_many_callers_as_there_is_room_for(environ: dict[str, str]) -> None:
    with ServerProcess({**environ, "VOICESPAN_MAX_SESSIONS": str(CAP)}) as server:
        async with AsyncExitStack() as held:
            running = [await held.enter_async_context(call(server.voice_url)) for _ in range(CAP)]
            for caller in running:
                await ask(caller)
            answers = await asyncio.gather(*(told(server) for _ in range(2 * CAP)))
            for answer in answers:
                assert (answer.types, answer.errors, answer.code) == (["error"], ["overloaded"], 1013)
                assert answer.messages[0]["retryable"] is True
                assert 1000 <= answer.messages[0]["retry_after_ms"] <= 2000
            # Those that run go on as if nobody had knocked.
            await asyncio.gather(*(ask(caller) for caller in running))
            assert [[turn.reason for turn in caller.of(TurnCompleted)] for caller in running] == [
                ["completed"] * 2
            ] * CAP
            assert (await asyncio.to_thread(server.get, "/healthz"))["calls"] == CAP
            await running[0].hang_up()
            assert (await told(server)).types == ["ready"]


async def test_all_at_once_no_more_get_in_than_there_is_room_for(environ: dict[str, str]) -> None:
    with ServerProcess({**environ, "VOICESPAN_MAX_SESSIONS": str(CAP)}) as server:
        async with AsyncExitStack() as held:

            async def come() -> str:
                socket = await held.enter_async_context(raw(server))
                return (await read(socket, "ready")).types[0]

            answers = await asyncio.gather(*(come() for _ in range(3 * CAP)))
        assert (answers.count("ready"), answers.count("error")) == (CAP, 2 * CAP)


async def test_a_budget_ends_a_call_after_its_turn_and_the_days_lets_no_other_in(environ: dict[str, str]) -> None:
    budgets = {"VOICESPAN_SESSION_BUDGET_USD": "0.000001", "VOICESPAN_BUDGET_SIMULATED": "true"}
    with ServerProcess({**environ, **budgets, "VOICESPAN_DAY_BUDGET_USD": "0.000001"}) as server:
        async with raw(server) as socket:
            await read(socket, "ready")
            await socket.send('{"type": "text", "text": "Where is the cathedral?"}')
            ended = await read(socket)
        assert (ended.errors, ended.code) == (["budget"], 4429)
        assert ended.types.index("turn.completed") < ended.types.index("error") < ended.types.index("bye")
        completed = ended.messages[ended.types.index("turn.completed")]
        # All of the answer was heard: 24 kHz, 16 bits.
        assert (completed["reason"], completed["metrics"]["audio_ms"]) == ("completed", ended.audio_bytes // 48)
        again = await told(server)
        assert (again.errors, again.code) == (["budget"], 4429)
        assert "today" in again.messages[0]["message"]
    with ServerProcess({**environ, **budgets, "VOICESPAN_BUDGET_SIMULATED": "false"}) as server:
        async with call(server.voice_url) as caller:
            await ask(caller)
            await ask(caller)  # a simulated call costs nothing


def test_a_chat_counts_in_the_days_budget(environ: dict[str, str]) -> None:
    budgets = {"VOICESPAN_DAY_BUDGET_USD": "0.000001", "VOICESPAN_BUDGET_SIMULATED": "true"}
    question = {"message": "Where is the cathedral?"}
    with ServerProcess({**environ, **budgets}) as server:
        assert server.post("/v1/chat", question)["cost_usd"] > 0
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.post("/v1/chat", question)
        assert refused.value.code == 429
        assert server.get("/healthz")["refused"] == {"budget": 1}


async def test_a_token_lowers_a_calls_bounds(environ: dict[str, str]) -> None:
    with ServerProcess({**environ, "VOICESPAN_API_KEYS": KEYS, "VOICESPAN_BUDGET_SIMULATED": "true"}) as server:
        bounds = {"max_session_s": 4, "budget_usd": 0.000001}
        for name, code in (("max_session_s", 4410), ("budget_usd", 4429)):
            asked = {name: bounds[name]}
            answer = await asyncio.to_thread(server.post, "/v1/session-tokens", asked, AS_ALICE)
            async with raw(server, token=answer["token"]) as socket:
                ready = (await read(socket, "ready")).messages[0]
                assert ready["limits"]["max_s"] == (4 if name == "max_session_s" else 1800)
                await socket.send('{"type": "text", "text": "Where is the cathedral?"}')
                assert (await read(socket)).code == code


async def test_a_client_that_floods_is_hung_up_on(environ: dict[str, str]) -> None:
    limits = {"VOICESPAN_MAX_AUDIO_SPEED": "4", "VOICESPAN_AUDIO_BURST_S": "1", "VOICESPAN_MAX_MESSAGES_PER_S": "2"}
    with ServerProcess({**environ, **limits}) as server:
        for flood in (bytes(6_400), '{"type": "ping"}'):
            async with raw(server) as socket:
                await read(socket, "ready")
                reading = asyncio.create_task(read(socket))
                with suppress(ConnectionClosed):
                    for _ in range(200):
                        await socket.send(flood)
                ended = await reading
            assert (ended.errors, ended.code) == (["rate_limited"], 4429)
        assert (await told(server)).types == ["ready"]


def test_a_server_that_others_could_reach_does_not_start_without_keys(environ: dict[str, str]) -> None:
    with_path = {**ServerProcess(environ).env}
    found = subprocess.run(
        [sys.executable, "-m", "voicespan_server.cli", "serve", "--host", "0.0.0.0", "--port", "0"],
        env=with_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 2
    [line] = found.stderr.strip().splitlines()
    assert "VOICESPAN_API_KEYS=id:secret" in line
    assert OTHER_KEY not in found.stderr
