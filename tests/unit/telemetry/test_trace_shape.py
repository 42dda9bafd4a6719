"""The trace in other shapes: a trace for each turn, spans for generations, for speech, for tools that do not block."""

import json

import pytest

from support.story import events
from support.telling import IDENTITY, MODEL, Recorder, named, tell
from voicespan import Capture, Close, TraceShape, VoiceSession
from voicespan import events as ev

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


@pytest.mark.parametrize(
    "story", ["ON cc TC+ u A GC TC BYE", "ON cc U TC+ A GC U TC BYE", "ON cc WAIT u A GC U TC BYE"]
)
def test_what_is_reported_before_the_first_output_is_on_the_first_generation(story: str) -> None:
    """The generations' tokens are the session's."""
    spans = tell(story, shape=TraceShape(generation_spans=True))
    details = [span.attributes.get("langfuse.observation.usage_details") for span in spans]
    total = sum(json.loads(str(each))["total"] for each in details if each)
    session = named(spans, "WebSocket Session").attributes
    assert (
        json.loads(str(session["voicespan.session.usage_details"]))["total"] == total == 150 * story.lower().count("u")
    )
