"""The fixtures of `voicespan.testing`, as a pytest plugin.

pytest loads it in every run of an environment that Voicespan is installed in, whether or not a test asks for a fixture.
So it stands outside the package, whose import takes as long as pytest's own, and imports nothing but pytest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from voicespan.testing.recorded import Recorded
    from voicespan.testing.simulator import MakeClient, Simulator


@pytest.fixture
def voice_spans(request: pytest.FixtureRequest) -> Iterator[Recorded]:
    """google-genai Live is instrumented for the test, and what it tells is kept in memory.

    In a test that uses the simulator, calls are told as simulated. A program of its own instrumentation takes
    `voice_spans.tracer_provider` and its like instead.
    """
    try:
        from voicespan.testing.recorded import Recorded  # noqa: PLC0415
    except ImportError as error:
        raise _missing("voice_spans", error, "sdk") from error
    from voicespan.instrumentor import GeminiLiveInstrumentor  # noqa: PLC0415
    from voicespan.live_settings import settings_from_environment  # noqa: PLC0415

    settings = settings_from_environment()
    if "gemini_simulator" in request.fixturenames:
        settings = replace(settings, backend="simulator")
    recorded = Recorded()
    instrumentor = GeminiLiveInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        raise RuntimeError("google-genai is instrumented already: the fixture voice_spans has to do that itself")
    instrumentor.instrument(
        tracer_provider=recorded.tracer_provider,
        meter_provider=recorded.meter_provider,
        logger_provider=recorded.logger_provider,
        settings=settings,
    )
    try:
        yield recorded
    finally:
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()


@pytest.fixture(scope="session")
def gemini_simulator() -> Iterator[Simulator]:
    """A running Gemini Live simulator that waits for nothing; one for all tests."""
    try:
        from voicespan.testing.simulator import running_simulator  # noqa: PLC0415
    except ImportError as error:
        raise _missing("gemini_simulator", error, "simulator") from error
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def gemini_client(gemini_simulator: Simulator) -> MakeClient:
    """Makes google-genai clients of the simulator: `gemini_client(scenario="one_tool", vertex=False)`."""
    return gemini_simulator.client


def _missing(fixture: str, error: ImportError, extra: str) -> ImportError:
    from voicespan.extras import missing  # noqa: PLC0415

    return missing(f"the fixture {fixture}", error, extra)
