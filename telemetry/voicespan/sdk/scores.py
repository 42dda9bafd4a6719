"""Scores for Langfuse, by way of the store: what is put is on disk within milliseconds and leaves when Langfuse has it.

A score has an id of its own, and Langfuse replaces one that comes again under its id: a repeated request does no harm.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from voicespan.sdk.endpoint import Endpoint
from voicespan.sdk.langfuse_endpoint import langfuse_endpoint
from voicespan.sdk.records import Record
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store

JsonValue = str | int | float | bool | None | Mapping[str, "JsonValue"] | list["JsonValue"]


class Scores:
    """Where scores are put. Never blocks and never raises for what Langfuse is up to."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, score_id: str, score: Mapping[str, JsonValue]) -> None:
        """Take a score: an item of the body of POST /api/public/scores, without its `id`.

        Raises:
            ValueError: it has no name, or is no JSON.
        """
        name = score.get("name")
        if not score_id or not isinstance(name, str) or not name:
            raise ValueError("a score needs an id and a name")
        try:
            body = json.dumps({"id": score_id, **score}, allow_nan=False, separators=(",", ":")).encode()
        except TypeError as error:
            raise ValueError(f"a score is JSON: {error}") from error
        session_id = score.get("sessionId")
        now_ns = time.time_ns()
        self._store.append(
            Record(
                signal=Signal.SCORES,
                resource=b"",
                scope=b"",
                body=body,
                trace_id=str(score.get("traceId") or ""),
                span_id=str(score.get("observationId") or ""),
                parent_id="",
                session_id=str(session_id) if session_id else None,
                name=name,
                start_ns=now_ns,
                end_ns=now_ns,
            )
        )


def scores_endpoint(environ: Mapping[str, str]) -> Endpoint | None:
    """Langfuse's endpoint of scores, where LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are set."""
    return langfuse_endpoint("/api/public/scores", environ)
