"""Canaries in every secret, and calls and requests that carry them in right and wrong places: none is told anywhere."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from support.caller import ask, call
from support.http_server import HttpServer, Request, Response
from support.server import ServerProcess
from voicespan_simulator.process import SimulatorProcess

pytestmark = pytest.mark.e2e

# Of a form that no masking of credentials knows.
CANARIES = {
    name: f"canary{number}of{name.lower().replace('_', '')}padded"
    for number, name in enumerate(
        (
            "GEMINI_API_KEY",
            "GOOGLE_API_KEY",
            "VOICESPAN_TOKEN_SECRET",
            "LANGFUSE_SECRET_KEY",
            "API_KEY",
            "OTLP_HEADER",
            "WRONG_KEY",
        )
    )
}


class Collected:
    """All bodies that anybody was sent, unpacked."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []

    def respond(self, request: Request) -> Response:
        packed = request.headers.get("content-encoding") == "gzip"
        self.bodies.append((request.path, gzip.decompress(request.body) if packed else request.body))
        return Response(200, b"" if request.path.startswith("/v1/") else b"{}")

    def paths(self) -> set[str]:
        return {path for path, _ in self.bodies}


@pytest.fixture
def collected() -> Collected:
    return Collected()


@pytest.fixture
def server(simulator: SimulatorProcess, collected: Collected, tmp_path: Path) -> Iterator[ServerProcess]:
    key_file = tmp_path / "keys"
    key_file.write_text(f"alice:{CANARIES['API_KEY']}\n")
    with HttpServer(collected.respond) as sink:
        environ = {
            "VOICESPAN_BACKEND": "simulator",
            "VOICESPAN_SIMULATOR_URL": simulator.base_url,
            "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
            "VOICESPAN_API_KEYS_FILE": str(key_file),
            "VOICESPAN_TOKEN_SECRET": CANARIES["VOICESPAN_TOKEN_SECRET"],
            "GEMINI_API_KEY": CANARIES["GEMINI_API_KEY"],
            "GOOGLE_API_KEY": CANARIES["GOOGLE_API_KEY"],
            "LANGFUSE_PUBLIC_KEY": "pk-lf-1",
            "LANGFUSE_SECRET_KEY": CANARIES["LANGFUSE_SECRET_KEY"],
            "LANGFUSE_BASE_URL": sink.url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={CANARIES['OTLP_HEADER']}",
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_AND_EVENT",
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": ".*",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }
        running = ServerProcess(environ)
        running.start()
        yield running
        running.dispose()


def request(server: ServerProcess, method: str, path: str, headers: Mapping[str, str], body: object = None) -> int:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    asked = urllib.request.Request(server.url + path, data, dict(headers), method=method)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


async def knock(server: ServerProcess, *subprotocols: str, query: str = "", hello: object = None) -> None:
    """Call as far as the server's first answer."""
    offered = [Subprotocol(each) for each in subprotocols]
    with suppress(WebSocketException):
        async with connect(server.voice_url + query, subprotocols=offered) as socket:
            await socket.send(json.dumps(hello or {"type": "hello"}))
            await socket.recv()


async def test_no_secret_is_told_to_anybody(server: ServerProcess, collected: Collected) -> None:
    key, wrong = CANARIES["API_KEY"], CANARIES["WRONG_KEY"]
    good = {"Authorization": f"Bearer {key}"}
    issued = await asyncio.to_thread(server.post, "/v1/session-tokens", {"user_id": "u-1"}, good)
    token = issued["token"]
    async with call(server.voice_url, token=token) as caller:
        await ask(caller)
        await caller.hang_up()
    # A token, or a key for one, in right and wrong places.
    await knock(server, "voice.v1", f"bearer.{wrong}")
    await knock(server, "voice.v1", f"bearer.{key}")
    await knock(server, f"bearer.{token}")
    await knock(server, "voice.v1", query=f"?token={token}&key={key}")
    await knock(server, "voice.v1", hello={"type": "hello", "token": key})
    await knock(server, "voice.v1", hello={"type": "hello", "token": [key]})
    await knock(server, "voice.v1", hello={"type": "hello", "token": token, "traceparent": key})

    def requests() -> list[int]:
        return [
            request(server, "POST", "/v1/chat", good, {"message": "Where is the cathedral?"}),
            request(server, "POST", f"/v1/chat?api_key={key}", good, {"message": ""}),
            request(server, "POST", "/v1/chat", {"Authorization": f"Bearer {wrong}"}, {"message": "hello"}),
            request(server, "POST", "/v1/chat", {"Authorization": f"Basic {key}", "Cookie": f"key={key}"}, {}),
            request(server, "POST", f"/v1/session-tokens?key={key}", good, {"user_id": 7}),
            request(server, "POST", "/v1/sessions/s-1/feedback", good, {"thumbs": "up"}),
            request(server, "GET", "/v1/config", good),
            request(server, "GET", "/healthz", good),
        ]

    assert await asyncio.to_thread(requests) == [200, 422, 401, 401, 422, 202, 200, 200]
    await asyncio.to_thread(server.signal, signal.SIGTERM)
    kept = [file.read_bytes() for file in server.folder.iterdir() if file.is_file()]
    assert {"/v1/traces", "/v1/logs", "/v1/metrics", "/api/public/scores"} <= collected.paths()
    told = [*(body for _, body in collected.bodies), *kept, server.log.encode()]
    assert sum(b"WebSocket Session" in body for body in told) >= 2  # what is searched is what was told
    assert any(b"authorization" in body and b"[REDACTED]" in body for body in told)
    for name, secret in {**CANARIES, "token": token, "signature": token.partition(".")[2]}.items():
        for body in told:
            assert secret.encode() not in body, name
