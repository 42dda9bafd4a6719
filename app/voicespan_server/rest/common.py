"""What the routers share: the server behind a request, and the shapes of ids and of errors."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request
from pydantic import BaseModel, Field

from voicespan_server.server import Server

TraceId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="32 hex digits")]
SessionId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.:-]{1,200}$", description="A session's id")]


class Problem(BaseModel):
    """Why a request was not served."""

    detail: str = Field(description="In plain words: what was wrong, and what to do")


Answers = dict[int | str, dict[str, object]]


def problems(**described: str) -> Answers:
    """Responses of the OpenAPI by status: `problems(s404="no such session")`."""
    return {int(name[1:]): {"model": Problem, "description": text} for name, text in described.items()}


def _server(request: Request) -> Server:
    server: Server = request.app.state.server
    return server


TheServer = Annotated[Server, Depends(_server)]
