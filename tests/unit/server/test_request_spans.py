"""Which requests have a span."""

from __future__ import annotations

import pytest

from voicespan_server.access.door import Door
from voicespan_server.rest.request_spans import tells_of
from voicespan_server.settings import Settings


@pytest.mark.parametrize("before", ["", "/behind/a/proxy"])
def test_the_routes_that_act_are_told_of_wherever_the_api_is(before: str) -> None:
    door = Door(Settings(_env_file=None))  # type: ignore[call-arg]

    def told(path: str) -> bool:
        return tells_of(door, {"type": "http", "path": before + path, "headers": []})

    for path in ("/v1/chat", "/v1/session-tokens", "/v1/config", "/v1/sessions/s-1/feedback"):
        assert told(path)
    for path in (
        "/healthz",
        "/readyz",
        "/docs",
        "/openapi.json",
        "/v1/traces",
        "/v1/traces/" + "0" * 32,
        "/v1/usage",
        "/v1/users/somebody",
        "/v1/sessions",
        "/v1/sessions/s-1",
        "/v1/sessions/s-1/summary",
        "/ws/voice",
        "/v1/chat/more",
        "/wp-login.php",
        "/",
    ):
        assert not told(path), path
