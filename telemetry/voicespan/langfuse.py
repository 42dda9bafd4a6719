"""Langfuse beside the collector: are the credentials right, where is a trace to be seen, a score for a session.

Spans reach Langfuse through the collector alone. The `langfuse` package (extra `langfuse`) is given a tracer provider
of its own that exports nothing: left to itself it would add its exporter to the program's, and every span would
arrive twice.
"""

from __future__ import annotations

import logging

from langfuse import Langfuse
from langfuse.api import CreateScoreBatchResults, CreateScoreRequest, ScoreDataType
from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger(__name__)


class LangfuseError(Exception):
    """Langfuse did not do what it was asked for; says why."""


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

    def check(self) -> str | None:
        """None where Langfuse accepts the keys, else one line that says what is wrong."""
        try:
            self._client.api.projects.get()
        except Exception as error:  # noqa: BLE001 - the SDK raises its own, httpx's and pydantic's
            status = getattr(error, "status_code", None)
            if status in {401, 403}:
                return f"{self.base_url} does not accept LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY (HTTP {status})"
            return f"{self.base_url} cannot be reached: {_first_line(error)}"
        return None

    def trace_url(self, trace_id: str) -> str | None:
        """Where Langfuse shows a trace; None where its project cannot be found out."""
        try:
            return self._client.get_trace_url(trace_id=trace_id)
        except Exception as error:  # noqa: BLE001 - a link is a convenience
            logger.warning("no link to Langfuse: %s", error)
            return None

    def score_session(self, session_id: str, name: str, value: float, comment: str | None = None) -> None:
        """Give a session a score; giving it again under the same name on the same day replaces it.

        Raises:
            LangfuseError: Langfuse did not take it.
        """
        score = CreateScoreRequest(
            id=f"{session_id}-{name}",
            session_id=session_id,
            name=name,
            value=value,
            data_type=ScoreDataType.NUMERIC,
            comment=comment,
        )
        # Not by `create_score`: where LANGFUSE_TRACING_ENABLED is false, that does nothing and says nothing.
        try:
            answer = self._client.api.scores.create(request=[score])
        except Exception as error:
            raise LangfuseError(f"{self.base_url} did not take the score: {_first_line(error)}") from error
        if isinstance(answer, CreateScoreBatchResults) and answer.rejected:
            raise LangfuseError(f"{self.base_url} refused the score: {answer.errors[0].message}")

    def close(self) -> None:
        """Send what waits and stop the background threads."""
        self._client.shutdown()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n", maxsplit=1)[0]
