"""The spans that a session leaves: their tree, what stands on them, and what never does."""

import json

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from support import langfuse_contract
from support.received import render_tree
from support.story import events
from support.telling import IDENTITY, MODEL, Recorder, named, tell
from voicespan import Capture, Close, TraceShape, VoiceSession
from voicespan import events as ev
from voicespan.events import ToolOutcome

ASKED = {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "server.address", "server.port"}
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


@pytest.mark.parametrize("generation_spans", [False, True])
def test_an_answer_that_was_written_is_no_speech(*, generation_spans: bool) -> None:
    recorder = Recorder()
    shape = TraceShape(generation_spans=generation_spans)
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer, shape=shape)
    answers: list[tuple[ev.Event, ...]] = [
        (ev.ModelText("written"),),
        (ev.ModelText("shown"), ev.ModelAudio(0.5)),
        (ev.OutputTranscript("said, though nothing was heard"),),
    ]
    for answer in answers:
        for event in (ev.UserText("typed"), *answer, ev.TurnComplete()):
            session.feed(event)
    session.close(Close(1000))
    spans = sorted(recorder.spans(), key=lambda span: span.start_ns)
    told = [span.attributes["gen_ai.output.type"] for span in spans if "gen_ai.output.type" in span.attributes]
    assert told == ["text", "speech", "speech"]


def test_chunks_of_audio_add_up_without_digits_that_nobody_measured() -> None:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    for event in (ev.UserText("typed"), *[ev.ModelAudio(0.2)] * 10, ev.TurnComplete()):
        session.feed(event)
    session.close(Close(1000))
    turn, told = named(recorder.spans(), "Turn 1"), named(recorder.spans(), "WebSocket Session")
    assert turn.attributes["voicespan.audio.output_duration"] == 2.0
    assert told.attributes["voicespan.session.output_audio_duration"] == 2.0


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


def test_the_conversation_is_in_order_also_where_a_turn_waited_for_its_tool() -> None:
    recorder = Recorder()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer, capture=Capture(on_spans=True))
    said = iter(["one", "two", "three"])
    for event, at_ns in events("ON cc CALL1 A GC U TC cc A GC U TC RESP1 cc A GC U TC BYE"):
        told = ev.UserText(next(said)) if isinstance(event, ev.UserText) else event
        session.feed(told, session.began_ns + at_ns)
    spans = recorder.spans()

    def asked(name: str) -> list[str]:
        messages = json.loads(str(named(spans, name).attributes["langfuse.observation.input"]))
        return [message["content"] for message in messages if message["role"] == "user"]

    assert asked("Turn 1") == ["one"]
    assert asked("Turn 2") == ["two"], "of the first nothing was told yet"
    assert asked("Turn 3") == ["one", "two", "three"]
    assert asked("WebSocket Session") == ["one", "two", "three"]


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
    spans = recorder.spans()
    for span in spans:
        for name, value in span.attributes.items():
            assert len(str(value)) < 300_000, f"{span.name} {name}"
    whole = named(spans, "WebSocket Session")
    said = json.loads(str(whole.attributes["langfuse.observation.input"]))
    assert said[0] == {"role": "system", "content": "Be brief."}
    assert said[-1]["left_out"] > 0


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


@pytest.mark.parametrize(("generation_spans", "asks"), [(False, "Turn 1"), (True, MODEL.name)])
def test_a_span_that_asks_a_model_says_which_from_its_start(*, generation_spans: bool, asks: str) -> None:
    at_start: dict[str, set[str]] = {}

    class Seeing(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            at_start[span.name.removeprefix("realtime_inference ")] = set(span.attributes or ())

    recorder = Recorder()
    recorder.provider.add_span_processor(Seeing())
    tell("cc A GC U TC BYE", recorder=recorder, shape=TraceShape(generation_spans=generation_spans))
    assert {name for name, known in at_start.items() if known >= ASKED} == {asks}


@pytest.mark.parametrize(("says", "reasons"), [("A T", ["tool_call", "stop"]), ("", ["tool_call"])])
def test_a_message_that_calls_a_tool_ended_for_that(says: str, reasons: list[str]) -> None:
    turn = named(tell(f"cc CALL1 RESP1 {says} U TC BYE"), "Turn 1").attributes
    messages = json.loads(str(turn["gen_ai.output.messages"]))
    assert [message["finish_reason"] for message in messages] == reasons
    assert turn["gen_ai.response.finish_reasons"] == reasons[-1:]


def test_no_text_is_prepared_for_a_session_that_is_not_sampled() -> None:
    prepared: list[str] = []

    def masked(text: str) -> str:
        prepared.append(text)
        return "masked"

    def told(provider: TracerProvider, *, on_events: bool) -> list[str]:
        prepared.clear()
        capture = Capture(on_spans=True, on_events=on_events, redact=masked)
        session = VoiceSession(IDENTITY, MODEL, tracer=provider.get_tracer("voicespan"), capture=capture)
        for event, _ in events(CALL):
            session.feed(event)
        return prepared

    unsampled = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    assert not told(unsampled, on_events=False)
    assert told(unsampled, on_events=True), "log events are sampled by whoever takes them"
    assert told(TracerProvider(shutdown_on_exit=False), on_events=False)
