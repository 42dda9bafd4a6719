"""The spans that a session leaves: their tree, what stands on them, and what never does."""

import asyncio
import json
from dataclasses import replace

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from support import langfuse_contract
from support.received import render_tree
from support.simulated_call import silence, tone
from support.story import events
from support.telling import IDENTITY, MODEL, Recorder, named, tell
from voicespan import Capture, Close, TraceShape, VoiceSession
from voicespan import events as ev
from voicespan.events import ToolOutcome
from voicespan.operations import Operation, Stalled, StallKind

CALL = "ON MIC VAS I VAE CALL1 RESP1 a A T A GC U TC I VAE A GC VAS INT U TC BYE"


def test_the_tree_is_the_design() -> None:
    assert render_tree(tell(CALL)) == "\n".join(
        [
            "WebSocket Session",
            "  Live Connection 1",
            "  Turn 1",
            "    tool-search_nearby",
            "  Turn 2",
        ]
    )


@pytest.mark.parametrize("story", [CALL, "BYE", "ON cc A BYE", "ON GA cc CALL1 CUT ON BYE", "MIC I INT U TC BYE"])
@pytest.mark.parametrize("capture", [True, False])
def test_langfuse_reads_it_right(story: str, *, capture: bool) -> None:
    langfuse_contract.trace(tell(story, capture=capture))


def test_without_capture_no_word_leaves() -> None:
    secrets = ("spoken", "answer", "typed", "CALL1", "Be brief")
    langfuse_contract.no_content(tell(CALL + " cc A GC U TC", capture=False), *secrets)
    assert any(b"spoken" in span.raw for span in tell(CALL))


def test_a_turn_says_how_it_was_measured_and_what_it_cost() -> None:
    turn = named(tell(CALL), "Turn 1")
    assert turn.kind == "CLIENT"
    expected = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "gemini-3.8-live",
        "gen_ai.output.type": "speech",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 120,
        "gen_ai.usage.output_tokens": 30,
        "voicespan.turn.index": 1,
        "voicespan.turn.start_source": "server_activity_end",
        "voicespan.turn.start_confidence": "inferred",
        "voicespan.turn.end_reason": "completed",
        "voicespan.turn.interrupted": False,
        "voicespan.turn.generations": 2,
        "voicespan.usage.source": "provider",
        "voicespan.usage.provider_total_tokens": 150,
        "voicespan.backend": "simulator",
    }
    assert {key: turn.attributes.get(key) for key in expected} == expected
    assert json.loads(str(turn.attributes["langfuse.observation.usage_details"])) == {
        "input_text": 100, "input_audio": 20, "output_audio": 30, "total": 150,
    }  # fmt: skip
    cost = json.loads(str(turn.attributes["langfuse.observation.cost_details"]))
    assert cost == pytest.approx({"input_text": 1e-4, "input_audio": 6e-5, "output_audio": 3.6e-4, "total": 5.2e-4})


def test_a_barge_in_is_told_and_is_no_error() -> None:
    turn = named(tell(CALL), "Turn 2")
    assert turn.status == "UNSET"
    assert turn.attributes["voicespan.turn.end_reason"] == "interrupted"
    assert turn.attributes["voicespan.turn.interruption_cause"] == "speech"
    assert turn.attributes["gen_ai.response.finish_reasons"] == ["interrupted"]


def test_the_session_states_its_totals_also_when_they_are_zero() -> None:
    session = named(tell(CALL), "WebSocket Session")
    expected = {
        "voicespan.entry": True,
        "langfuse.observation.type": "agent",
        "voicespan.session.turns": 2,
        "voicespan.session.tool_calls": 1,
        "voicespan.session.connections": 1,
        "voicespan.session.reconnects": 0,
        "voicespan.session.barge_ins": 1,
        "voicespan.session.turns_without_usage": 0,
        "voicespan.session.input_audio_duration": 1.0,
        "voicespan.session.provider_total_tokens": 300,
        "voicespan.session.close_code": 1000,
        "voicespan.session.close_initiator": "client",
        "langfuse.observation.metadata.turns": 2,
    }
    assert {key: session.attributes.get(key) for key in expected} == expected
    assert session.attributes["voicespan.session.cost"] == pytest.approx(2 * 5.2e-4)
    assert "gen_ai.request.model" not in session.attributes, "Langfuse would take the session for a generation"
    assert not any(key.startswith("gen_ai.usage") for key in session.attributes)


