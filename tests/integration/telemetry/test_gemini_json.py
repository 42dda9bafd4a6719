"""Wire frames without google-genai mean what google-genai's messages mean."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from google.genai import _live_converters as converters
from google.genai import types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.examples import examples
from support.played import MODELS, SCENARIOS, played
from support.telling import IDENTITY, MODEL, Recorder
from voicespan import Close, GeminiJson, GeminiTranslator, VoiceSession
from voicespan import events as ev
from voicespan_simulator.dialect import VERTEX


def typed(message: Mapping[str, Any], *, vertex: bool) -> types.LiveServerMessage:
    """As google-genai's `_receive` makes it."""
    convert = converters._LiveServerMessage_from_vertex if vertex else converters._LiveServerMessage_from_mldev
    return types.LiveServerMessage._from_response(response=convert(dict(message)), kwargs={})


HAS_STATUS = "interaction_status" in types.LiveServerContent.model_fields
NEWEST, *OTHERS = MODELS


@pytest.mark.parametrize(
    ("scenario", "model"),
    [(scenario, NEWEST) for scenario in SCENARIOS if HAS_STATUS or scenario != "in_progress"]
    + [(scenario, model) for scenario in ("parallel_tools", "non_blocking", "usage_reports") for model in OTHERS],
)
async def test_both_agree_on_every_message_of_the_simulator(scenario: str, model: str) -> None:
    translator, wire = GeminiTranslator(), GeminiJson()
    told = 0
    async for message in played(scenario, model):
        events = translator.events(typed(message, vertex=MODELS[model] is VERTEX))
        assert wire.received(json.dumps(message).encode()) == events
        told += len(events)
    assert told or scenario in {"no_answer", "silence", "rejected", "close_1007", "close_1008"}


snake = re.compile(r"(?<!^)(?=[A-Z])")


def recased(value: Any, cases: list[bool]) -> Any:
    """Keys in either case, as `cases` says in turn; what the program itself wrote stays."""
    if isinstance(value, list):
        return [recased(item, cases) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, item in value.items():
        cases.append(cases.pop(0))
        name = snake.sub("_", key).lower() if cases[-1] else key
        found[name] = item if key == "args" else recased(item, cases)
    return found


words = st.text("a é", max_size=3)
audio = st.binary(min_size=2, max_size=64).map(
    lambda pcm: {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": base64.b64encode(pcm * 30).decode()}}
)
parts = st.one_of(audio, st.fixed_dictionaries({"text": words}), st.just({"text": "hm", "thought": True}))
details = st.lists(
    st.fixed_dictionaries(
        {"modality": st.sampled_from(["TEXT", "AUDIO", "IMAGE", "VIDEO", "DOCUMENT"]), "tokenCount": st.integers(0, 99)}
    ),
    max_size=3,
)
tokens = st.integers(0, 999)
usages = st.fixed_dictionaries(
    {},
    optional={
        "promptTokenCount": tokens,
        "promptTokensDetails": details,
        "cachedContentTokenCount": tokens,
        "cacheTokensDetails": details,
        "responseTokenCount": tokens,
        "responseTokensDetails": details,
        "toolUsePromptTokenCount": tokens,
        "thoughtsTokenCount": tokens,
        "totalTokenCount": tokens,
    },
)
contents = st.fixed_dictionaries(
    {},
    optional={
        "modelTurn": st.fixed_dictionaries({"parts": st.lists(parts, max_size=3)}),
        "inputTranscription": st.fixed_dictionaries({}, optional={"text": words, "finished": st.booleans()}),
        "outputTranscription": st.fixed_dictionaries({}, optional={"text": words}),
        "generationComplete": st.booleans(),
        "turnComplete": st.booleans(),
        "interrupted": st.booleans(),
        "waitingForInput": st.booleans(),
        # google-genai has it from 2.18 on.
        **({"interactionStatus": st.sampled_from(["IN_PROGRESS", "IDLE"])} if HAS_STATUS else {}),
        "turnCompleteReason": st.sampled_from(["RESPONSE_REJECTED", "TURN_COMPLETE_REASON_UNSPECIFIED"]),
        "groundingMetadata": st.just({"webSearchQueries": ["a", "b"]}),
    },
)
calls = st.fixed_dictionaries(
    {"name": st.sampled_from(["search", "book"])},
    optional={"id": st.text("abc", min_size=1, max_size=3), "args": st.just({"maxPrice": {"inEuro": 3}})},
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "serverContent": contents,
        "toolCall": st.fixed_dictionaries({"functionCalls": st.lists(calls, max_size=2)}),
        "toolCallCancellation": st.just({"ids": ["a", "b"]}),
        "usageMetadata": usages,
        "goAway": st.sampled_from([{"timeLeft": "9.5s"}, {"timeLeft": "soon"}, {}]),
        "sessionResumptionUpdate": st.just({"newHandle": "h", "resumable": True}),
        "voiceActivity": st.sampled_from([{"type": "ACTIVITY_START"}, {"type": "ACTIVITY_END", "audioOffset": "1s"}]),
    },
)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(messages, max_size=2), st.lists(st.booleans(), min_size=1, max_size=20))
def test_both_agree_on_any_message_in_either_case(sent: list[dict[str, Any]], cases: list[bool]) -> None:
    translator, wire = GeminiTranslator(), GeminiJson()
    for message in sent:
        expected = translator.events(typed(message, vertex=False))
        assert wire.received(json.dumps(recased(message, cases))) == expected


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_frame_may_come_in_a_buffer(kind: type[bytes | bytearray]) -> None:
    assert GeminiJson().received(kind(b'{"goAway": {"timeLeft": "9s"}}')) == [ev.GoAway(9)]


