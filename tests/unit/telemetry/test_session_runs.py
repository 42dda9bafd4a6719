"""A session while the call runs: its timers, its tools at once, and errors of its own that the call never sees."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from support.garbage import garbage
from support.simulated_call import silence, tone
from support.story import events
from support.telling import IDENTITY, MODEL, Recorder, named
from voicespan import Capture, Close, VoiceSession
from voicespan import events as ev
from voicespan.events import ToolOutcome
from voicespan.operations import Operation, Stalled, StallKind

CALL = "ON MIC VAS I VAE CALL1 RESP1 a A T A GC U TC I VAE A GC VAS INT U TC BYE"


def fail(*_: object, **__: object) -> str:
    raise RuntimeError("broken")


@pytest.mark.parametrize("redact", [fail, lambda _: None])
def test_a_redaction_a_listener_or_a_log_pipeline_that_fails_loses_no_span(
    redact: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VOICESPAN_RAISE")
    recorder = Recorder()
    monkeypatch.setattr(recorder.logger, "emit", fail)
    capture = Capture(on_spans=True, on_events=True, redact=redact)
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer, capture=capture, logger=recorder.logger)
    session.listener = fail  # type: ignore[assignment]
    for event, at in events(CALL):
        session.feed(event, at)
    spans = recorder.spans()
    assert {span.name for span in spans} >= {"WebSocket Session", "Turn 1", "Turn 2", "tool-search_nearby"}
    assert "[redaction failed]" in str(named(spans, "Turn 1").attributes["langfuse.observation.output"])
    assert not any(b"spoken" in span.raw for span in spans)


async def test_the_applications_spans_nest_under_the_tool_and_carry_the_session() -> None:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    session.feed(ev.ToolCall("1", "search_nearby"))
    context = session.tool_context("1")
    assert context is not None

    async def handler() -> None:
        token = otel_context.attach(context)
        with recorder.provider.get_tracer("app").start_as_current_span("SELECT places"):
            await asyncio.sleep(0)
        otel_context.detach(token)

    await asyncio.create_task(handler())
    session.feed(ev.ToolResponse("1", ToolOutcome.OK))
    session.close(Close(1000, "", "client"))
    query = named(recorder.spans(), "SELECT places")
    assert query.parent_span_id == named(recorder.spans(), "tool-search_nearby").span_id
    assert query.attributes["session.id"] == "session-1"
    assert not trace.get_current_span().get_span_context().is_valid


async def test_books_close_by_themselves_when_usage_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicespan.books.GRACE_NS", 20_000_000)
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    told = asyncio.Event()
    session.listener = lambda operation: told.set() if type(operation).__name__ == "EndTurn" else None
    for event, _ in events("cc A GC TC"):
        session.feed(event)
    assert not told.is_set()
    async with asyncio.timeout(5):
        await told.wait()
    assert [span.name for span in recorder.spans()] == ["Turn 1"]
    session.close(Close(1000, "", "client"))


def test_an_error_of_telemetrys_own_never_reaches_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    from voicespan import guard

    monkeypatch.delenv("VOICESPAN_RAISE")
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    before = guard.error_count()
    session.feed("not an event at all")  # type: ignore[arg-type]
    monkeypatch.setattr(session, "_spans", None)
    session.feed(ev.ModelAudio(0.2))
    assert guard.error_count() > before


def test_a_hang_up_flushes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    flushed: list[float] = []
    monkeypatch.setattr(recorder.provider, "force_flush", flushed.append)
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    session.close(Close(1000, "", "client"))
    assert recorder.spans()
    assert not flushed


def test_neither_turns_nor_sessions_wait_for_the_garbage_collector() -> None:
    recorder = Recorder()
    with garbage() as left:
        session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
        for event, at in events(CALL):
            session.feed(event, at)
        del session
    assert not left


def test_without_an_sdk_it_does_nothing() -> None:
    session = VoiceSession(IDENTITY, MODEL, tracer=trace.NoOpTracerProvider().get_tracer("voicespan"))
    for event, at in events(CALL):
        session.feed(event, at)
    assert session.trace_id == "0" * 32


async def test_the_watchdog_needs_no_event_to_find_a_stall() -> None:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer, stall_after_s=0.05)
    found = asyncio.Event()
    session.listener = lambda operation: found.set() if type(operation).__name__ == "Stalled" else None
    session.feed(ev.UserText("hello"))
    async with asyncio.timeout(5):
        await found.wait()
    session.close(Close(1000, "", "client"))


@pytest.mark.parametrize(("resumed", "kind"), [(True, StallKind.RESUMED_DEAD), (False, StallKind.NO_ANSWER)])
async def test_speech_over_a_connection_that_is_dead_is_found_in_the_audio(*, resumed: bool, kind: StallKind) -> None:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer, stall_after_s=0.1)
    stalls: asyncio.Queue[Operation] = asyncio.Queue()
    session.listener = lambda operation: stalls.put_nowait(operation) if isinstance(operation, Stalled) else None
    session.feed(ev.Dialing(resumed=resumed))
    session.feed(ev.Connected())
    for pcm in (silence(0.5), tone(1.0), silence(0.6)):
        session.audio_sent(pcm)
    async with asyncio.timeout(5):
        stall = await stalls.get()
    assert isinstance(stall, Stalled)
    assert stall.kind is kind
    session.close(Close(1000, "", "client"))


async def test_silence_over_a_connection_is_no_stall() -> None:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer, stall_after_s=0.02)
    session.feed(ev.Dialing(resumed=True))
    session.feed(ev.Connected())
    for _ in range(20):
        session.audio_sent(silence(0.04))
        await asyncio.sleep(0.01)
    session.close(Close(1000, "", "client"))
    assert session.totals.stalls == 0


def test_audio_is_counted_at_the_rate_that_it_has() -> None:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    for rate_hz in (16_000, 48_000, 8_000):
        session.input_rate(rate_hz)
        session.audio_sent(bytes(2 * rate_hz))
    session.close(Close(1000))
    assert named(recorder.spans(), "WebSocket Session").attributes["voicespan.session.input_audio_duration"] == 3.0


async def test_tools_that_run_at_once_have_each_their_own_spans_and_leave_no_context_behind() -> None:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    app = recorder.provider.get_tracer("app")
    meet = asyncio.Barrier(2)

    async def handler(call_id: str) -> None:
        context = session.tool_context(call_id)
        assert context is not None
        token = otel_context.attach(context)
        try:
            with app.start_as_current_span(f"outer {call_id}"):
                await meet.wait()
                with app.start_as_current_span(f"inner {call_id}"):
                    await meet.wait()
        finally:
            otel_context.detach(token)
        assert not trace.get_current_span().get_span_context().is_valid

    for call_id in ("1", "2"):
        session.feed(ev.ToolCall(call_id, "search_nearby"))
    async with asyncio.TaskGroup() as group:
        for call_id in ("1", "2"):
            group.create_task(handler(call_id))
    for call_id in ("2", "1"):
        session.feed(ev.ToolResponse(call_id, ToolOutcome.OK))
    session.close(Close(1000, "", "client"))
    spans = recorder.spans()
    tools = {span.attributes["gen_ai.tool.call.id"]: span.span_id for span in spans if span.name.startswith("tool-")}
    for call_id in ("1", "2"):
        outer, inner = named(spans, f"outer {call_id}"), named(spans, f"inner {call_id}")
        assert (inner.parent_span_id, outer.parent_span_id) == (outer.span_id, tools[call_id])
    assert not trace.get_current_span().get_span_context().is_valid


def test_totals_and_metrics_do_not_come_from_spans_that_were_sampled() -> None:
    recorder = Recorder(replace(IDENTITY, backend="gemini"))
    unsampled = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("voicespan")
    session = VoiceSession(recorder.identity, MODEL, tracer=unsampled, metrics=recorder.metrics, logger=recorder.logger)
    for event, at in events("ON cc CALL1 RESP1 A GC U TC cc A GC U TC BYE"):
        session.feed(event, session.began_ns + at)
    assert session.totals.turns == 2
    assert session.totals.usage.total == 300
    measured = {metric.name: sum(point.value for point in metric.points) for metric in recorder.measured()}
    assert measured["voicespan.turns"] == 2
    assert measured["voicespan.cost"] == pytest.approx(2 * 5.2e-4)
    [summary] = [record for record in recorder.logs() if record.event_name == "voicespan.session.summary"]
    assert summary.attributes["voicespan.session.cost"] == pytest.approx(2 * 5.2e-4)
