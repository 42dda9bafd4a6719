"""Which requests have a span."""

from __future__ import annotations

import pytest
from opentelemetry.util.http import parse_excluded_urls

from voicespan_server.app import UNTRACED

EXCLUDED = parse_excluded_urls(",".join(UNTRACED))


@pytest.mark.parametrize("before", ["http://127.0.0.1:8000", "https://voice.example", "http://h/behind/a/proxy"])
def test_the_routes_that_act_are_told_of_wherever_the_api_is(before: str) -> None:
    for path in ("/v1/chat", "/v1/session-tokens", "/v1/config", "/v1/sessions/s-1/feedback"):
        assert not EXCLUDED.url_disabled(before + path)
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
        assert EXCLUDED.url_disabled(before + path), path
