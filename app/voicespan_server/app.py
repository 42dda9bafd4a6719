"""The FastAPI application: the voice socket, the REST API, and what instruments them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, WebSocket
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

from voicespan import conventions as c
from voicespan_server import __version__, interpreter, loop_lag, rest, voice
from voicespan_server.access.admission import SAMPLE_EVERY_S
from voicespan_server.application import Application
from voicespan_server.drain import end_with_parent
from voicespan_server.environment import read_environment
from voicespan_server.quiet_logs import keep_frames_out_of_logs
from voicespan_server.rest.request_spans import SECRET_HEADERS, without_query
from voicespan_server.server import Server
from voicespan_server.settings import Settings, load_settings
from voicespan_server.warm_up import warm_up


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application.

    Raises:
        SettingsError: a setting cannot be used, or the server would be open to strangers.
        EndpointError: an OTEL_EXPORTER_OTLP_* variable cannot be understood.
    """
    if settings is None:
        read_environment()
    keep_frames_out_of_logs()
    server = Server(settings or load_settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            end_with_parent()
            await warm_up(server.upstream, server.settings)
            interpreter.settle()
            meter = server.pipeline.meter_provider.get_meter(c.SCOPE)
            beside = [
                asyncio.create_task(server.check_langfuse()),
                asyncio.create_task(loop_lag.watch(loop_lag.histogram(meter))),
            ]
            if server.door.spend.budgets.of_days:
                await server.stored_spend.absorb()
                beside.append(asyncio.create_task(server.stored_spend.watch()))
            if server.door.admission.measures:
                beside.append(asyncio.create_task(loop_lag.watch(server.door.lateness, SAMPLE_EVERY_S)))
            with server.drain.on_signals():
                yield
            for task in beside:
                task.cancel()
        finally:
            await server.stop()

    app = Application(
        title="Voicespan",
        version=__version__,
        lifespan=lifespan,
        routes=rest.ROUTES,
        redirect_slashes=False,  # behind whatever ends TLS it would send clients, and their keys, to plain http
    )
    app.state.server = server
    rest.add_api(app, server.door.origins)

    async def voice_socket(websocket: WebSocket) -> None:
        if server.drain.draining:
            await voice.refuse(websocket, server, 503, "the server is stopping")
            return
        with server.drain.call():
            await voice.voice(websocket, server)

    app.sockets[voice.PATH] = voice_socket
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=server.pipeline.tracer_provider,
        meter_provider=server.pipeline.meter_provider,
        exclude_spans=["receive", "send"],
        http_capture_headers_sanitize_fields=SECRET_HEADERS,
        server_request_hook=without_query,
    )
    return app
