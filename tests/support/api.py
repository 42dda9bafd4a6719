"""The application in this process, asked over ASGI: for the REST routes, without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from voicespan_server.app import create_app
from voicespan_server.server import Server
from voicespan_server.settings import Settings

KEY, OTHER_KEY = "an-api-key-of-alice", "an-api-key-of-bob-now"
KEYS = f"alice:{KEY},bob:{OTHER_KEY}"
AS_ALICE = {"Authorization": f"Bearer {KEY}"}


class Api:
    """A server's application, and a client of it."""

    def __init__(self, app: FastAPI, client: httpx2.AsyncClient) -> None:
        self.app = app
        self.client = client
        self.server: Server = app.state.server


@asynccontextmanager
async def api(monkeypatch: pytest.MonkeyPatch, folder: Path, **settings: object) -> AsyncIterator[Api]:
    """Run the application. The global providers stay as they are; no network is needed until a model is asked."""
    monkeypatch.setattr("opentelemetry.trace.set_tracer_provider", lambda provider: None)
    monkeypatch.setattr("opentelemetry.metrics.set_meter_provider", lambda provider: None)
    monkeypatch.setattr("opentelemetry._logs.set_logger_provider", lambda provider: None)
    chosen = {"backend": "gemini", "GEMINI_API_KEY": "k", "store_path": folder / "voicespan.db", **settings}
    app = create_app(Settings(**chosen))  # type: ignore[arg-type]
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client,
    ):
        yield Api(app, client)
