"""A session of a program that tells its own story: another provider's, or one over a socket of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version

from opentelemetry import _logs, metrics, trace
from opentelemetry import context as otel_context
from opentelemetry._logs import LoggerProvider
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from voicespan import conventions as c
from voicespan import identity as ident
from voicespan.attributes import Model
from voicespan.content import Capture, capture_from_environment
from voicespan.cost import bare_name, prices_of
from voicespan.identity import Identity
from voicespan.live_settings import LiveSettings, settings_from_environment
from voicespan.metrics import ONE_AT_A_TIME, Metrics
from voicespan.session import VoiceSession

VERSION = version("voicespan")


@dataclass(frozen=True, slots=True)
class Providers:
    """Where spans, metrics and log events go; None is the global one, as it is when a session begins."""

    tracer: TracerProvider | None = None
    meter: MeterProvider | None = None
    logger: LoggerProvider | None = None


def start_session(
    model: Model | str,
    identity: Identity | None = None,
    *,
    instructions: str = "",
    parent: Context | None = None,
    input_rate_hz: int = 16_000,
    capture: Capture | None = None,
    settings: LiveSettings | None = None,
    providers: Providers | None = None,
) -> VoiceSession:
    """Begin a session: its span is open from here on, until `close`.

    It belongs to `identity`, else to the `session_context` that it is started in, else to a new one; what answers is by
    default `settings.backend`. `parent` is by default as `settings.session_parent` says; `settings` and `capture` are
    by default the environment's, `providers` the global ones. `input_rate_hz` is that of the user's audio, 16-bit mono.
    A model by name is priced by its list price, where the extra `cost` is installed.

    Raises:
        TypeError: a model, an identity or a parent that is none, such as an id alone, or a span and not its context.
        ValueError: a rate that is none.
    """
    if not isinstance(model, (Model, str)):
        raise TypeError(f"model must be a name or a voicespan.Model, got {type(model).__name__}")
    if not isinstance(identity, (Identity, type(None))):
        raise TypeError(f"identity must be a voicespan.Identity(session_id, ...), got {type(identity).__name__}")
    if not isinstance(parent, (Context, type(None))):
        raise TypeError(f"parent must be an opentelemetry Context, got {type(parent).__name__}")
    settings = settings or settings_from_environment()
    providers = providers or Providers()
    identity = identity or ident.of_context() or Identity(uuid.uuid4().hex)
    if identity.backend is None:
        identity = replace(identity, backend=settings.backend)
    if parent is None:
        parent = Context() if settings.session_parent == "new" else otel_context.get_current()
    return VoiceSession(
        identity,
        Model(bare_name(model), prices=prices_of(model, datetime.now(UTC).date())) if isinstance(model, str) else model,
        tracer=(providers.tracer or trace.get_tracer_provider()).get_tracer(c.SCOPE, VERSION),
        capture=capture or capture_from_environment(),
        parent=parent,
        instructions=instructions,
        input_rate_hz=input_rate_hz,
        metrics=_metrics_of(providers.meter or metrics.get_meter_provider()),
        logger=(providers.logger or _logs.get_logger_provider()).get_logger(c.SCOPE, VERSION),
        shape=settings.shape,
        stall_after_s=settings.stall_after_s,
    )


@contextmanager
def in_tool(session: VoiceSession | None, call_id: str | None) -> Iterator[None]:
    """While a tool's handler runs: spans that it starts stand under the call's. Enter and leave it in one task.

    Without a session, or for a call that is not open, it does nothing.
    """
    context = session.tool_context(call_id) if session and call_id else None
    if context is None:
        yield
        return
    token = otel_context.attach(context)
    try:
        yield
    finally:
        otel_context.detach(token)


# By meter provider: instruments are made once, for making them again would double them.
_made: dict[int, tuple[MeterProvider, Metrics]] = {}


def inert(provider: object) -> bool:
    """Whether a provider is the API's own, which does nothing."""
    return type(provider).__module__.split(".")[:2] in (["opentelemetry", "trace"], ["opentelemetry", "metrics"])


def _metrics_of(provider: MeterProvider) -> Metrics | None:
    if inert(provider):
        return None  # what is made of it would be made once more of the one that the program sets later
    with ONE_AT_A_TIME:
        found = _made.get(id(provider))
        if found is None:
            found = _made[id(provider)] = (provider, Metrics(provider.get_meter(c.SCOPE, VERSION)))
    return found[1]
