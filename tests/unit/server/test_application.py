"""Before FastAPI: headers that OpenTelemetry's instrumentation would fail on are refused, sockets handed over."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from fastapi import WebSocket
from fastapi.testclient import TestClient

from voicespan_server.application import Application, readable


def test_a_broken_escape_is_not_readable_and_all_else_is() -> None:
    assert readable([(b"host", b"example.com"), (b"x-path", b"C:\\new"), (b"x-name", "é".encode())])
    assert not readable([(b"host", b"a\\u12")])
    assert not readable([(b"x\\x", b"a")])


def test_such_a_request_is_refused_with_400() -> None:
    app = Application()
    app.add_api_route("/there", lambda: "yes")
    with TestClient(app) as client:
        assert client.get("/there", headers={"x-a": "fine"}).status_code == 200
        assert client.get("/there", headers={"x-a": "\\u1"}).status_code == 400


@pytest.mark.parametrize("root_path", ["", "/behind/a/proxy"])
def test_a_socket_goes_around_all_middleware(root_path: str) -> None:
    async def refusing(*_: Any) -> None:
        raise AssertionError("it was in the way")

    async def handle(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(4000)

    app = Application()
    app.sockets["/call"] = handle
    app.add_middleware(lambda _: refusing)
    client = TestClient(app, root_path=root_path)
    with client.websocket_connect(root_path + "/call") as socket:
        assert socket.receive() == {"type": "websocket.close", "code": 4000, "reason": ""}
    with pytest.raises(AssertionError, match="in the way"), client.websocket_connect(root_path + "/other"):
        pass


def test_the_api_is_described_beside_the_loop_and_once() -> None:
    made_in: list[int] = []

    class Counting(Application):
        def openapi(self) -> dict[str, Any]:
            if self.openapi_schema is None:
                made_in.append(threading.get_ident())
            return super().openapi()

    app = Counting()

    async def loop() -> int:
        return threading.get_ident()

    app.add_api_route("/loop", loop)
    with TestClient(app) as client:
        described = [client.get("/openapi.json").json() for _ in range(2)]
        assert described[0] == described[1]
        assert set(described[0]["paths"]) == {"/loop"}
        assert len(made_in) == 1
        assert made_in != [client.get("/loop").json()]
