"""A map asked over HTTP: one client for all calls, each request a CLIENT span under the tool that makes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.http_attributes import HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT
from opentelemetry.semconv.attributes.url_attributes import URL_FULL, URL_SCHEME
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from voicespan.redaction import without_password
from voicespan_server import __version__
from voicespan_server.places.provider import PlacesError

# Two requests have to fit into a tool's five seconds.
TIMEOUT_S = 2.0
MAX_BODY_BYTES = 1 << 20
# Of the semantic conventions' unstable half; low-cardinality, unlike the URL.
URL_TEMPLATE = "url.template"


class MapClient:
    """JSON over HTTP to one service, called `name` in what the model is told.

    Where somebody is and what they look for are in these URLs, and content: a span's `url.full` has them as REDACTED.
    """

    def __init__(self, name: str, base_url: str, tracer: Tracer, headers: Mapping[str, str] | None = None) -> None:
        self._name = name
        self._base_url = base_url.rstrip("/")
        self._tracer = tracer
        self._headers = {"User-Agent": f"voicespan/{__version__}", **(headers or {})}
        self._http: httpx2.AsyncClient | None = None

    async def get(self, template: str, query: Mapping[str, str | float] | None = None, **parts: str) -> Any:
        """GET `template`, whose `{parts}` are filled in.

        Raises:
            PlacesError: no answer in time, an error, or no JSON.
        """
        return await self._ask("GET", template, parts, params=query)

    async def post(self, path: str, body: Mapping[str, object], headers: Mapping[str, str]) -> Any:
        """POST JSON.

        Raises:
            PlacesError: as `get`.
        """
        return await self._ask("POST", path, {}, json=body, headers=headers)

    async def close(self) -> None:
        """Let go of connections."""
        if self._http:
            await self._http.aclose()
            self._http = None

    async def _ask(self, method: str, template: str, parts: Mapping[str, str], **request: Any) -> Any:
        # By hand, and never current: while the answer is awaited other calls run.
        span = self._tracer.start_span(f"{method} {template}", kind=SpanKind.CLIENT)
        _describe(span, method, self._base_url, template, queried=bool(request.get("params")))
        try:
            answer = await self._send(method, self._base_url + template.format(**parts), **request)
            span.set_attribute(HTTP_RESPONSE_STATUS_CODE, answer.status_code)
            if answer.status_code >= 400:
                span.set_attribute(ERROR_TYPE, str(answer.status_code))
                raise PlacesError(f"{self._name} answers HTTP {answer.status_code}: {_reason(answer)}")
            return _json(answer, self._name)
        except (PlacesError, asyncio.CancelledError) as error:
            cause = error.__cause__ or error
            if not isinstance(cause, PlacesError):
                span.set_attribute(ERROR_TYPE, type(cause).__name__)
            span.set_status(Status(StatusCode.ERROR, str(error) or "cancelled"))
            raise
        finally:
            span.end()

    async def _send(self, method: str, url: str, **request: Any) -> httpx2.Response:
        if self._http is None:
            self._http = httpx2.AsyncClient(headers=self._headers, timeout=TIMEOUT_S, follow_redirects=False)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._http.request(method, url, **request)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise PlacesError(f"{self._name} did not answer within {TIMEOUT_S:g} s") from error
        except httpx2.HTTPError as error:
            raise PlacesError(f"{self._name} cannot be reached") from error


def _describe(span: Span, method: str, base_url: str, template: str, *, queried: bool) -> None:
    address = urlsplit(base_url)
    shown = "".join("REDACTED" if part.startswith("{") else part for part in _pieces(template))
    span.set_attributes(
        {
            HTTP_REQUEST_METHOD: method,
            URL_SCHEME: address.scheme,
            SERVER_ADDRESS: address.hostname or "",
            SERVER_PORT: address.port or (80 if address.scheme == "http" else 443),
            URL_TEMPLATE: template,
            URL_FULL: f"{without_password(base_url, 'REDACTED:REDACTED')}{shown}{'?REDACTED' if queried else ''}",
        }
    )


def _pieces(template: str) -> list[str]:
    """`/route/{profile}` in `/route/` and `{profile}`."""
    return template.replace("{", "\0{").replace("}", "}\0").split("\0")


def _json(answer: httpx2.Response, name: str) -> Any:
    if len(answer.content) > MAX_BODY_BYTES:
        raise PlacesError(f"{name} answers with {len(answer.content)} bytes")
    try:
        return answer.json()
    except (ValueError, RecursionError) as error:
        raise PlacesError(f"{name} answers with something that is no JSON") from error


def _reason(answer: httpx2.Response) -> str:
    """The service's own words, where they are where Google and OSRM put them."""
    try:
        told = json.loads(answer.content[:MAX_BODY_BYTES])
        error = told.get("error", told)
        return str(error.get("message", ""))[:200] or "no reason given"
    except (ValueError, AttributeError, RecursionError):
        return "no reason given"
