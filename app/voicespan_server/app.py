"""The FastAPI application: the voice socket, text chat, traces, scores, health."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import Annotated

import httpx2
from fastapi import FastAPI, HTTPException, Query, Response, WebSocket
from fastapi import Path as PathParameter
from google.auth.exceptions import GoogleAuthError
from google.genai import errors
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from pydantic import BaseModel, Field

from voicespan import conventions as c
from voicespan.langfuse import LangfuseClient
from voicespan.sdk import pipeline as sdk
from voicespan.sdk.reading import StoredSpan, TraceSummary, reader_of
from voicespan.sdk.store import Bounds, Store
from voicespan.session_scores import Score
from voicespan_server import __version__, loop_lag, voice
from voicespan_server.chat import ChatRequest, ChatResponse, chat
from voicespan_server.drain import Drain, end_with_parent, in_thread_of_its_own
from voicespan_server.live import Upstream, connect_to
from voicespan_server.settings import Settings, load_settings, read_dotenv
from voicespan_server.telemetry import Telemetry

logger = logging.getLogger(__name__)

HEALTH, READY = "/healthz", "/readyz"
# A record that has waited this long is a sign of an outage.
LATE_S = 30.0
LANGFUSE_CLOSE_S = 2.0
TraceId = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$")]


class Feedback(BaseModel):
    """Feedback on a session."""

    name: str = Field(default="user_feedback", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    value: float = Field(allow_inf_nan=False)
    comment: str | None = Field(default=None, max_length=2_000)


class Server:
    """What the routes share: settings, the way to the model, telemetry."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.upstream: Upstream = connect_to(settings)
        self.pipeline: sdk.Pipeline = sdk.configure(
            settings.store_path if settings.store == "on" else None,
            service_version=__version__,
            bounds=Bounds(settings.store_max_mb << 20, settings.store_max_days * 86_400, settings.store_synchronous),
        )
        self.drain = Drain(settings.drain_s)
        self.telemetry = Telemetry.of(self.pipeline, record=settings.record_audio == "turns")
        self.langfuse = _langfuse(settings)

    def telemetry_faults(self) -> list[str]:
        """What somebody ought to look at, in words; empty where all is well."""
        stats = self.pipeline.store.stats()
        faults = []
        if stats.in_memory and self.settings.store == "on":
            faults.append("the store's file cannot be used: traces are kept in memory")
        if not stats.writing:
            faults.append("the store cannot be written")
        if stats.dropped:
            faults.append(f"{stats.dropped} records were dropped")
        if self.pipeline.media and self.pipeline.media.dropped:
            faults.append(f"{self.pipeline.media.dropped} recordings were dropped: the store could not take them")
        for signal, age_s in stats.oldest_age_s.items():
            if age_s > LATE_S:
                faults.append(f"{signal} wait since {age_s:.0f} s: {self.pipeline.senders[signal].stats.last_error}")
        for signal, sender in self.pipeline.senders.items():
            if sender.stats.rejected:
                faults.append(f"{sender.stats.rejected} {signal} were refused: {sender.stats.last_error}")
        return faults

    async def check_langfuse(self) -> None:
        """Say at the start, not at the first lost score, that the keys are wrong."""
        if self.langfuse and (fault := await in_thread_of_its_own(self.langfuse.check)):
            logger.warning("Langfuse: %s", fault)

    def langfuse_link(self, trace_id: str) -> str | None:
        """Where a browser finds a trace in Langfuse; None without Langfuse."""
        link = self.langfuse.trace_url(trace_id) if self.langfuse else None
        if link and self.settings.langfuse_browser_url:
            link = link.replace(self.settings.langfuse_base_url, self.settings.langfuse_browser_url, 1)
        return link

    async def stop(self) -> None:
        """Bring telemetry out, within bounds. uvicorn dies by its signal afterwards, so nothing later would run."""
        kept = self.pipeline.store.path
        if not await in_thread_of_its_own(self.pipeline.shutdown):
            logger.warning("not all could be sent; what is left %s", f"stays in {kept}" if kept else "is lost")
        if self.langfuse:
            with suppress(TimeoutError):
                async with asyncio.timeout(LANGFUSE_CLOSE_S):
                    await in_thread_of_its_own(self.langfuse.close)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application.

    Raises:
        SettingsError: a setting cannot be used.
        EndpointError: an OTEL_EXPORTER_OTLP_* variable cannot be understood.
    """
    if settings is None:
        read_dotenv()
    server = Server(settings or load_settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            end_with_parent()
            meter = server.pipeline.meter_provider.get_meter(c.SCOPE)
            beside = [
                asyncio.create_task(server.check_langfuse()),
                asyncio.create_task(loop_lag.watch(loop_lag.histogram(meter))),
            ]
            with server.drain.on_signals():
                yield
            for task in beside:
                task.cancel()
        finally:
            await server.stop()

    app = FastAPI(title="Voicespan", version=__version__, lifespan=lifespan)
    app.state.server = server
    _add_routes(app, server)
    # The voice socket is told by its own spans; instrumented, it would make one for every frame.
    FastAPIInstrumentor.instrument_app(
        app,
        # Nor do its own health, its pages and the reading of traces make traces.
        excluded_urls=f"{voice.PATH},{HEALTH},{READY},/v1/traces,/docs,/openapi.json,/favicon.ico",
        tracer_provider=server.pipeline.tracer_provider,
        meter_provider=server.pipeline.meter_provider,
        exclude_spans=["receive", "send"],
    )
    return app


def _add_routes(app: FastAPI, server: Server) -> None:
    @app.websocket(voice.PATH)
    async def voice_socket(websocket: WebSocket) -> None:
        if server.drain.draining:
            await voice.refuse(websocket, server.telemetry, 503, "the server is stopping")
            return
        with server.drain.call():
            await voice.voice(websocket, server.settings, server.upstream, server.telemetry)

    @app.post("/v1/chat")
    async def post_chat(request: ChatRequest) -> ChatResponse:
        """Ask by text; the model may use its tools."""
        try:
            return await chat(request, server.settings, server.upstream, server.telemetry)
        except errors.APIError as error:
            status = 429 if error.code == 429 else 502
            raise HTTPException(status, f"the model refused: {error.code} {error.message}") from error
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise HTTPException(504, "the model did not answer in time") from error
        except (OSError, httpx2.HTTPError, GoogleAuthError) as error:
            raise HTTPException(502, f"the model cannot be reached: {type(error).__name__}") from error

    @app.get("/v1/traces")
    async def get_traces(limit: Annotated[int, Query(ge=1, le=500)] = 50) -> list[TraceSummary]:
        """The latest traces of this host."""
        return await asyncio.to_thread(_latest, server.pipeline.store, limit)

    @app.get("/v1/traces/{trace_id}")
    async def get_trace(trace_id: TraceId) -> list[StoredSpan]:
        """The spans of a trace, in the order in which they began."""
        spans = await asyncio.to_thread(_spans, server.pipeline.store, trace_id)
        if not spans:
            raise HTTPException(404, f"no trace {trace_id}")
        return spans

    @app.get("/v1/traces/{trace_id}/link")
    async def get_link(trace_id: TraceId) -> dict[str, str | None]:
        """Where Langfuse shows a trace."""
        return {"langfuse": await asyncio.to_thread(server.langfuse_link, trace_id)}

    @app.post("/v1/sessions/{session_id}/score", status_code=202)
    async def post_score(
        session_id: Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_.:-]{1,200}$")], feedback: Feedback
    ) -> dict[str, str]:
        """Give a session a score in Langfuse. One of the same name that was given the same day is replaced."""
        if server.telemetry.scores is None:
            raise HTTPException(503, "scores go to Langfuse: set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY")
        server.telemetry.score(session_id, Score(feedback.name, feedback.value, feedback.comment))
        return {"status": "accepted"}

    @app.get(HEALTH)
    async def healthz() -> dict[str, object]:
        """Whether the server answers, and how its telemetry fares."""
        return {
            "status": "ok",
            "version": __version__,
            "backend": server.upstream.backend,
            "model": server.upstream.model.name,
            "calls": server.drain.calls,
            "telemetry": server.telemetry_faults() or "ok",
            "store": asdict(server.pipeline.store.stats()),
            "senders": {signal: asdict(sender.stats) for signal, sender in server.pipeline.senders.items()},
        }

    @app.get(READY)
    async def readyz(response: Response) -> dict[str, object]:
        """Whether the server wants new calls. Telemetry that fails is told of, and is no reason to refuse any."""
        if server.drain.draining:
            response.status_code = 503
        return {"ready": not server.drain.draining, "telemetry": server.telemetry_faults() or "ok"}


def _langfuse(settings: Settings) -> LangfuseClient | None:
    if not settings.langfuse_public_key or not settings.langfuse_secret_key:
        return None
    secret = settings.langfuse_secret_key.get_secret_value()
    return LangfuseClient(settings.langfuse_public_key, secret, settings.langfuse_base_url)


def _latest(store: Store, limit: int) -> list[TraceSummary]:
    with reader_of(store) as traces:
        return traces.latest(limit)


def _spans(store: Store, trace_id: str) -> list[StoredSpan]:
    with reader_of(store) as traces:
        return traces.spans(trace_id)
