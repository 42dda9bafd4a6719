"""What FastAPI's instrumentation is not to put on the spans of requests."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span
from starlette.types import Scope

# Where somebody has it record headers (OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST=.*).
SECRET_HEADERS = ["authorization", "cookie", "sec-websocket-protocol", "x-goog-api-key"]
_WITH_QUERY = ("http.url", "http.target", "url.full")
_QUERY = "url.query"
REDACTED = "REDACTED"


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
