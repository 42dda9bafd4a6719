"""`GET /v1/usage`: what days, models and keys came to."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from voicespan.sdk.session_reading import Dimension, Usage, sessions_of
from voicespan_server.rest.common import GUARD, GUARDED, STORED, TheServer

router = APIRouter(tags=["usage"], dependencies=GUARD, responses=GUARDED | STORED)

DIMENSIONS: tuple[Dimension, ...] = ("day", "model", "key")


class UsageReport(BaseModel):
    """Sums of the sessions that this host has, by the day on which they ended (UTC)."""

    usage: list[Usage] = Field(description="Simulated calls are in rows of their own")
    cost_usd: float = Field(description="Of all rows that are not simulated, at list price, as far as prices are known")


@router.get("/v1/usage")
async def get_usage(
    server: TheServer,
    since: Annotated[date | None, Query(description="The first day")] = None,
    until: Annotated[date | None, Query(description="The last day")] = None,
    by: Annotated[list[Dimension] | None, Query(description="What to tell apart; all of it by default")] = None,
) -> UsageReport:
    """Usage and cost by day, model and key."""

    def read() -> list[Usage]:
        with sessions_of(server.pipeline.store) as sessions:
            return sessions.usage(
                DIMENSIONS if by is None else tuple(by),
                since.isoformat() if since else None,
                until.isoformat() if until else None,
            )

    rows = await asyncio.to_thread(read)
    spent_usd = sum(row.cost_usd or 0.0 for row in rows if not row.simulated)
    return UsageReport(usage=rows, cost_usd=round(spent_usd, 12))
