"""A server's REST API as its clients use it: a token for a call, and the call's trace afterwards."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx2
from pydantic import TypeAdapter, ValidationError

from voicespan import conventions as c
from voicespan.sdk.reading import StoredSpan
from voicespan_server.client import CallError

_SPANS: TypeAdapter[list[StoredSpan]] = TypeAdapter(list[StoredSpan])
POLL_S = 0.1


def rest_address(voice_url: str) -> str:
    """The REST API's address of a voice socket's URL.

    Raises:
        CallError: it is no ws:// or wss:// URL.
    """
    try:
        parts = urlsplit(voice_url)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme)
        usable = scheme and parts.hostname and parts.port != 0
    except ValueError:  # an address in brackets that is none, or a port that is no number or too large
        usable = None
    if not usable:
        raise CallError(f"{voice_url} is no voice socket's URL, such as ws://127.0.0.1:8000/ws/voice")
    return urlunsplit((scheme, parts.netloc, "", "", ""))


class RestClient:
    """Some of a server's REST API. `api_key` is sent where it is given."""

    def __init__(self, voice_url: str, api_key: str | None = None) -> None:
        self.address = rest_address(voice_url)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx2.Client(base_url=self.address, headers=headers, timeout=10.0)

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def session_token(self) -> str:
        """A token for one call.

        Raises:
            ConnectionError: there is no server.
            CallError: the server does not answer, or gives none for this key.
        """
        answer = self._request("POST", "/v1/session-tokens", {})
        try:
            return str(answer.raise_for_status().json()["token"])
        except (httpx2.HTTPStatusError, ValueError, LookupError, TypeError):
            raise CallError(
                f"{self.address} gives no session token for this key: HTTP {answer.status_code} {answer.text[:200]}",
                f"http-{answer.status_code}",
            ) from None

    def trace(self, trace_id: str, wait_s: float = 5.0) -> list[StoredSpan]:
        """The spans of a call that is over; waits until the session's own is among them.

        Raises:
            ConnectionError: there is no server any more.
            CallError: the server does not answer, or shows no trace.
        """
        deadline = time.monotonic() + wait_s
        while True:
            answer = self._request("GET", f"/v1/traces/{trace_id}")
            if answer.status_code == 200:
                spans = _spans_of(answer)
                if any(span.name == c.WEBSOCKET_SESSION for span in spans):
                    return spans
            elif answer.status_code != 404:
                raise CallError(f"{self.address} shows no trace: HTTP {answer.status_code} {answer.text[:200]}")
            if time.monotonic() > deadline:
                raise CallError(
                    f"{self.address} has no trace {trace_id}: is OTEL_SDK_DISABLED set there, or a sampler? "
                    "Or can its store not be written? /healthz says"
                )
            time.sleep(POLL_S)

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx2.Response:
        try:
            return self._http.request(method, path, json=body)
        except httpx2.ConnectError as error:
            raise ConnectionError(f"{self.address}: {error}") from error
        except httpx2.HTTPError as error:
            raise CallError(f"{self.address}: {str(error) or type(error).__name__}") from error


def _spans_of(answer: httpx2.Response) -> list[StoredSpan]:
    try:
        return _SPANS.validate_json(answer.content)
    except ValidationError as error:
        raise CallError(f"{answer.url} is no trace: {error.errors()[0]['msg']}") from None
