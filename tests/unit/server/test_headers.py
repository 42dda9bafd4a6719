"""Headers that OpenTelemetry's instrumentation would fail on are refused before it sees them."""

from __future__ import annotations

from fastapi.testclient import TestClient

from voicespan_server.headers import Application, readable


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
