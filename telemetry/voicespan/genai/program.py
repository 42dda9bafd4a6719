"""A program's Live sessions under instrumentation: the providers, the settings and the calls they share."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field, replace

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from voicespan import events as ev
from voicespan import identity as ident
from voicespan.content import Capture
from voicespan.genai.calls import Call, Calls, Given
from voicespan.genai.connection import Connection
from voicespan.genai.setup import ApiClient, Setup, model_of, setup_of
from voicespan.guard import guarded
from voicespan.identity import Identity
from voicespan.live_settings import LiveSettings
from voicespan.start import Providers, inert, start_session

_UNWATCHED: Connection | None = None


@dataclass(slots=True)
class Program:
    """What one `instrument()` began."""

    providers: Providers
    settings: LiveSettings
    capture: Capture
    calls: Calls = field(init=False)

    def __post_init__(self) -> None:
        self.calls = Calls(self.settings.resume_window_s)

    @guarded(default=_UNWATCHED)
    def dial(self, model: str, config: object, client: ApiClient) -> Connection | None:
        """A session is being connected; None where nothing is to be told of it."""
        if not is_instrumentation_enabled() or not self._anybody_listens():
            return None
        setup = setup_of(config)
        given = self.calls.given(setup.handle)
        call = self.calls.open_call(given) if given else None
        if call:
            call.resumed()
        else:
            call = self._begin(model, client, setup, given)
        connection = Connection(call, setup)
        call.connection = connection
        call.session.feed(ev.Dialing(setup.handle is not None, given.age_s if given else None))
        return connection

    def _begin(self, model: str, client: ApiClient, setup: Setup, given: Given | None) -> Call:
        known = ident.of_context() or (given.identity if given else Identity(uuid.uuid4().hex))
        backend = self.settings.backend or ("vertex" if client.vertexai else "gemini")
        identity = replace(known, backend=backend)
        session = start_session(
            model_of(model, client, setup.base_url),
            identity,
            instructions=setup.instructions,
            capture=self.capture,
            settings=self.settings,
            providers=self.providers,
        )
        call = Call(self.calls, identity, session)
        self.calls.add(call)
        return call

    def _anybody_listens(self) -> bool:
        """Whether an SDK was set up, and is not switched off."""
        if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
            return False
        tracers = self.providers.tracer or trace.get_tracer_provider()
        meters = self.providers.meter or metrics.get_meter_provider()
        return not (inert(tracers) and inert(meters))
