r"""Requests whose headers OpenTelemetry's ASGI instrumentation cannot read: it takes `\u` for an escape, and fails."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send


class Application(FastAPI):
    """FastAPI that refuses such a request before the instrumentation, outside of all middleware, sees it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] == "lifespan" or readable(scope["headers"]):
            await super().__call__(scope, receive, send)
        elif scope["type"] == "http":
            await JSONResponse({"detail": "a header with a broken escape"}, 400)(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})


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
