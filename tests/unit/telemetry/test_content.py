"""What may leave the process: by mode, nothing that was said, typed, called, returned or told in advance."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from support.story import events
from support.telling import IDENTITY, MODEL, Recorder
from voicespan import Capture, Close, TraceShape, VoiceSession, capture_from_environment
from voicespan import conventions as c
from voicespan import events as ev
from voicespan.content import CAPTURE_VARIABLE, MAX_FIELD, numbers_json, to_json
from voicespan.events import ToolOutcome

CANARY = "xylophone"
STORIES = [
    "ON MIC VAS I VAE CALL1 RESP1 a A T A GC U TC I VAE A GC VAS INT U TC BYE",
    "ON cc CALL1 CALL2 RESP1 CANCEL2 A T GC U TC INT BYE",
    "ON cc ASYNC1 T A GC U TC RESP1+ RESP1! INT U TC T A GC U TC BYE",
    "ON MIC I INT U TC I ~ cc U TC BYE",
    "ON cc T A CUT RE I ~ BYE",
    "ON GA cc CALL1 CUT RE cc A GC TC u CALL1 CALL1 RESP9 ODD DROP BYE",
]
MODES = {
    "NO_CONTENT": (False, False),
    "SPAN_ONLY": (True, False),
    "EVENT_ONLY": (False, True),
    "SPAN_AND_EVENT": (True, True),
}


def spoken(event: ev.Event) -> ev.Event:
    """The same event, with the canary in all that a person, a model or a tool puts into it."""
    match event:
        case ev.UserText() | ev.InputTranscript() | ev.OutputTranscript() | ev.ModelText():
            return replace(event, text=f"{CANARY} ")
        case ev.ToolCall():
            return replace(event, arguments={CANARY: [CANARY]})
        case ev.ToolResponse():
            return replace(event, outcome=ToolOutcome.ERROR, result={"error": CANARY}, error=f"no {CANARY}")
        case _:
            return event


def exported(story: str, capture: Capture, shape: TraceShape) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Every byte of the spans, log events and metrics of a story."""
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    recorder = Recorder()
    session = VoiceSession(
        IDENTITY,
        MODEL,
        tracer=recorder.tracer,
        capture=capture,
        instructions=f"Never say {CANARY}.",
        metrics=recorder.metrics,
        logger=recorder.logger,
        shape=shape,
    )
    for event, at in events(story):
        session.feed(spoken(event), session.began_ns + at)
    session.close(Close(1000, "bye", "client"))
    return (
        [encode_spans([span]).SerializeToString() for span in recorder.finished_spans()],
        [encode_logs([record]).SerializeToString() for record in recorder.finished_logs()],
        [repr(metric).encode() for metric in recorder.measured()],
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [TraceShape(), TraceShape("turn", generation_spans=True, speech_spans=True)], ids=str)
@pytest.mark.parametrize("story", STORIES)
def test_words_leave_where_the_mode_lets_them_and_nowhere_else(story: str, shape: TraceShape, mode: str) -> None:
    capture = capture_from_environment({CAPTURE_VARIABLE: mode})
    spans, logs, metrics = exported(story, capture, shape)
    assert (capture.on_spans, capture.on_events) == MODES[mode]
    assert any(CANARY.encode() in span for span in spans) == capture.on_spans
    assert any(CANARY.encode() in record for record in logs) == capture.on_events
    assert spans
    assert logs
    assert metrics
    assert not any(CANARY.encode() in metric for metric in metrics)


@pytest.mark.parametrize(
    ("asked", "expected"), [("", (False, False)), ("span_only", (True, False)), ("true", (False, False))]
)
def test_a_mode_that_is_not_one_captures_nothing(asked: str, expected: tuple[bool, bool]) -> None:
    capture = capture_from_environment({CAPTURE_VARIABLE: asked})
    assert (capture.on_spans, capture.on_events) == expected


def test_the_event_of_a_turn_holds_what_was_said_in_the_turns_own_context() -> None:
    recorder = Recorder()
    session = VoiceSession(
        IDENTITY, MODEL, tracer=recorder.tracer, capture=Capture(on_events=True), logger=recorder.logger
    )
    for event, at in events("ON cc CALL1 RESP1 A T GC U TC BYE"):
        session.feed(event, session.began_ns + at)
    [turn] = [span for span in recorder.spans() if span.name == "Turn 1"]
    [details] = [record for record in recorder.logs() if record.event_name == c.EVENT_DETAILS]
    assert (details.trace_id, details.span_id) == (turn.trace_id, turn.span_id)
    said = json.loads(str(details.attributes[c.INPUT_MESSAGES]))
    assert said[0] == {"role": "user", "parts": [{"type": "text", "content": "typed"}]}
    assert "answer" in str(details.attributes[c.OUTPUT_MESSAGES])
    assert details.attributes[c.INPUT_TOKENS] == 120


def test_masking_touches_no_id_no_token_and_no_time() -> None:
    """Every text is masked whole here; what is no text stands as it was."""
    recorder, plain = Recorder(), Recorder()
    for each, capture in ((recorder, Capture(True, True, lambda _: "masked")), (plain, Capture())):
        session = VoiceSession(IDENTITY, MODEL, tracer=each.tracer, capture=capture)
        for event, at in events(STORIES[0]):
            session.feed(event, session.began_ns + at)
    content = {*c.SPANS[c.TURN].attributes} & {
        c.LF_INPUT, c.LF_OUTPUT, c.INPUT_MESSAGES, c.OUTPUT_MESSAGES, c.SYSTEM_INSTRUCTIONS,
    } | {c.TOOL_ARGUMENTS, c.TOOL_RESULT}  # fmt: skip
    for masked, bare in zip(recorder.spans(), plain.spans(), strict=True):
        same = {
            name: value for name, value in masked.attributes.items() if name not in content | {c.LF_COMPLETION_START}
        }
        assert {n: v for n, v in bare.attributes.items() if n != c.LF_COMPLETION_START} == same
        assert masked.end_ns - masked.start_ns == bare.end_ns - bare.start_ns or masked.name == "WebSocket Session"


def test_a_long_text_says_how_much_of_it_is_missing() -> None:
    shown = Capture(on_spans=True).text("word " * MAX_FIELD)
    assert len(shown) == MAX_FIELD
    assert shown.endswith(" more characters]")


def test_a_result_that_is_too_long_is_json_all_the_same() -> None:
    shown = Capture(on_spans=True).json({"rows": ['a "quoted" cell'] * 10_000})
    assert len(shown) <= MAX_FIELD
    found = json.loads(shown)
    assert found["beginning"].startswith('{"rows":["a')
    assert found["more_characters"] > 100_000


def test_half_a_character_does_not_cost_the_whole_text() -> None:
    capture = Capture(on_spans=True)
    assert capture.text("caf\ud800é") == "caf\ufffdé"
    assert capture.json({"said": ["a\udfffb"]}) == '{"said":["a\ufffdb"]}'
    assert capture.text("\N{EARTH GLOBE EUROPE-AFRICA}") == "\N{EARTH GLOBE EUROPE-AFRICA}"


@pytest.mark.parametrize("found", [{}, {"input_text": 400, "total": 400}, {"a": 0.0, "b": 1.2e-07, "total": 0.1 + 0.2}])
def test_numbers_are_told_as_other_json_is(found: dict[str, float]) -> None:
    assert numbers_json(found) == to_json(found)
