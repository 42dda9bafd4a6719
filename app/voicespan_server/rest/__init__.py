"""The REST API: a router for each of its subjects."""

from __future__ import annotations

from functools import partial

from fastapi.middleware.cors import CORSMiddleware

from voicespan_server.access.origins import LOCAL_PATTERN, Origins
from voicespan_server.application import Application
from voicespan_server.rest import chat, config, feedback, health, session_tokens, sessions, traces, usage
from voicespan_server.rest.body_limit import BodyLimit
from voicespan_server.rest.faults import add_handlers
from voicespan_server.rest.head import HeadAsGet
from voicespan_server.rest.request_spans import tells_of

# The routes themselves, for the application's constructor: of a router that is included FastAPI makes each route anew,
# with all its models, at the first request, for 0.1 s in which no call would be heard.
ROUTES = [
    route
    for subject in (session_tokens, chat, sessions, feedback, usage, traces, config, health)
    for route in subject.router.routes
]
DESCRIPTION = """Voice AI with its traces. Every route below `/v1` asks for an API key, `Authorization: Bearer SECRET`,
except of a server without keys, which answers to its own machine alone. To call, a browser needs a session token."""


def add_api(app: Application, origins: Origins) -> None:
    """Add to the routes what stands before them."""
    app.description = DESCRIPTION
    app.tells_of = partial(tells_of, app.state.server.door)
    add_handlers(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(HeadAsGet)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins.written,
        # Pages of the server's own host need no leave.
        allow_origin_regex=None if origins.written else LOCAL_PATTERN,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "traceparent", "tracestate"],
        max_age=600,
    )