def test_a_model_without_a_price_has_no_cost_rather_than_none() -> None:
    from voicespan import Model

    spans = tell(CALL, model=Model("unheard-of"))
    assert not any("cost" in key for span in spans for key in span.attributes)


def test_usage_of_a_turn_that_the_model_had_no_part_in_is_missing_not_zero() -> None:
    turn = named(tell("MIC I VAE BYE"), "Turn 1")
    assert turn.attributes["voicespan.usage.source"] == "missing"
    assert "gen_ai.usage.input_tokens" not in turn.attributes
    assert "langfuse.observation.usage_details" not in turn.attributes


def test_usage_that_never_came_is_estimated_and_says_so() -> None:
    spans = tell("cc A GC U TC cc A GC BYE")
    turn = named(spans, "Turn 2").attributes
    assert turn["voicespan.usage.source"] == "estimated"
    assert "gen_ai.usage.input_tokens" not in turn
    details = json.loads(str(turn["langfuse.observation.usage_details"]))
    # 100 text, 20 audio and 30 of the answer before it, one for the word that was typed; 0.2 s of voice.
    assert details == {
        "input_text_estimated": 131, "input_audio_estimated": 20, "output_audio_estimated": 5, "total": 156,
    }  # fmt: skip
    session = named(spans, "WebSocket Session").attributes
    assert json.loads(str(session["voicespan.session.usage_details"])) == {
        "input_text": 100, "input_audio": 20, "output_audio": 30,
        "input_text_estimated": 131, "input_audio_estimated": 20, "output_audio_estimated": 5, "total": 306,
    }  # fmt: skip
    langfuse_contract.trace(spans)


def test_the_conversation_stands_on_turns_and_session_as_chat() -> None:
    spans = tell(CALL)
    turn = named(spans, "Turn 1")
    assert json.loads(str(turn.attributes["langfuse.observation.input"])) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "spoken"},
    ]
    output = json.loads(str(turn.attributes["langfuse.observation.output"]))
    assert [message["role"] for message in output] == ["assistant", "tool", "assistant"]
    assert output[0]["tool_calls"][0]["function"] == {"name": "search_nearby", "arguments": '{"query":"CALL1"}'}
    assert json.loads(str(turn.attributes["gen_ai.output.messages"]))[0]["parts"][0]["type"] == "tool_call"
    session = named(spans, "WebSocket Session")
    assert json.loads(str(session.attributes["langfuse.observation.input"]))[0]["role"] == "system"
    assert json.loads(str(session.attributes["langfuse.observation.output"]))[0]["role"] == "assistant"


def test_an_unanswered_question_is_input_not_output() -> None:
    session = named(tell("cc A T GC U TC cc BYE"), "WebSocket Session")
    said = json.loads(str(session.attributes["langfuse.observation.input"]))
    assert [message["role"] for message in said] == ["system", "user", "user"]
    answered = json.loads(str(session.attributes["langfuse.observation.output"]))
    assert [message["role"] for message in answered] == ["assistant"]


def test_a_long_conversation_is_cut_at_its_beginning_and_says_so() -> None:
    story = " ".join(["cc T A GC U TC"] * 120)
    recorder = Recorder()
    session = VoiceSession(
        IDENTITY, MODEL, tracer=recorder.tracer, capture=Capture(on_spans=True), instructions="Be brief."
    )
    for event, _ in events(story):
        session.feed(ev.UserText("x" * 9_000) if isinstance(event, ev.UserText) else event)
    session.close(Close(1000, "bye", "client"))
    for span in recorder.spans():
        for name, value in span.attributes.items():
            assert len(str(value)) < 300_000, f"{span.name} {name}"
    whole = named(recorder.spans(), "WebSocket Session")
    said = json.loads(str(whole.attributes["langfuse.observation.input"]))
    assert said[0] == {"role": "system", "content": "Be brief."}
    assert said[-1]["left_out"] > 0


def test_a_redaction_or_a_listener_that_fails_loses_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOICESPAN_RAISE")

    def fail(_: object) -> str:
        raise RuntimeError("broken")

    recorder = Recorder()
    capture = Capture(on_spans=True, redact=fail)
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer, capture=capture)
    session.listener = fail  # type: ignore[assignment]
    for event, at in events(CALL):
        session.feed(event, at)
    spans = recorder.spans()
    assert {span.name for span in spans} >= {"WebSocket Session", "Turn 1", "Turn 2", "tool-search_nearby"}
    assert "[redaction failed]" in str(named(spans, "Turn 1").attributes["langfuse.observation.output"])
    assert not any(b"spoken" in span.raw for span in spans)


