"""What the routers share: the server and the caller behind a request, and the shapes of ids and of errors."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field

from voicespan_server.access.door import Caller
from voicespan_server.access.refusal import UNAUTHORIZED, Refused
from voicespan_server.server import Server

ID_PATTERN = r"^[A-Za-z0-9_.:-]{1,200}$"
TraceId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="32 hex digits")]
SessionId = Annotated[str, Path(pattern=ID_PATTERN, description="A session's id")]

_BEARER = HTTPBearer(
    scheme_name="API key",
    description="An API key's secret. A server without keys, which answers to its own machine alone, asks for none.",
    auto_error=False,
)


class Problem(BaseModel):
    """Why a request was not served."""

    detail: str = Field(description="In plain words: what was wrong, and what to do")


Answers = dict[int | str, dict[str, object]]
# Of `"model": Problem` FastAPI makes a validator for each answer of each route, some ninety.
_PROBLEM = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def problems(**described: str) -> Answers:
    """Responses of the OpenAPI by status: `problems(s404="no such session")`."""
    return {int(name[1:]): {"description": text, "content": _PROBLEM} for name, text in described.items()}


# What every route that asks for a key may answer.
GUARDED = problems(
    s400="a body that cannot be read: no UTF-8, say",
    s401="no API key, or one that is not known",
    s403="a web page of an origin that is not allowed",
    s413="a body above 64 KiB",
)

# For one router, so that the OpenAPI has the schema which all the others refer to.
DEFINED: Answers = {401: {"model": Problem, "description": GUARDED[401]["description"]}}

STORED = problems(s503="the store cannot be read, or not be written")


def the_server(request: Request) -> Server:
    """The server that the application was made for."""
    server: Server = request.app.state.server
    return server


TheServer = Annotated[Server, Depends(the_server)]


def the_caller(
    request: Request,
    server: TheServer,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
) -> Caller:
    """Who asks."""
    try:
        server.door.check_page(request)
        return server.door.by_key(credentials.credentials if credentials else None)
    except Refused as refused:
        server.door.count(refused)
        raise as_http(refused) from None


TheCaller = Annotated[Caller, Depends(the_caller)]
GUARD = [Depends(the_caller)]


def as_http(refused: Refused) -> HTTPException:
    """A refusal as the API answers it."""
    headers = {}
    if refused.reason is UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if refused.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(refused.retry_after_s)))
    return HTTPException(refused.reason.status, refused.message, headers)
