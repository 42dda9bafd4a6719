"""An ASGI application under uvicorn with this server's protocols, on a free port of loopback, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[tuple[int, uvicorn.Server]]:
    """Its port and the server, which stops behind the block."""
    config = uvicorn.Config(
        app,
        port=0,
        lifespan="off",
        log_level="error",
        http="voicespan_server.client_http:ClientHttp",  # type: ignore[arg-type]
        ws="voicespan_server.client_leg:ClientLeg",  # type: ignore[arg-type]
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await soon(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1], server
    server.should_exit = True
    await serving


async def soon(true: Callable[[], bool]) -> None:
    """Wait for what nobody sets an event for."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)