@pytest.mark.parametrize("frame", ["{", b"\xff\xfe\x00", "[]", "3", "[" * 100_000])
def test_a_frame_that_is_no_message_says_so(frame: str | bytes) -> None:
    assert GeminiJson().received(frame) == [ev.Unreadable("not_json")]


@pytest.mark.parametrize(
    "frame", [{"serverContent": 3}, {"serverContent": {"modelTurn": {"parts": [{"inlineData": 1}]}}}]
)
def test_a_message_of_another_shape_says_so(frame: dict[str, Any]) -> None:
    assert GeminiJson().received(frame) == [ev.Unreadable("AttributeError")]


@pytest.mark.parametrize(
    "frame",
    [
        {"serverContent": {"inputTranscription": {"text": 5}}},
        {"serverContent": {"modelTurn": {"parts": [{"text": ["a"]}]}}},
        {"toolCall": {"functionCalls": [{"id": "1", "name": {"a": 1}}]}},
    ],
)
def test_what_should_be_text_and_is_none_is_another_shape(frame: dict[str, Any]) -> None:
    assert GeminiJson().received(frame) == [ev.Unreadable("TypeError")]


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        {"realtimeInput": "hello"},
        {"clientContent": [1]},
        {"toolResponse": {"functionResponses": [None]}},
        {"toolResponse": {"functionResponses": [{"id": "1", "response": "two minutes"}]}},
        {"toolResponse": {"functionResponses": [{"id": "1", "response": {}, "scheduling": 3}]}},
    ],
)
def test_what_the_service_will_refuse_says_nothing(frame: str | dict[str, Any]) -> None:
    assert GeminiJson().sent(frame) == []


