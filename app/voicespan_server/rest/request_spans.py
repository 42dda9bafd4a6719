"""Which requests FastAPI's instrumentation tells of, and what it is not to put on their spans."""

from __future__ import annotations

import re

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span
from starlette.requests import HTTPConnection
from starlette.types import Scope

from voicespan_server.access.door import Door
from voicespan_server.access.refusal import Refused

# Where somebody has it record headers (OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST=.*).
SECRET_HEADERS = ["authorization", "cookie", "sec-websocket-protocol", "x-goog-api-key"]
_WITH_QUERY = ("http.url", "http.target", "url.full")
_QUERY = "url.query"
REDACTED = "REDACTED"
# Behind a proxy there may be a path before these. Health, the pages of the API, the reading and deleting of what is
# stored (a deleted user's id would be in a trace), and what is no route make no traces.
_TRACED = re.compile(r"/v1/(chat|session-tokens|config|sessions/[^/]+/feedback)$")


def tells_of(door: Door, scope: Scope) -> bool:
    """Of what strangers ask for only as often as of refused calls: a flood is not to fill the store."""
    if not _TRACED.search(scope["path"]):
        return False
    connection = HTTPConnection(scope)
    scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
    try:
        door.check_page(connection)
        door.by_key(secret.strip() if scheme.lower() == "bearer" else None)
    except Refused:
        return door.tells()
    return True


def without_query(span: Span, scope: Scope) -> None:
    """Query strings stay out of spans: whoever mistakes them for the place of a key is not to find it in a trace."""
    if not scope.get("query_string") or not isinstance(span, ReadableSpan):
        return
    has = span.attributes or {}
    for name in _WITH_QUERY:
        if name in has:
            span.set_attribute(name, str(has[name]).partition("?")[0])
    if _QUERY in has:
        span.set_attribute(_QUERY, REDACTED)
