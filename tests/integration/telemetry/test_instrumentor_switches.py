"""What switches instrumentation off, and the settings that it takes."""

from unittest.mock import Mock

import pytest
from google.genai.live import AsyncSession
from opentelemetry import metrics, trace
from opentelemetry.instrumentation.utils import suppress_instrumentation

from support.fake_live import (
    MODEL,
    Wire,
    client,
    wire,
)
from support.instrumented import Instrument, instrument, recorder, talk
from support.telling import Recorder, named
from voicespan import TraceShape
from voicespan.live_settings import LiveSettings, settings_from_environment

__all__ = ["instrument", "recorder", "wire"]


def watched(session: AsyncSession) -> bool:
    return "_voicespan_connection" in vars(session)


def test_prices_are_read_before_there_is_a_call(instrument: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Mock()
    monkeypatch.setattr("genai_prices.data_snapshot.get_snapshot", read)
    instrument()
    read.assert_called_once_with()


async def test_suppression_is_respected(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    with suppress_instrumentation():
        async with client().aio.live.connect(model=MODEL) as session:
            assert not watched(session)
    assert recorder.spans() == []


async def test_without_an_sdk_nothing_is_watched(wire: Wire, instrument: Instrument) -> None:
    assert type(trace.get_tracer_provider()).__name__ == "ProxyTracerProvider"
    assert type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider"
    instrument(tracer_provider=None, meter_provider=None, logger_provider=None)
    async with client().aio.live.connect(model=MODEL) as session:
        assert not watched(session)


async def test_a_disabled_sdk_is_none(wire: Wire, instrument: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        assert not watched(session)


async def test_the_shape_of_the_trace_is_a_setting(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument(settings=LiveSettings(shape=TraceShape(trace_scope="turn", generation_spans=True)))
    await talk(wire)
    spans = recorder.spans()
    turn, session = named(spans, "Turn 1"), named(spans, "WebSocket Session")
    assert turn.trace_id != session.trace_id
    assert named(spans, f"realtime_inference {MODEL}").parent_span_id == turn.span_id


async def test_a_simulated_call_can_be_named_one(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument(settings=LiveSettings(backend="simulator"))
    await talk(wire)
    assert named(recorder.spans(), "Turn 1").attributes["voicespan.backend"] == "simulator"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("VOICESPAN_SESSION_PARENT", "new", LiveSettings(session_parent="new")),
        ("VOICESPAN_TRACE_SCOPE", "TURN", LiveSettings(shape=TraceShape("turn"))),
        ("VOICESPAN_GENERATION_SPANS", "true", LiveSettings(shape=TraceShape(generation_spans=True))),
        ("VOICESPAN_SPEECH_SPANS", "1", LiveSettings(shape=TraceShape(speech_spans=True))),
        ("VOICESPAN_STALL_AFTER_S", "0", LiveSettings(stall_after_s=None)),
        ("VOICESPAN_RESUME_WINDOW_S", "2.5", LiveSettings(resume_window_s=2.5)),
        ("VOICESPAN_BACKEND", "simulator", LiveSettings(backend="simulator")),
        ("VOICESPAN_BACKEND", "auto", LiveSettings()),
    ],
)
def test_settings_are_read_from_the_environment(name: str, value: str, expected: LiveSettings) -> None:
    assert settings_from_environment({name: value}) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VOICESPAN_SESSION_PARENT", "child"),
        ("VOICESPAN_TRACE_SCOPE", "forever"),
        ("VOICESPAN_GENERATION_SPANS", "maybe"),
        ("VOICESPAN_STALL_AFTER_S", "-1"),
        ("VOICESPAN_RESUME_WINDOW_S", "inf"),
    ],
)
def test_a_value_that_is_none_is_named_and_the_default_holds(
    name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert settings_from_environment({name: value}) == LiveSettings()
    assert f"{name}={value!r}" in caplog.text
