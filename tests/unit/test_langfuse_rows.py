"""The stand-in makes of a span what Langfuse makes of it."""

from __future__ import annotations

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.langfuse_rows import Row, row_of
from support.otlp_client import Plain, make_span, traces_request
from support.received import decode_traces

START_NS = 1_790_000_000_123_999_999


def row(
    attributes: dict[str, Plain] | None = None,
    *,
    name: str = "Turn 1",
    parent: int = 2,
    resource: dict[str, Plain] | None = None,
    error: str | None = None,
) -> Row:
    span = make_span(
        name, 4, parent, trace_id=1, start_ns=START_NS, end_ns=START_NS + 2_000_000_000, attributes=attributes,
        error=error,
    )  # fmt: skip
    return row_of(decode_traces(traces_request([span], resource), 0)[0])


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, "SPAN"),
        ({"gen_ai.request.model": "gemini-3.8-live"}, "GENERATION"),
        ({"gen_ai.tool.call.id": "c-1", "gen_ai.request.model": "m"}, "TOOL"),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.tool.name": "t"}, "AGENT"),
        ({"gen_ai.operation.name": "realtime", "gen_ai.tool.name": "t"}, "TOOL"),
        ({"langfuse.observation.type": "agent", "gen_ai.operation.name": "generate_content"}, "AGENT"),
        ({"langfuse.observation.type": "Agent", "gen_ai.operation.name": "generate_content"}, "GENERATION"),
    ],
)
def test_the_type_is_what_is_said_first(attributes: dict[str, Plain], expected: str) -> None:
    assert row(attributes).type == expected


def test_a_tools_name_takes_the_place_of_the_spans() -> None:
    assert row(name="tool-search_nearby").name == "tool-search_nearby"
    assert row({"gen_ai.tool.name": "search_nearby"}, name="tool-search_nearby").name == "search_nearby"


def test_identity_stands_on_the_span_or_nowhere() -> None:
    on_resource = row(resource={"session.id": "s", "user.id": "u", "langfuse.trace.name": "T"})
    assert (on_resource.session_id, on_resource.user_id, on_resource.trace_name) == (None, None, None)
    spoken = row({"session.id": "s", "gen_ai.conversation.id": "c", "user.id": "u", "langfuse.trace.name": "T"})
    assert (spoken.session_id, spoken.user_id, spoken.trace_name) == ("s", "u", "T")
    assert row({"gen_ai.conversation.id": "c"}).session_id == "c"


def test_a_span_without_parent_is_a_root_and_names_the_trace() -> None:
    root = row(name="WebSocket Session", parent=0)
    assert (root.is_root, root.trace_name) == (True, "WebSocket Session")
    assert not row().is_root


@pytest.mark.parametrize("said", [["voice", "gemini"], '["voice", "gemini"]', "voice, gemini"])
def test_tags_are_read_in_three_shapes(said: Plain) -> None:
    assert row({"langfuse.trace.tags": said}).tags == ("voice", "gemini")


@pytest.mark.parametrize(
    ("attributes", "resource", "expected"),
    [
        ({}, {}, "default"),
        ({}, {"deployment.environment.name": "Production"}, "production"),
        ({}, {"deployment.environment.name": "Dev.EU"}, "default"),
        ({}, {"deployment.environment.name": "x" * 50}, "x" * 40),
        ({"deployment.environment.name": "a"}, {"deployment.environment.name": "b"}, "a"),
        ({"deployment.environment.name": "a"}, {"langfuse.environment": "b"}, "b"),
    ],
)
def test_an_environment_is_taken_by_its_rules(
    attributes: dict[str, Plain], resource: dict[str, Plain], expected: str
) -> None:
    assert row(attributes, resource=resource).environment == expected


def test_version_and_release_are_two_things() -> None:
    found = row(resource={"service.version": "0.1.0", "langfuse.release": "r-1"})
    assert (found.version, found.release) == ("0.1.0", "r-1")
    assert row(resource={"service.version": "0.1.0"}).release is None


def test_the_level_is_said_or_the_statuss() -> None:
    assert row().level == "DEFAULT"
    failed = row(error="no answer from the map")
    assert (failed.level, failed.status_message) == ("ERROR", "no answer from the map")
    assert row({"langfuse.observation.level": "warn"}, error="x").level == "WARNING"


