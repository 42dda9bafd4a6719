"""A program's Live sessions under instrumentation: the providers, the settings and the calls they share."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field, replace
from importlib.metadata import version

from opentelemetry import _logs, metrics, trace
from opentelemetry import context as otel_context
from opentelemetry._logs import LoggerProvider
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Tracer, TracerProvider

from voicespan import conventions as c
from voicespan import events as ev
from voicespan import identity as ident
from voicespan.attributes import Model
from voicespan.content import Capture
from voicespan.genai_calls import Call, Calls
from voicespan.genai_connection import Connection
from voicespan.genai_settings import LiveSettings
from voicespan.genai_setup import ApiClient, model_of, setup_of
from voicespan.guard import guarded
from voicespan.identity import Identity
from voicespan.metrics import Metrics
from voicespan.session import VoiceSession

VERSION = version("voicespan")


@dataclass(frozen=True, slots=True)
class Providers:
    """Where spans, metrics and log events go; None is the global one, as it is when a session begins."""

    tracer: TracerProvider | None = None
    meter: MeterProvider | None = None
    logger: LoggerProvider | None = None


_NOTHING: Connection | None = None


@dataclass(slots=True)
class Program:
    """What one `instrument()` began."""

    providers: Providers
    settings: LiveSettings
    capture: Capture
    calls: Calls = field(init=False)

    def __post_init__(self) -> None:
        self.calls = Calls(self.settings.resume_window_s)

    @guarded(default=_NOTHING)
    def dial(self, model: str, config: object, client: ApiClient) -> Connection | None:
        """A session is being connected; None where nothing is to be told of it."""
        if not is_instrumentation_enabled():
            return None
        tracers = self.providers.tracer or trace.get_tracer_provider()
        meters = self.providers.meter or metrics.get_meter_provider()
        if (_inert(tracers) and _inert(meters)) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
            return None
        setup = setup_of(config)
        given = self.calls.given(setup.handle)
        call = self.calls.open_call(given) if given else None
        if call:
            call.resumed()
        else:
            identity = ident.of_context() or (given.identity if given else Identity(uuid.uuid4().hex))
            backend = self.settings.backend or ("vertex" if client.vertexai else "gemini")
            call = self._begin(
                replace(identity, backend=backend),
                model_of(model, client, setup.base_url),
                setup.instructions,
                tracers.get_tracer(c.SCOPE, VERSION),
                _metrics_of(meters),
            )
        connection = Connection(call, setup)
        call.connection = connection
        call.session.feed(ev.Dialing(setup.handle is not None, given.age_s if given else None))
        return connection

    def _begin(self, identity: Identity, model: Model, instructions: str, tracer: Tracer, measured: Metrics) -> Call:
        settings = self.settings
        loggers = self.providers.logger or _logs.get_logger_provider()
        session = VoiceSession(
            identity,
            model,
            tracer=tracer,
            capture=self.capture,
            parent=Context() if settings.session_parent == "new" else otel_context.get_current(),
            instructions=instructions,
            metrics=measured,
            logger=loggers.get_logger(c.SCOPE, VERSION),
            shape=settings.shape,
            stall_after_s=settings.stall_after_s,
        )
        call = Call(self.calls, identity, session)
        self.calls.add(call)
        return call


# By meter provider: instruments outlive an uninstrument(), and making them again would double them.
_made: dict[int, tuple[MeterProvider, Metrics]] = {}


def _metrics_of(provider: MeterProvider) -> Metrics:
    found = _made.get(id(provider))
    if found is None:
        found = _made[id(provider)] = (provider, Metrics(provider.get_meter(c.SCOPE, VERSION)))
    return found[1]


def _inert(provider: object) -> bool:
    """Whether a provider is the API's own, which does nothing: no SDK was set up, or it is switched off."""
    return type(provider).__module__.split(".")[:2] in (["opentelemetry", "trace"], ["opentelemetry", "metrics"])
