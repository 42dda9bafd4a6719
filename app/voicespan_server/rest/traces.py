"""`/v1/traces`: what the local store has."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field

from voicespan.sdk.reading import StoredSpan, TraceSummary, reader_of
from voicespan.sdk.store import Store
from voicespan_server.drain import in_thread_of_its_own
from voicespan_server.rest.common import GUARD, GUARDED, STORED, TheServer, TraceId, problems

router = APIRouter(tags=["traces"], dependencies=GUARD, responses=GUARDED | STORED)


class TraceLink(BaseModel):
    """Where a browser sees a trace."""

    langfuse: str | None = Field(description="None where no Langfuse is configured, or where it cannot be reached")


@router.get("/v1/traces")
async def get_traces(
    server: TheServer, limit: Annotated[int, Query(ge=1, le=500, description="How many at most")] = 50
) -> list[TraceSummary]:
    """The latest traces of this host."""
    return await asyncio.to_thread(_latest, server.pipeline.store, limit)


@router.get("/v1/traces/{trace_id}", responses=problems(s404="this host has no such trace"))
async def get_trace(trace_id: TraceId, server: TheServer) -> list[StoredSpan]:
    """The spans of a trace, in the order in which they began."""
    spans = await asyncio.to_thread(_spans, server.pipeline.store, trace_id)
    if not spans:
        raise HTTPException(404, f"no trace {trace_id}")
    return spans


@router.get("/v1/traces/{trace_id}/link")
async def get_link(trace_id: TraceId, server: TheServer) -> TraceLink:
    """Where Langfuse shows a trace."""
    # A Langfuse that hangs, and is asked which project the keys are of, holds up nobody who reads the store.
    return TraceLink(langfuse=await in_thread_of_its_own(partial(server.langfuse_link, trace_id)))


def _latest(store: Store, limit: int) -> list[TraceSummary]:
    with reader_of(store) as traces:
        return traces.latest(limit)


def _spans(store: Store, trace_id: str) -> list[StoredSpan]:
    with reader_of(store) as traces:
        return traces.spans(trace_id)
