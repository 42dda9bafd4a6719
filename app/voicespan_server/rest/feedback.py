"""Feedback on a session: a score in Langfuse."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from voicespan.session_scores import Score
from voicespan_server.rest.common import SessionId, TheServer, problems

router = APIRouter(tags=["sessions"])


class Feedback(BaseModel):
    """Feedback on a session."""

    name: str = Field(default="user_feedback", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    value: float = Field(allow_inf_nan=False)
    comment: str | None = Field(default=None, max_length=2_000)


class Accepted(BaseModel):
    """It was taken."""

    status: Literal["accepted"] = "accepted"


@router.post("/v1/sessions/{session_id}/score", status_code=202, responses=problems(s503="Langfuse is not configured"))
async def post_score(session_id: SessionId, feedback: Feedback, server: TheServer) -> Accepted:
    """Give a session a score in Langfuse. One of the same name that was given the same day is replaced."""
    if server.telemetry.scores is None:
        raise HTTPException(503, "scores go to Langfuse: set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY")
    server.telemetry.score(session_id, Score(feedback.name, feedback.value, feedback.comment))
    return Accepted()
