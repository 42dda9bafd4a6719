"""What the API answers where a request, or the store, is at fault."""

from __future__ import annotations

import logging
import sqlite3

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from voicespan.sdk.database import StoreError

logger = logging.getLogger(__name__)


def add_handlers(app: FastAPI) -> None:
    """Have them answered."""
    app.add_exception_handler(RequestValidationError, _unusable)
    app.add_exception_handler(StoreError, _no_store)
    app.add_exception_handler(FileNotFoundError, _no_store)
    app.add_exception_handler(sqlite3.DatabaseError, _not_written)


async def _unusable(_: Request, error: Exception) -> JSONResponse:
    """Without the values, which FastAPI sends back: they may be secrets, or no text that can be encoded."""
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    said = [fault | {"msg": fault["msg"].removeprefix("Value error, ")} for fault in faults]
    return JSONResponse({"detail": [{name: fault[name] for name in ("loc", "msg", "type")} for fault in said]}, 422)


async def _no_store(_: Request, error: Exception) -> JSONResponse:
    """Somebody moved the file away, or it is damaged; the log has more than a client needs."""
    logger.warning("the store cannot be read: %s", error)
    return JSONResponse({"detail": "the store cannot be read: the server's log says why"}, 503)


async def _not_written(_: Request, error: Exception) -> JSONResponse:
    """The disk is full, or somebody else has locked the file: what was to be deleted is still there."""
    logger.warning("the store cannot be written: %s", error)
    return JSONResponse({"detail": "the store cannot be written: the server's log says why"}, 503)