def test_an_empty_frame_says_nothing() -> None:
    assert GeminiJson().received(b"") == []


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ({"realtimeInput": {"text": "Hello"}}, [ev.UserText("Hello")]),
        ({"realtime_input": {"activityStart": {}}}, [ev.ActivityStart("client")]),
        ({"realtime_input": {"activity_end": {}}}, [ev.ActivityEnd("client")]),
        ({"realtimeInput": {"audioStreamEnd": True}}, [ev.AudioStreamEnd()]),
        ({"realtimeInput": {"audio": {"data": "AAAA", "mimeType": "audio/pcm"}}}, []),
        ({"setup": {"model": "models/gemini-3.8-live"}}, []),
        (
            {
                "clientContent": {
                    "turns": [{"role": "user", "parts": [{"text": "A"}, {"text": "B"}]}],
                    "turnComplete": True,
                }
            },
            [ev.UserText("A\nB")],
        ),
        ({"client_content": {"turns": [{"parts": [{"text": "A"}]}], "turn_complete": False}}, []),
        (
            {
                "clientContent": {
                    "turns": [
                        {"role": "user", "parts": [{"text": "old"}]},
                        {"role": "model", "parts": [{"text": "answer"}]},
                        {"role": "user", "parts": [{"text": "new"}]},
                    ],
                    "turnComplete": True,
                }
            },
            [ev.UserText("new")],
        ),
        (
            {"toolResponse": {"functionResponses": [{"id": "1", "name": "x", "response": {"maxPrice": 3}}]}},
            [ev.ToolResponse("1", ev.ToolOutcome.OK, {"maxPrice": 3})],
        ),
        (
            {
                "tool_response": {
                    "function_responses": {
                        "id": "1",
                        "name": "x",
                        "response": {"error": "no"},
                        "scheduling": "SILENT",
                        "willContinue": True,
                    }
                }
            },
            [ev.ToolResponse("1", ev.ToolOutcome.ERROR, {"error": "no"}, "no", "silent", final=False)],
        ),
    ],
)
def test_what_a_program_sends(frame: dict[str, Any], expected: list[ev.Event]) -> None:
    assert GeminiJson().sent(json.dumps(frame)) == expected


def test_a_frame_may_hold_the_sdks_enumerations() -> None:
    answer = {"id": "1", "response": {}, "scheduling": types.FunctionResponseScheduling.SILENT}
    [event] = GeminiJson().sent({"tool_response": {"function_responses": [answer]}})
    assert event == ev.ToolResponse("1", ev.ToolOutcome.OK, {}, scheduling="silent")


def test_a_seed_of_history_is_no_word() -> None:
    wire = GeminiJson(seeds_history=True)
    seed = {"clientContent": {"turns": [{"parts": [{"text": "Earlier."}]}], "turnComplete": True}}
    assert wire.sent(seed) == []
    assert wire.sent(seed) == [ev.UserText("Earlier.")]


def test_calls_without_ids_are_answered_in_order_by_name() -> None:
    wire = GeminiJson()
    calls = [{"name": "a"}, {"name": "b"}, {"name": "a"}]
    asked = [e.call_id for e in wire.received({"toolCall": {"functionCalls": calls}}) if isinstance(e, ev.ToolCall)]
    answers = [{"name": name, "response": {}} for name in ("b", "a", "a", "c")]
    answered = wire.sent({"toolResponse": {"functionResponses": answers}})
    assert [e.call_id for e in answered if isinstance(e, ev.ToolResponse)] == [asked[1], asked[0], asked[2]]


def test_half_a_character_in_a_tools_name_or_a_calls_id_does_not_cost_the_span() -> None:
    call_id = "1 \ud800"
    recorder, wire = Recorder(), GeminiJson()
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    called = {"toolCall": {"functionCalls": [{"id": call_id, "name": "na\udfffme", "args": {}}]}}
    answered = {"functionResponses": [{"id": call_id, "name": "na\udfffme", "response": {"found": 1}}]}
    cancelled = {"toolCallCancellation": {"ids": [call_id]}}
    for event in [*wire.received(called), *wire.sent({"toolResponse": answered})]:
        session.feed(event)
    for event in [*wire.received(called), *wire.received(cancelled)]:
        session.feed(event)
    session.close(Close(1000, "bye", "client"))
    spans = recorder.spans()
    assert sorted(span.name for span in spans) == ["Turn 1", "WebSocket Session", "tool-na\ufffdme", "tool-na\ufffdme"]
    outcomes = {span.attributes["voicespan.tool.outcome"] for span in spans if span.name.startswith("tool-")}
    assert outcomes == {"ok", "cancelled"}
