"""`POST /v1/chat`: the same tools by text."""

from __future__ import annotations

import asyncio

import httpx2
from fastapi import APIRouter, HTTPException
from google.auth.exceptions import GoogleAuthError
from google.genai import errors

from voicespan_server.access.door import today
from voicespan_server.access.refusal import Refused
from voicespan_server.chat import ChatRequest, ChatResponse, chat
from voicespan_server.rest.common import GUARDED, TheCaller, TheServer, as_http, problems

router = APIRouter(tags=["chat"], responses=GUARDED)


@router.post(
    "/v1/chat",
    responses=problems(
        s429="a limit or a budget of the key's is met, or the model's quota is used up",
        s503="the server has no room for more, or is stopping",
        s502="the model refused, or cannot be reached",
        s504="the model did not answer in time",
    ),
)
async def post_chat(request: ChatRequest, server: TheServer, caller: TheCaller) -> ChatResponse:
    """Ask by text; the model may use its tools."""
    door = server.door
    try:
        with door.inside_as(caller):
            answer = await chat(
                request, server.settings, server.upstream, server.telemetry, server.toolbox, key_id=caller.key_id
            )
        meter = door.meter(answer.trace_id, caller, server.upstream.backend)
        if meter and answer.cost_usd is not None:
            meter.cost(answer.cost_usd, today())
        return answer
    except Refused as refused:
        door.count(refused)
        raise as_http(refused) from None
    except errors.APIError as error:
        status = 429 if error.code == 429 else 502
        raise HTTPException(status, f"the model refused: {error.code} {error.message}") from error
    except (TimeoutError, httpx2.TimeoutException) as error:
        raise HTTPException(504, "the model did not answer in time") from error
    except (OSError, httpx2.HTTPError, GoogleAuthError) as error:
        raise HTTPException(502, f"the model cannot be reached: {type(error).__name__}") from error
    except asyncio.CancelledError:  # uvicorn's, some seconds after it was told to stop
        raise HTTPException(503, "the server is stopping") from None