def test_one_source_of_input_and_output_shuts_the_others_out() -> None:
    semconv = {"gen_ai.input.messages": "[1]", "gen_ai.output.messages": "[2]"}
    assert (row(semconv).input, row(semconv).output) == ("[1]", "[2]")
    said = row({**semconv, "langfuse.observation.input": "[3]"})
    assert (said.input, said.output) == ("[3]", None)
    assert row({"gen_ai.tool.call.arguments": "{}"}).input == "{}"


def test_tool_calls_are_seen_in_openais_shape_only() -> None:
    openai = '[{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"search"}}]}]'
    parts = '[{"role":"assistant","parts":[{"type":"tool_call","name":"search"}]}]'
    assert row({"langfuse.observation.output": openai}).tool_calls == ("search",)
    assert row({"gen_ai.output.messages": parts}).tool_calls == ()


def test_usage_is_whole_numbers_and_has_a_total() -> None:
    said = row({"langfuse.observation.usage_details": '{"input_text":3,"output_audio":"4","bad":1.5,"worse":-1}'})
    assert said.usage == {"input_text": 3, "output_audio": 4, "total": 7}
    assert (said.input_usage, said.output_usage) == (3, 4)


def test_overlapping_buckets_are_counted_twice() -> None:
    overlapping = '{"input":1200,"input_audio":1000,"input_text":200}'
    assert row({"langfuse.observation.usage_details": overlapping}).input_usage == 2400


def test_an_invented_usage_attribute_adds_a_bucket() -> None:
    known: dict[str, Plain] = {
        "gen_ai.usage.input_tokens": 300,
        "gen_ai.usage.output_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 50,
        "gen_ai.usage.reasoning.output_tokens": 20,
    }
    assert row(known).usage == {
        "input": 250, "output": 80, "input_cached_tokens": 50, "output_reasoning_tokens": 20, "total": 400,
    }  # fmt: skip
    assert row({**known, "gen_ai.usage.input_audio_tokens": 200}).usage["total"] == 600
    details = {"langfuse.observation.usage_details": '{"input_text":1,"total":1}'}
    assert row({**known, **details, "gen_ai.usage.input_audio_tokens": 200}).usage == {"input_text": 1, "total": 1}


def test_a_cost_without_total_counts_nothing() -> None:
    parts = row({"langfuse.observation.cost_details": '{"input_audio":0.1,"output_audio":0.2}'})
    assert (parts.cost, parts.total_cost) == ({"input_audio": 0.1, "output_audio": 0.2}, None)
    assert row({"langfuse.observation.cost_details": '{"total":0.3}'}).total_cost == 0.3
    assert row({"langfuse.observation.cost_details": 0.3}).cost == {}


def test_an_agents_sums_are_dropped() -> None:
    attributes: dict[str, Plain] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.request.model": "m",
        "langfuse.observation.usage_details": '{"total":1}',
        "langfuse.observation.cost_details": '{"total":1}',
    }
    found = row(attributes)
    assert (found.usage, found.cost, found.model) == ({}, {}, None)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("2026-09-21T14:13:20.823000Z", 0.7),
        ('"2026-09-21T14:13:20.823Z"', 0.7),
        (1_790_000_000_823_000_000, None),
        ("soon", None),
    ],
)
def test_time_to_first_token_counts_from_the_start_in_milliseconds(said: Plain, seconds: float | None) -> None:
    found = row({"langfuse.observation.completion_start_time": said})
    assert found.time_to_first_token_s == seconds
    assert found.latency_s == 2.0


def test_metadata_that_is_named_stands_on_top_and_all_else_below() -> None:
    found = row(
        {"langfuse.observation.metadata.turns": 3, "langfuse.observation.type": "agent", "voicespan.turn.index": 1},
        resource={"service.name": "voicespan"},
    ).metadata
    assert found == {
        "turns": 3,
        "attributes.voicespan.turn.index": 1,
        "resourceAttributes.service.name": "voicespan",
        "scope.name": "voicespan",
    }


def test_model_parameters_are_the_requests_but_for_its_model() -> None:
    found = row({"gen_ai.request.model": "m", "gen_ai.request.temperature": 0.5})
    assert (found.model, found.model_parameters) == ("m", {"temperature": 0.5})


def test_span_events_and_kinds_leave_no_mark() -> None:
    events = {"interrupted": {"at": 1}}
    span = make_span("Turn 1", 4, 2, trace_id=1, kind=Span.SPAN_KIND_CLIENT, events=events)
    plain = make_span("Turn 1", 4, 2, trace_id=1)
    first, second = (row_of(decode_traces(traces_request([each]), 0)[0]) for each in (span, plain))
    assert first == second
