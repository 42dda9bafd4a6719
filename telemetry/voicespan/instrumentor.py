"""OpenTelemetry instrumentation of google-genai's Live API, for programs that know nothing of it.

    from voicespan.instrumentor import GeminiLiveInstrumentor
    GeminiLiveInstrumentor().instrument()

or, with no code at all, `opentelemetry-instrument python program.py`. Each `client.aio.live.connect()` becomes a
session: a span for it, one for every connection, turn and tool call, log events and metrics. Where no SDK is set up
nothing is watched. docs/instrumentation.md says what is told, and how to set it:

    OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT   what text may leave; by default none
    OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=gemini_live    switches this instrumentation off; OTEL_SDK_DISABLED=true all
    VOICESPAN_SESSION_PARENT=inherit|new                 child of the span that is current at connect, or its own trace
    VOICESPAN_TRACE_SCOPE=session|turn|auto              one trace, or one per turn
    VOICESPAN_GENERATION_SPANS, VOICESPAN_SPEECH_SPANS   more spans
    VOICESPAN_STALL_AFTER_S=10                           how long an answer may be due; 0 looks for no stalls
    VOICESPAN_RESUME_WINDOW_S=10                         how long a lost session waits to be resumed by its handle
    VOICESPAN_BACKEND=gemini|vertex|simulator            what answers, where the client cannot know
"""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import LoggerProvider
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined] # it has no types
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from voicespan.content import Capture, capture_from_environment
from voicespan.live_settings import LiveSettings, settings_from_environment
from voicespan.start import Providers

if TYPE_CHECKING:
    from google.genai.live import AsyncSession

    from voicespan.genai.patch import Patches
    from voicespan.genai.program import Program
    from voicespan.session import VoiceSession

INSTRUMENTS = ("google-genai >= 2, < 4",)


class _State:
    """Of the one instrumentation of the process: BaseInstrumentor is a singleton whose __init__ runs each time."""

    patches: Patches | None = None
    program: Program | None = None


class GeminiLiveInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Instruments every Live session of google-genai 2 and 3, Developer API and Vertex.

    `instrument()` takes `tracer_provider`, `meter_provider`, `logger_provider` (by default the global ones, as they are
    when a session begins), `settings` (`LiveSettings`, by default the environment's) and `capture` (`Capture`,
    likewise). `uninstrument()` ends what is open and puts google-genai back as it was.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """The versions of google-genai that this was written for."""
        return INSTRUMENTS

    def _instrument(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        logger_provider: LoggerProvider | None = None,
        settings: LiveSettings | None = None,
        capture: Capture | None = None,
        **_: Any,
    ) -> None:
        # google-genai takes a second to import: a program that never instruments does not pay for it.
        from voicespan.genai.patch import Patches  # noqa: PLC0415
        from voicespan.genai.program import Program  # noqa: PLC0415

        with contextlib.suppress(ImportError):
            from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

            get_snapshot()  # takes up to 0.1 s to read its prices the first time: not in the loop of a call
        _State.program = Program(
            Providers(tracer_provider, meter_provider, logger_provider),
            settings or settings_from_environment(),
            capture or capture_from_environment(),
        )
        _State.patches = Patches(_State.program)

    def _uninstrument(self, **_: Any) -> None:
        if _State.patches:
            _State.patches.undo()
        if _State.program:
            atexit.unregister(_State.program.calls.end_all)
            _State.program.calls.end_all("uninstrumented")
        _State.patches = _State.program = None


def session_of(connected: AsyncSession) -> VoiceSession | None:
    """What is told of a session that google-genai connected; None where nothing is.

    A program that knows of its instrumentation can add to it: run a tool inside its span (`voicespan.in_tool`), tell
    what its loudspeaker played (`PlaybackStarted`, `PlaybackStopped`).
    """
    from voicespan.genai.patch import connection_of  # noqa: PLC0415

    connection = connection_of(connected)
    return connection.session if connection else None