def test_a_failed_tool_is_an_error_with_a_text() -> None:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer, capture=Capture(on_spans=True))
    session.feed(ev.ToolCall("1", "search_nearby"))
    session.feed(ev.ToolResponse("1", ToolOutcome.TIMEOUT, {"error": "too slow"}, "too slow"))
    session.close(Close(1000, "bye", "client"))
    tool = named(recorder.spans(), "tool-search_nearby")
    assert (tool.status, tool.status_message) == ("ERROR", "too slow")
    assert tool.attributes["error.type"] == "timeout"


def test_a_lost_connection_is_an_error_of_the_turn_it_cut() -> None:
    spans = tell("ON cc T A CUT ON BYE")
    turn = named(spans, "Turn 1")
    assert (turn.status, turn.attributes["error.type"]) == ("ERROR", "close_1006")
    assert named(spans, "Live Connection 2").attributes["voicespan.connection.close_code"] == 1006
    assert named(spans, "WebSocket Session").status == "UNSET"
    assert [e.name.removeprefix("gen_ai.client.") for e in named(spans, "WebSocket Session").events] == [
        "realtime_session.started",
        "realtime_session.ended",
        "voicespan.reconnect",
        "realtime_session.started",
        "voicespan.resumed",
        "realtime_session.ended",
    ]


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


async def test_books_close_by_themselves_when_usage_never_comes() -> None:
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


def test_without_an_sdk_it_does_nothing() -> None:
    session = VoiceSession(IDENTITY, MODEL, tracer=trace.NoOpTracerProvider().get_tracer("voicespan"))
    for event, at in events(CALL):
        session.feed(event, at)
    assert session.trace_id == "0" * 32


TWO_TURNS = "ON cc CALL1 RESP1 A GC U TC cc A GC U TC BYE"


def test_a_turn_can_be_a_trace_of_its_own_that_is_linked_both_ways() -> None:
    spans = tell(TWO_TURNS, shape=TraceShape("turn"))
    session, first, second = (named(spans, name) for name in ("WebSocket Session", "Turn 1", "Turn 2"))
    assert len({session.trace_id, first.trace_id, second.trace_id}) == 3
    for turn in (first, second):
        assert turn.parent_span_id == ""
        assert turn.attributes["voicespan.entry"] is True
        assert [(link.span_id, link.attributes) for link in turn.links] == [
            (session.span_id, {"voicespan.link": "session"})
        ]
        assert turn.attributes["session.id"] == session.attributes["session.id"]
    assert [link.span_id for link in session.links] == [first.span_id, second.span_id]
    tool = named(spans, "tool-search_nearby")
    assert (tool.trace_id, tool.parent_span_id) == (first.trace_id, first.span_id)


def test_with_auto_turns_split_off_where_the_trace_grows_large() -> None:
    recorder = Recorder()
    session = VoiceSession(
        IDENTITY, MODEL, tracer=recorder.tracer, capture=Capture(on_spans=True), shape=TraceShape("auto")
    )
    for event, _ in events(" ".join(["cc A GC U TC"] * 60)):
        session.feed(ev.UserText("x" * 16_000) if isinstance(event, ev.UserText) else event)
    session.close(Close(1000, "bye", "client"))
    spans = recorder.spans()
    inside = [span for span in spans if span.trace_id == session.trace_id]
    assert 4_000_000 < sum(len(span.raw) for span in inside) < 5_000_000
    assert named(spans, "Turn 1") in inside
    assert named(spans, "Turn 60") not in inside


def test_generations_can_be_spans_that_carry_the_usage_of_their_turn() -> None:
    spans = tell("ON cc CALL1 u RESP1 A T GC U TC I INT U TC BYE", shape=TraceShape(generation_spans=True))
    turn = named(spans, "Turn 1")
    assert (turn.kind, turn.attributes["langfuse.observation.type"]) == ("INTERNAL", "span")
    assert not {"gen_ai.request.model", "gen_ai.usage.input_tokens", "langfuse.observation.usage_details"} & set(
        turn.attributes
    )
    parts = [span for span in spans if span.name == "realtime_inference gemini-3.8-live"]
    first, second, retracted = parts
    assert [part.parent_span_id for part in (first, second)] == [turn.span_id] * 2
    assert retracted.parent_span_id == named(spans, "Turn 2").span_id
    assert [part.attributes["gen_ai.usage.input_tokens"] for part in parts] == [120, 120, 120]
    assert [part.attributes["gen_ai.response.finish_reasons"] for part in parts] == [
        ["tool_call"],
        ["stop"],
        ["cancelled"],
    ]
    assert "answer" in str(second.attributes["langfuse.observation.output"])
    session = named(spans, "WebSocket Session")
    costs = [json.loads(str(part.attributes["langfuse.observation.cost_details"]))["total"] for part in parts]
    assert session.attributes["voicespan.session.cost"] == pytest.approx(sum(costs))


