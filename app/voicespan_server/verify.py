"""`voicespan verify-live`: one call with real keys, then what Langfuse has of it against what was sent, field by field.

The call goes the way of every call: the server's own socket, bridge and upstream, the store, the repository's
collector. What arrived is read back by Langfuse's public API. Nothing of it touches the user's own store.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import uvicorn
from langfuse.api import ObservationV2
from rich.console import Console

from voicespan import conventions as c
from voicespan.content import CAPTURE_VARIABLE
from voicespan.langfuse import LangfuseClient, LangfuseError, SessionSums
from voicespan.redaction import without_password
from voicespan.sdk.reading import StoredSpan
from voicespan.session_scores import COMPLETION, INTERRUPTION_RATE, RESPONSIVENESS, TOOL_SUCCESS, Score
from voicespan_server.app import create_app
from voicespan_server.client import CallError
from voicespan_server.server import Server
from voicespan_server.settings import Settings
from voicespan_server.verify_call import Placed, place_call
from voicespan_server.verify_collector import CollectorError, LocalCollector, local_collector
from voicespan_server.verify_fields import (
    Field,
    expected,
    score_fields,
    score_names_field,
    session_fields,
    trace_fields,
    unreadable_field,
)

T = TypeVar("T")

POLL_S, MAX_POLL_S = 0.5, 4.0
ENVIRONMENT = "voicespan-verify"
MARK = Score("verify_live", 1.0, "voicespan verify-live could write this")


def missing(settings: Settings) -> list[str]:
    """What has to be set first, a line each; empty where all is there."""
    lines = []
    if settings.backend == "auto" and settings.chosen_backend == "simulator":
        lines.append("GEMINI_API_KEY, or VOICESPAN_BACKEND=vertex with GOOGLE_CLOUD_PROJECT: the model that is called")
    if not settings.langfuse_public_key:
        lines.append(
            "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY of a project, and LANGFUSE_BASE_URL where that is not at "
            f"{settings.langfuse_base_url}"
        )
    return lines


def run(
    settings: Settings,
    console: Console,
    uvicorn_options: Mapping[str, Any],
    *,
    otlp_endpoint: str | None,
    deadline_s: float,
) -> int:
    """Verify, print, and return the exit status: 0 where all arrived as sent, 1 where not, 2 where it cannot be tried.

    `otlp_endpoint` is a collector that runs already; without one the repository's own is started. `deadline_s` is how
    long Langfuse may take to show what it took.
    """
    report = Report(console, settings)
    with TemporaryDirectory(prefix="voicespan-verify-") as name:
        folder = Path(name)
        try:
            with _collector(settings, otlp_endpoint, folder) as (endpoint, collector):
                _set_environment(endpoint)
                # The whole call in one trace: what is compared is read by the trace's id.
                chosen = {"store_path": folder / "traces.db", "trace_scope": "session"}
                application = create_app(settings.model_copy(update=chosen))
                server: Server = application.state.server
                client = server.langfuse
                if client is None or (fault := client.check()):
                    asyncio.run(server.stop())
                    report.say(f"Langfuse: {fault if client else 'no keys'}")
                    return 2
                report.head(server, endpoint, client.version())
                config = uvicorn.Config(application, **uvicorn_options, log_config=None)
                with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
                    fields = runner.run(_verify(server, client, uvicorn.Server(config), report, deadline_s))
                if collector and any(not field.passed for field in fields):
                    report.refusals(collector)
        except CollectorError as error:
            report.say(str(error))
            return 2
        except (CallError, LangfuseError, OSError, TimeoutError) as error:
            report.say(f"verify-live: failed: {str(error) or type(error).__name__}")
            return 1
    failed = sum(not field.passed for field in fields)
    report.say(f"verify-live: {len(fields)} fields, {failed} failed")
    return 1 if failed else 0


class Report:
    """Prints, and never a key: every line, also of the log, is looked through for them."""

    def __init__(self, console: Console, settings: Settings) -> None:
        self._console = console
        keys = (settings.gemini_api_key, settings.langfuse_secret_key)
        self._secrets = [key.get_secret_value() for key in keys if key]
        self._secrets += [settings.langfuse_public_key] if settings.langfuse_public_key else []
        handler = logging.StreamHandler()
        handler.setFormatter(_Formatter(self.masked))
        logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)

    def masked(self, text: str) -> str:
        """The text without any of the keys."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(self.masked(line), highlight=False, markup=False, soft_wrap=True)

    def head(self, server: Server, endpoint: str, version: str) -> None:
        """Say what is about to happen."""
        upstream = server.upstream
        self.say(f"model     {upstream.model.name} by {upstream.backend}")
        if upstream.backend == "simulator":
            self.say("          which is no Gemini: this verifies the way to Langfuse alone")
        self.say(f"OTLP to   {without_password(endpoint)}")
        self.say(f"Langfuse  {without_password(server.settings.langfuse_base_url)}, version {version}")
        self.say("words     recorded for this call, and sent to Langfuse")
        self.say("A call of about a minute, with three questions:")

    def placed(self, placed: Placed) -> None:
        """Say how the call went."""
        self.say(f"the call is over: trace {placed.trace_id}, session {placed.session_id}")
        for note in placed.notes:
            self.say(f"note      {note}")

    def field(self, field: Field) -> None:
        """One line: what was sent, what arrived, and whether that is the same."""
        verdict = "pass" if field.passed else "FAIL"
        self.say(f"{verdict}  {field.name}: sent {_shown(field.sent)}, arrived {_shown(field.arrived)}")

    def refusals(self, collector: LocalCollector) -> None:
        """What the collector tells of Langfuse's refusals."""
        for line in collector.refusals()[:5]:
            self.say(f"collector {line}")


