r"""What stands before FastAPI and all its middleware.

Requests whose headers OpenTelemetry's ASGI instrumentation cannot read: it takes `\u` for an escape, and fails. The
voice socket, for which no middleware does anything: each would hold a coroutine for as long as a call lasts. The first
request for the API's description. And requests of which no span is to tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, WebSocket
from opentelemetry.instrumentation.utils import suppress_http_instrumentation
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send


class Application(FastAPI):
    """FastAPI that refuses such a request, and hands WebSockets at `sockets`' paths to their handlers itself.

    `tells_of` says whether a span is to tell of a request.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sockets: dict[str, Callable[[WebSocket], Awaitable[None]]] = {}
        self.tells_of: Callable[[Scope], bool] = lambda scope: True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
        elif readable(scope["headers"]):
            if scope["type"] == "websocket" and (handler := self.sockets.get(_route_path(scope))):
                await handler(WebSocket(scope, receive, send))
            else:
                if self.openapi_schema is None and _route_path(scope) == self.openapi_url:
                    # Made at the first request, for 0.3 s, in which no call would be heard.
                    await asyncio.to_thread(self.openapi)
                if self.tells_of(scope):
                    await super().__call__(scope, receive, send)
                else:
                    with suppress_http_instrumentation():
                        await super().__call__(scope, receive, send)
        elif scope["type"] == "http":
            await JSONResponse({"detail": "a header with a broken escape"}, 400)(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})


def _route_path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def readable(headers: list[tuple[bytes, bytes]]) -> bool:
    r"""Whether each header survives being read as `unicode_escape`."""
    try:
        for name, value in headers:
            if b"\\" in name or b"\\" in value:
                name.decode("unicode_escape")
                value.decode("unicode_escape")
    except UnicodeDecodeError:
        return False
    return True
