"""`/v1/sessions` and `/v1/users`: what the local store has of sessions, and its deletion."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field

from voicespan.sdk.reading import StoredSpan
from voicespan.sdk.session_reading import StoredScore, StoredSession, Wanted, sessions_of
from voicespan.sdk.store import Store
from voicespan_server.rest.common import GUARD, GUARDED, STORED, SessionId, TheServer, problems
from voicespan_server.session_story import Moment, Summary, summary_of, timeline_of

logger = logging.getLogger(__name__)

router = APIRouter(tags=["sessions"], dependencies=GUARD, responses=GUARDED | STORED)

UserId = Annotated[str, PathParameter(min_length=1, max_length=200, description="user.id, as sessions were told it")]
_UNKNOWN = problems(s404="this host has no such session")
FLUSH_S = 2.0
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
ELSEWHERE = (
    "What was sent on is not deleted: Langfuse, the collector's other backends and their backups keep it until it is "
    "deleted there. The model's provider keeps what its terms say."
)


def _filter(description: str) -> Any:  # what Query() gives has no type of its own
    return Query(min_length=1, max_length=200, description=description)


class Session(BaseModel):
    """A session: its calls and chats, summed. Durations and audio in seconds."""

    session_id: str
    user_id: str | None
    key_id: str | None = Field(description="The API key that it ran on; null of a server without keys")
    model: str | None
    backend: str | None
    simulated: bool = Field(description="Nothing was to be paid; the cost is what it would have been")
    started_at: datetime
    ended_at: datetime
    duration_s: float = Field(description="From the first begin to the last end")
    calls: int
    chats: int
    turns: int
    tool_calls: int
    interruptions: int
    input_audio_s: float
    output_audio_s: float
    input_tokens: int
    output_tokens: int
    cost_usd: float | None = Field(description="At list price; null where none is known")
    error_type: str | None

    @classmethod
    def of(cls, stored: StoredSession) -> Session:
        """As the API says it."""
        plain = {name: getattr(stored, name) for name in cls.model_fields if hasattr(stored, name)}
        return cls(
            **plain | {"key_id": stored.key_id or None},
            started_at=_time(stored.start_ns),
            ended_at=_time(stored.end_ns),
            duration_s=(stored.end_ns - stored.start_ns) / 1e9,
        )


class SessionPage(BaseModel):
    """Sessions, newest first."""

    sessions: list[Session]
    next: str | None = Field(description="For the parameter `before`, to read on; null on the last page")


class SessionDetails(Session):
    """A session, and what it was given as scores and feedback."""

    scores: list[StoredScore]


class Deleted(BaseModel):
    """What was deleted from this host's store: spans, log records, scores and recordings that waited to be sent."""

    sessions: int
    records: int
    running: list[str] = Field(description="Sessions that were left: their calls have not ended")
    elsewhere: str = Field(default=ELSEWHERE, description="What this does not reach")


@router.get("/v1/sessions")
async def get_sessions(
    *,
    server: TheServer,
    user_id: Annotated[str | None, _filter("Of this user")] = None,
    key_id: Annotated[str | None, _filter("On this API key")] = None,
    model: Annotated[str | None, _filter("With this model")] = None,
    backend: Annotated[str | None, _filter("gemini, vertex or simulator")] = None,
    since: Annotated[datetime | None, Query(description="Begun then or later")] = None,
    until: Annotated[datetime | None, Query(description="Begun before")] = None,
    before: Annotated[
        str | None,
        Query(pattern=r"^\d{1,19}\.[A-Za-z0-9_.:-]{1,200}$", description="`next` of a page: the one after it"),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="How many at most")] = 50,
) -> SessionPage:
    """The sessions that have ended on this host, newest first."""
    wanted = Wanted(user_id, key_id, model, backend, _nanoseconds(since), _nanoseconds(until))
    cursor = None
    if before is not None:
        start_ns, _, session_id = before.partition(".")
        cursor = (_as_stored(int(start_ns)), session_id)

    def read() -> list[StoredSession]:
        with sessions_of(server.pipeline.store) as sessions:
            return sessions.latest(wanted, limit + 1, cursor)

    found = await asyncio.to_thread(read)
    shown, more = found[:limit], len(found) > limit
    following = f"{shown[-1].start_ns}.{shown[-1].session_id}" if more else None
    return SessionPage(sessions=[Session.of(each) for each in shown], next=following)


