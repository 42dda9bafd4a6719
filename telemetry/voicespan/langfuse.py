"""Langfuse beside the collector: are the credentials right, where is a trace to be seen, and what of it has arrived.

Spans reach Langfuse through the collector alone, and scores through the store (`voicespan.sdk.scores`). The `langfuse`
package (extra `langfuse`) is given a tracer provider of its own that exports nothing: left to itself it would add its
exporter to the program's, and every span would arrive twice.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from voicespan.extras import missing
from voicespan.redaction import without_password

try:
    from langfuse import Langfuse
    from langfuse.api import ObservationV2, ScoreV3
    from opentelemetry.sdk.trace import TracerProvider
except ImportError as error:
    raise missing("voicespan.langfuse", error, "langfuse") from error

logger = logging.getLogger(__name__)

R = TypeVar("R")

# All groups of fields that `observations` is read for; `metadata` values are cut at 200 characters.
FIELDS = "core,basic,time,io,metadata,model,usage,metrics,trace_context"
MAX_OBSERVATIONS = 1000
MAX_REASON = 300


class LangfuseError(Exception):
    """Langfuse did not do what it was asked for; says why."""


@dataclass(frozen=True, slots=True)
class SessionSums:
    """What Langfuse adds up over a session's observations: how many there are, and US dollars."""

    observations: int
    cost_usd: float


class LangfuseClient:
    """Langfuse's API for one project. Its calls block, so run them in a thread.

    Raises:
        ValueError: a key is empty.
    """

    def __init__(self, public_key: str, secret_key: str, base_url: str) -> None:
        if not public_key or not secret_key:
            raise ValueError("Langfuse needs a public and a secret key")
        self._client = Langfuse(
            public_key=public_key,
            secret_key=secret_key,
            base_url=base_url,
            tracer_provider=TracerProvider(shutdown_on_exit=False),
            # The client starts an exporter on its provider all the same; nothing is ever started on that one.
            should_export_span=lambda span: False,
        )
        self.base_url = base_url
        self._where = without_password(base_url)

    def check(self) -> str | None:
        """None where Langfuse accepts the keys, else one line that says what is wrong."""
        try:
            self._client.api.projects.get()
        except Exception as error:  # noqa: BLE001 - the SDK raises its own, httpx's and pydantic's
            status = getattr(error, "status_code", None)
            if status in {401, 403}:
                return f"{self._where} does not accept LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY (HTTP {status})"
            return f"{self._where} cannot be reached: {_first_line(error)}"
        return None

    def trace_url(self, trace_id: str) -> str | None:
        """Where Langfuse shows a trace; None where its project cannot be found out."""
        try:
            return self._client.get_trace_url(trace_id=trace_id)
        except Exception as error:  # noqa: BLE001 - a link is a convenience
            logger.warning("no link to Langfuse: %s", error)
            return None

    def version(self) -> str:
        """The version of the Langfuse server.

        Raises:
            LangfuseError: it cannot be asked, as with all that is read here.
        """
        return self._read(lambda: str(self._client.api.health.health().version))

    def observations(self, trace_id: str) -> list[ObservationV2]:
        """What Langfuse shows of a trace, up to a thousand observations. It does so seconds after it took them."""
        return self._read(
            lambda: (
                self._client.api.observations.get_many(trace_id=trace_id, fields=FIELDS, limit=MAX_OBSERVATIONS).data
            )
        )

    def session_sums(self, session_id: str, since: datetime, until: datetime) -> SessionSums:
        """What the metrics API sums over a session's observations that began in a span of time."""
        query = {
            "view": "observations",
            "metrics": [
                {"measure": "count", "aggregation": "count"},
                {"measure": "totalCost", "aggregation": "sum"},
            ],
            "filters": [{"column": "sessionId", "operator": "=", "value": session_id, "type": "string"}],
            "fromTimestamp": since.isoformat(),
            "toTimestamp": until.isoformat(),
        }
        rows = self._read(lambda: self._client.api.metrics.metrics(query=json.dumps(query)).data)
        row = rows[0] if rows else {}
        return SessionSums(int(float(row.get("count_count") or 0)), float(row.get("sum_totalCost") or 0.0))

    def scores(self, session_id: str) -> list[ScoreV3]:
        """The scores of a session."""
        return self._read(lambda: self._client.api.scores.get_many(session_id=session_id, fields="details").data)

    def _read(self, read: Callable[[], R]) -> R:
        try:
            return read()
        except Exception as error:
            raise LangfuseError(f"{self._where} could not be read: {_first_line(error)}") from error

    def close(self) -> None:
        """Send what waits and stop the background threads."""
        self._client.shutdown()


def _first_line(error: Exception) -> str:
    """What went wrong in one line; of an answer the status and the words, not its headers."""
    status = getattr(error, "status_code", None)
    text = f"HTTP {status} {getattr(error, 'body', '')}" if status else f"{type(error).__name__}: {error}"
    return text.split("\n", maxsplit=1)[0][:MAX_REASON]
