"""`/healthz` and `/readyz`: for balancers, supervisors and whoever is woken at night. No key is asked for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from voicespan_server import __version__
from voicespan_server.rest.common import TheServer

HEALTH, READY = "/healthz", "/readyz"

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """That the server answers, and how its telemetry fares."""

    status: Literal["ok"] = "ok"
    version: str
    backend: str = Field(description="gemini, vertex or simulator")
    model: str
    calls: int = Field(description="Calls that run in this process")
    refused: dict[str, int] = Field(description="Calls and requests that were not let in, by reason, since the start")
    telemetry: list[str] | Literal["ok"] = Field(description="What somebody ought to look at, or ok")
    store: dict[str, object]
    senders: dict[str, dict[str, object]]


class Readiness(BaseModel):
    """Whether new calls are taken."""

    ready: bool
    telemetry: list[str] | Literal["ok"] = Field(description="Told here, and no reason to refuse any call")


@router.get(HEALTH)
async def healthz(server: TheServer) -> Health:
    """Whether the server answers, and how its telemetry fares."""
    return Health(
        version=__version__,
        backend=server.upstream.backend,
        model=server.upstream.model.name,
        calls=server.drain.calls,
        refused=dict(server.door.refused),
        telemetry=server.telemetry_faults() or "ok",
        store=asdict(server.pipeline.store.stats()),
        senders={signal: asdict(sender.stats) for signal, sender in server.pipeline.senders.items()},
    )


@router.get(READY, responses={503: {"model": Readiness, "description": "the server is stopping"}})
async def readyz(response: Response, server: TheServer) -> Readiness:
    """Whether the server wants new calls. Telemetry that fails is told of, and is no reason to refuse any."""
    if server.drain.draining:
        response.status_code = 503
    return Readiness(ready=not server.drain.draining, telemetry=server.telemetry_faults() or "ok")