@router.get("/v1/sessions/{session_id}", responses=_UNKNOWN)
async def get_session(session_id: SessionId, server: TheServer) -> SessionDetails:
    """One session, with its scores and feedback."""

    def read() -> tuple[StoredSession | None, list[StoredScore]]:
        with sessions_of(server.pipeline.store) as sessions:
            return sessions.one(session_id), sessions.scores(session_id)

    found, scores = await asyncio.to_thread(read)
    if found is None:
        raise _no_session(session_id)
    return SessionDetails(**Session.of(found).model_dump(), scores=scores)


@router.get("/v1/sessions/{session_id}/trace", responses=_UNKNOWN)
async def get_session_trace(session_id: SessionId, server: TheServer) -> list[StoredSpan]:
    """The spans of its traces, in the order in which they began."""
    return await _spans(server.pipeline.store, session_id)


@router.get("/v1/sessions/{session_id}/summary", responses=_UNKNOWN)
async def get_session_summary(session_id: SessionId, server: TheServer) -> Summary:
    """What went how: turns by their end, latencies, tools, connections."""
    return summary_of(await _spans(server.pipeline.store, session_id))


@router.get("/v1/sessions/{session_id}/timeline", responses=_UNKNOWN)
async def get_session_timeline(session_id: SessionId, server: TheServer) -> list[Moment]:
    """What happened when, in seconds since the session began; words only where they were captured."""
    return timeline_of(await _spans(server.pipeline.store, session_id))


@router.delete("/v1/sessions/{session_id}", responses=_UNKNOWN | problems(s409="its call has not ended"))
async def delete_session(session_id: SessionId, server: TheServer) -> Deleted:
    """Delete all that this host has of a session, sent or not."""
    deleted = await asyncio.to_thread(_delete, server.pipeline.store, [session_id])
    if deleted.running:
        raise HTTPException(409, f"session {session_id} has a call that has not ended")
    if not deleted.records:
        raise _no_session(session_id)
    logger.warning("a session was deleted: %d records", deleted.records)
    return deleted


@router.delete("/v1/users/{user_id:path}", responses=problems(s404="this host has no session of this user"))
async def delete_user(user_id: UserId, server: TheServer) -> Deleted:
    """Delete all that this host has of a user's sessions, sent or not."""

    def delete() -> Deleted:
        store = server.pipeline.store
        _flush(store)
        with sessions_of(store) as sessions:
            found = sessions.of_user(user_id)
        return _delete(store, found)

    deleted = await asyncio.to_thread(delete)
    if not deleted.records and not deleted.running:
        raise HTTPException(404, "no session of this user")
    logger.warning("a user's sessions were deleted: %d, with %d records", deleted.sessions, deleted.records)
    return deleted


def _flush(store: Store) -> None:
    """What waits in memory would be written after the deletion."""
    if not store.flush(FLUSH_S):
        raise sqlite3.OperationalError("what has ended waits to be written")


def _delete(store: Store, session_ids: list[str]) -> Deleted:
    _flush(store)
    with sessions_of(store) as sessions:
        running = [each for each in session_ids if sessions.running(each)]
    counts = [store.delete_session(each) for each in session_ids if each not in running]
    return Deleted(sessions=sum(map(bool, counts)), records=sum(counts), running=running)


async def _spans(store: Store, session_id: str) -> list[StoredSpan]:
    def read() -> list[StoredSpan]:
        with sessions_of(store) as sessions:
            return sessions.spans(session_id)

    spans = await asyncio.to_thread(read)
    if not spans:
        raise _no_session(session_id)
    return spans


def _no_session(session_id: str) -> HTTPException:
    return HTTPException(404, f"no session {session_id}")


def _nanoseconds(at: datetime | None) -> int | None:
    """A time without a zone is UTC's."""
    if at is None:
        return None
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return _as_stored((aware - _EPOCH) // _MICROSECOND * 1_000)


def _time(at_ns: int) -> datetime:
    """Rounded down: what began then is not before it."""
    return _EPOCH + timedelta(microseconds=at_ns // 1_000)


def _as_stored(number: int) -> int:
    """The nearest that SQLite can compare with."""
    return max(-(2**63), min(number, 2**63 - 1))
