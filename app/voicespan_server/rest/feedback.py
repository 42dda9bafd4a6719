"""`POST /v1/sessions/…/feedback`: kept in the store, and a score in Langfuse where that is configured."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from voicespan.session_scores import Score
from voicespan_server.rest.common import GUARD, GUARDED, SessionId, TheServer

router = APIRouter(tags=["sessions"], dependencies=GUARD, responses=GUARDED)


class Feedback(BaseModel):
    """What somebody thought of a session: a thumb, or a score of your own scale."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(default="user_feedback", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    thumbs: Literal["up", "down"] | None = Field(default=None, description="A score of 1 or 0")
    score: float | None = Field(default=None, allow_inf_nan=False)
    comment: str | None = Field(default=None, max_length=2_000)

    @model_validator(mode="after")
    def _one_of_both(self) -> Feedback:
        if (self.thumbs is None) == (self.score is None):
            raise ValueError("give either thumbs or score")
        return self

    @property
    def value(self) -> float:
        """As a number."""
        return self.score if self.score is not None else float(self.thumbs == "up")


class Accepted(BaseModel):
    """It was taken."""

    status: Literal["accepted"] = "accepted"
    langfuse: bool = Field(description="Whether it goes to Langfuse too")


@router.post("/v1/sessions/{session_id}/feedback", status_code=202)
async def post_feedback(session_id: SessionId, feedback: Feedback, server: TheServer) -> Accepted:
    """Give a session feedback. It replaces what the session had under that name, in Langfuse if of the same day."""
    server.telemetry.score(session_id, Score(feedback.name, feedback.value, feedback.comment))
    return Accepted(langfuse=server.telemetry.to_langfuse)