class _Formatter(logging.Formatter):
    def __init__(self, masked: Callable[[str], str]) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._masked = masked

    def format(self, record: logging.LogRecord) -> str:
        return self._masked(super().format(record))


@contextmanager
def _collector(settings: Settings, endpoint: str | None, folder: Path) -> Iterator[tuple[str, LocalCollector | None]]:
    if endpoint:
        yield endpoint, None
        return
    secret = settings.langfuse_secret_key
    langfuse = {
        "LANGFUSE_BASE_URL": settings.langfuse_base_url,
        "LANGFUSE_PUBLIC_KEY": settings.langfuse_public_key or "",
        "LANGFUSE_SECRET_KEY": secret.get_secret_value() if secret else "",
    }
    with local_collector(langfuse, folder) as collector:
        yield collector.endpoint, collector


def _set_environment(endpoint: str) -> None:
    """What the pipeline reads: spans to this collector and nowhere else, words on them, an environment of their own."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        del os.environ[name]
    os.environ |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_RESOURCE_ATTRIBUTES": f"deployment.environment.name={ENVIRONMENT}",
        CAPTURE_VARIABLE: "SPAN_ONLY",
    }


async def _verify(
    server: Server, client: LangfuseClient, uvicorn_server: uvicorn.Server, report: Report, deadline_s: float
) -> list[Field]:
    """Serve, place the call, and compare while the server still sends."""
    serving = asyncio.create_task(uvicorn_server.serve())
    try:
        while not uvicorn_server.started:
            if serving.done():
                raise CallError("the server did not start")
            await asyncio.sleep(0.02)
        port = uvicorn_server.servers[0].sockets[0].getsockname()[1]
        placed = await place_call(f"ws://127.0.0.1:{port}/ws/voice")
        report.placed(placed)
        server.telemetry.score(placed.session_id, MARK)
        fields = await asyncio.to_thread(_compare, server, client, placed, deadline_s)
        for field in fields:
            report.field(field)
        if link := await asyncio.to_thread(server.langfuse_link, placed.trace_id):
            report.say(f"in Langfuse: {link}")
        return fields
    finally:
        uvicorn_server.should_exit = True
        await serving


def _compare(server: Server, client: LangfuseClient, placed: Placed, deadline_s: float) -> list[Field]:
    """Read back until all is there, or the time is over; what is not there by then fails."""
    sent = expected(server.stored_trace(placed.trace_id))
    version = str(server.pipeline.tracer_provider.resource.attributes["service.version"])
    own = _own_scores(sent)
    began = datetime.fromtimestamp(min(span.start_ns for span in sent) / 1e9, UTC)
    since, until = began - timedelta(minutes=1), datetime.now(UTC) + timedelta(minutes=1)
    ids = {span.span_id for span in sent}
    deadline = time.monotonic() + deadline_s

    def observations() -> list[Field]:
        def read() -> list[ObservationV2]:
            return client.observations(placed.trace_id)

        rows = _poll(read, lambda found: ids <= {row.id for row in found}, deadline)
        return trace_fields(sent, rows, ENVIRONMENT, version)

    def sums() -> list[Field]:
        def read() -> SessionSums:
            return client.session_sums(placed.session_id, since, until)

        return session_fields(sent, _poll(read, lambda found: found.observations >= len(sent), deadline))

    def scores() -> list[Field]:
        def read() -> dict[str, object]:
            return {score.name: score.value for score in client.scores(placed.session_id)}

        found = _poll(read, lambda found: {MARK.name, *own} <= set(found), deadline)
        return [*score_fields([MARK], found), score_names_field(own, set(found) - {MARK.name})]

    fields: list[Field] = []
    for name, part in (("observations", observations), ("session", sums), ("score", scores)):
        try:
            fields += part()
        except LangfuseError as error:
            fields.append(unreadable_field(name, error))
    return fields


def _own_scores(sent: Sequence[StoredSpan]) -> set[str]:
    """The scores that the session has to have, by what there is on its spans."""
    ended = {c.TURN_INDEX, c.TURN_END_REASON}
    turns = [
        span
        for span in sent
        if ended <= set(span.attributes) and span.attributes.get(c.TURN_INTERRUPTION_CAUSE) != "retracted"
    ]
    outcomes = {str(span.attributes.get(c.TOOL_OUTCOME)) for span in sent}
    there = {
        RESPONSIVENESS: any(c.TTFA in span.attributes for span in turns),
        TOOL_SUCCESS: bool(outcomes & {"ok", "error", "timeout"}),
        INTERRUPTION_RATE: bool(turns),
        COMPLETION: any(span.attributes[c.TURN_END_REASON] != "interrupted" for span in turns),
    }
    return {name for name, wanted in there.items() if wanted}


def _poll(read: Callable[[], T], enough: Callable[[T], bool], deadline: float) -> T:
    """What was read last, when it is enough or the deadline has passed. Ever less often: Langfuse Cloud counts."""
    pause_s = POLL_S
    while True:
        late = time.monotonic() >= deadline
        try:
            found = read()
            if late or enough(found):
                return found
        except LangfuseError:
            if late:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, MAX_POLL_S)


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_shown(each) for each in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {_shown(each)}" for key, each in value.items()) + "}"
    return f"{value:.9g}" if isinstance(value, float) else "nothing" if value is None else str(value)