def test_speech_is_a_span_where_the_client_marked_both_of_its_ends() -> None:
    story = "ON ACS .. AE A PLAY1 .. GC U TC STOP1 VAS .. VAE A GC U TC BYE"
    speech = [span for span in tell(story, shape=TraceShape(speech_spans=True)) if "speech" in span.name]
    assert [span.name for span in speech] == ["user_speech"], "the answer was told before its playback stopped"
    story = "ON ACS .. AE A PLAY1 .. STOP1 GC U TC BYE"
    spans = tell(story, shape=TraceShape(speech_spans=True))
    assert [span.name for span in spans if "speech" in span.name] == ["user_speech", "agent_speech"]
    assert not [span for span in tell(story) if "speech" in span.name], "opt-in"


def test_a_tool_that_does_not_block_is_the_sessions_child_with_a_link_to_its_turn() -> None:
    spans = tell("ON cc ASYNC1 T A GC U TC .. RESP1+ RESP1 T A GC U TC BYE")
    tool, turn, session = (named(spans, name) for name in ("tool-search_nearby", "Turn 1", "WebSocket Session"))
    assert tool.parent_span_id == session.span_id
    assert [(link.span_id, link.attributes) for link in tool.links] == [(turn.span_id, {"voicespan.link": "turn"})]
    assert tool.end_ns > turn.end_ns
    assert (tool.attributes["voicespan.tool.blocking"], tool.attributes["voicespan.tool.responses"]) == (False, 2)


def test_a_turn_says_what_of_its_prompt_was_billed_before() -> None:
    spans = tell("cc A GC U TC cc A GC U TC BYE")
    turns = [named(spans, name).attributes for name in ("Turn 1", "Turn 2")]
    assert [turn["voicespan.usage.rebilled_input_tokens"] for turn in turns] == [0, 120]
    assert [turn["voicespan.usage.fresh_input_tokens"] for turn in turns] == [120, 0]
    session = named(spans, "WebSocket Session").attributes
    assert session["voicespan.session.fresh_input_tokens"] == 120
    assert session["voicespan.session.rebilled_input_tokens"] == 120


def test_a_stall_is_told_as_it_is_found_and_marks_its_turn() -> None:
    recorder = Recorder()
    spans = tell("ON cc ~ BYE", recorder=recorder)
    turn = named(spans, "Turn 1")
    assert turn.status == "UNSET"
    assert turn.attributes["voicespan.turn.end_reason"] == "stalled"
    assert turn.attributes["voicespan.turn.stall_kind"] == "no_answer"
    assert turn.attributes["langfuse.observation.level"] == "WARNING"
    [stall] = [record for record in recorder.logs() if record.event_name == "voicespan.stall"]
    assert stall.severity == "WARN"
    assert stall.attributes["voicespan.turn.stall_kind"] == "no_answer"


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
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer, stall_after_s=0.3)
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


def test_the_session_says_at_every_turn_how_far_it_has_come() -> None:
    """What is known of a session whose process dies is what stands on its span by then."""
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    for event, at in events("ON cc CALL1 RESP1 A GC U TC"):
        session.feed(event, session.began_ns + at)
    open_span = trace.get_current_span(session.context)
    assert isinstance(open_span, ReadableSpan)
    known = open_span.attributes or {}
    assert (known["voicespan.session.turns"], known["voicespan.session.tool_calls"]) == (1, 1)
    assert known["voicespan.session.cost"] == pytest.approx(5.2e-4)
    session.close(Close(1000, "", "client"))


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
    for event, at in events(TWO_TURNS):
        session.feed(event, session.began_ns + at)
    assert session.totals.turns == 2
    assert session.totals.usage.total == 300
    measured = {metric.name: sum(point.value for point in metric.points) for metric in recorder.measured()}
    assert measured["voicespan.turns"] == 2
    assert measured["voicespan.cost"] == pytest.approx(2 * 5.2e-4)
    [summary] = [record for record in recorder.logs() if record.event_name == "voicespan.session.summary"]
    assert summary.attributes["voicespan.session.cost"] == pytest.approx(2 * 5.2e-4)
