"""Which pages may talk to the server, and by which name it may be asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicespan_server.access.origins import OriginError, Origins, is_loopback

DEFAULT = Origins([], local_only=False)
LOCAL = Origins([], local_only=True)
LISTED = Origins(["https://app.example.com", "http://localhost:5173"], local_only=False)


@pytest.mark.parametrize(
    ("origins", "origin", "host", "permitted"),
    [
        (DEFAULT, None, "voice.example.com", True),
        (DEFAULT, "https://voice.example.com", "voice.example.com", True),
        (DEFAULT, "https://voice.example.com", "voice.example.com:443", True),
        (DEFAULT, "https://VOICE.example.com:8443", "voice.example.com:8443", True),
        (DEFAULT, "https://voice.example.com:8443", "voice.example.com", False),
        (DEFAULT, "https://evil.example.com", "voice.example.com", False),
        (DEFAULT, "https://voice.example.com.evil.com", "voice.example.com", False),
        (DEFAULT, "https://voice.example.com@evil.com", "voice.example.com", False),
        (DEFAULT, "http://localhost:3000", "voice.example.com", True),
        (DEFAULT, "http://[::1]:3000", "127.0.0.1:8000", True),
        (DEFAULT, "http://localhost.evil.com", "127.0.0.1:8000", False),
        (DEFAULT, "https://voice.example.com", None, False),
        (DEFAULT, "null", "127.0.0.1:8000", False),
        (DEFAULT, "file://", "127.0.0.1:8000", False),
        (DEFAULT, "", "127.0.0.1:8000", False),
        (DEFAULT, "http://a:b", "a:b", False),
        (LISTED, "https://app.example.com", "voice.example.com", True),
        (LISTED, "https://app.example.com:443", "voice.example.com", True),
        (LISTED, "http://app.example.com", "voice.example.com", False),
        (LISTED, "https://voice.example.com", "voice.example.com", False),
        (LISTED, "http://localhost:5174", "voice.example.com", False),
        (Origins(["*"], local_only=False), "https://evil.example.com", "voice.example.com", True),
    ],
)
def test_a_page_may_talk_to_its_own_host_to_this_machine_or_where_it_is_listed(
    origins: Origins, origin: str | None, host: str | None, permitted: bool
) -> None:
    assert origins.permits(origin, host) is permitted


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost:8000", True),
        ("127.0.0.1", True),
        ("[::1]:8000", True),
        (None, True),
        ("rebound.evil.com:8000", False),
        ("127.0.0.1.evil.com", False),
        ("[::1", False),
    ],
)
def test_without_keys_a_request_has_to_be_for_this_machine_by_name(host: str | None, known: bool) -> None:
    assert LOCAL.knows_host(host) is known
    assert DEFAULT.knows_host(host)


@pytest.mark.parametrize(
    "text", ["app.example.com", "https://app.example.com/path", "https://", "ftp://x", "https://x:y"]
)
def test_what_is_no_origin_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(OriginError, match="such as"):
        Origins([text], local_only=False)


@given(st.text(max_size=80), st.none() | st.text(max_size=80))
def test_whatever_a_header_holds_there_is_an_answer(origin: str, host: str | None) -> None:
    assert LISTED.permits(origin, host) in {True, False}
    assert LOCAL.permits(origin, host) in {True, False}
    assert LOCAL.knows_host(host) in {True, False}
    assert is_loopback(origin) in {True, False}
