"""`POST /v1/session-tokens`: what an application's backend gets for a browser that is to call."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from voicespan_server import protocol as p
from voicespan_server.access.tokens import Claims
from voicespan_server.rest.common import GUARDED, TheCaller, TheServer

router = APIRouter(tags=["session tokens"], responses=GUARDED)


class TokenRequest(BaseModel):
    """For whom a token is, and what its sessions may use. Bounds only lower those of the server's settings."""

    # A bound that is misspelt would be none.
    model_config = ConfigDict(extra="forbid")

    user_id: str | None = Field(
        default=None, min_length=1, max_length=200, description="Becomes user.id of its sessions: a pseudonym, no name"
    )
    ttl_s: int | None = Field(default=None, ge=1, le=86_400, description="Seconds until no call may begin with it")
    max_session_s: float | None = Field(default=None, gt=0, le=86_400, description="How long a call may last")
    budget_usd: float | None = Field(default=None, gt=0, le=10_000, description="What a call may cost at list price")


class SessionToken(BaseModel):
    """A token, and how a browser presents it: `new WebSocket(url, subprotocols)`."""

    token: str
    expires_at: datetime
    subprotocols: list[str] = Field(description="Of the WebSocket to /ws/voice")


@router.post("/v1/session-tokens", status_code=201)
async def post_session_token(request: TokenRequest, server: TheServer, caller: TheCaller) -> SessionToken:
    """A token for the voice socket, good for a few minutes and for several calls, within the key's limits."""
    longest_s = server.settings.token_ttl_s
    now_s = int(time.time())
    expires_s = now_s + min(request.ttl_s or longest_s, longest_s)
    token = server.door.issue(
        Claims(
            key_id=caller.key_id,
            issued_s=now_s,
            expires_s=expires_s,
            user=request.user_id,
            max_session_s=request.max_session_s,
            budget_usd=request.budget_usd,
        )
    )
    return SessionToken(
        token=token,
        expires_at=datetime.fromtimestamp(expires_s, UTC),
        subprotocols=[p.SUBPROTOCOL, p.BEARER + token],
    )
