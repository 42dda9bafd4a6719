"""The comparison that `verify-live` prints: what arrived as it was sent passes, what did not fails by its name."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from langfuse.api import ObservationV2
from langfuse.api.core.pydantic_utilities import parse_obj_as

from support.http_server import Request
from support.langfuse_api import LangfuseApi
from support.langfuse_rows import row_of
from support.otlp_client import Plain, make_span, traces_request
from support.received import ReceivedSpan, decode_traces
from support.stores import stored
from voicespan.langfuse import LangfuseError, SessionSums
from voicespan.sdk.reading import StoredSpan
from voicespan.session_scores import Score
from voicespan_server.verify_fields import (
    Field,
    expected,
    score_fields,
    score_names_field,
    session_fields,
    trace_fields,
    unreadable_field,
)

SECOND = 10**9
START = 1_790_000_000 * SECOND
EVERYWHERE: dict[str, Plain] = {
    "session.id": "s-7",
    "user.id": "u-1",
    "langfuse.trace.name": "Voice Session",
    "langfuse.trace.tags": ["voice"],
}
TURN: dict[str, Plain] = {
    **EVERYWHERE,
    "langfuse.observation.type": "generation",
    "langfuse.observation.model.name": "gemini-3.8-live",
    "langfuse.observation.usage_details": '{"input_audio":30,"output_audio":12,"total":42}',
    "langfuse.observation.cost_details": '{"input_audio":0.25,"output_audio":0.5,"total":0.75}',
    "langfuse.observation.completion_start_time": "2026-09-21T14:13:21.500000Z",
    "langfuse.observation.input": '[{"role":"user","content":"a park?"}]',
    "langfuse.observation.output": '[{"role":"assistant","content":"There."}]',
    "voicespan.time_to_first_audio": 0.5,
}
SESSION: dict[str, Plain] = {
    **EVERYWHERE,
    "langfuse.observation.type": "agent",
    "voicespan.entry": True,
    "langfuse.observation.metadata.turns": 1,
    "langfuse.observation.metadata.time_to_first_audio.p50": 0.5,
    "langfuse.observation.metadata.close_reason": "bye",
}
TOOL: dict[str, Plain] = {
    **EVERYWHERE,
    "langfuse.observation.type": "tool",
    "langfuse.observation.input": '{"query":"park"}',
}
RESOURCE: dict[str, Plain] = {"deployment.environment.name": "test", "service.version": "1.0"}


def received() -> list[ReceivedSpan]:
    spans = [
        make_span("WebSocket Session", 2, 0, trace_id=1, start_ns=START, end_ns=START + 9 * SECOND, attributes=SESSION),
        make_span("Turn 1", 3, 2, trace_id=1, start_ns=START + SECOND, end_ns=START + 4 * SECOND, attributes=TURN),
        make_span("tool-search", 4, 3, trace_id=1, start_ns=START + SECOND, end_ns=START + 2 * SECOND, attributes=TOOL),
    ]
    return decode_traces(traces_request(spans, RESOURCE), 0)


def sent(span: ReceivedSpan) -> StoredSpan:
    # What the collector makes a root was a child of the upgrade's span.
    return replace(stored(span), parent_id=span.parent_span_id or "0" * 15 + "1")


SENT = expected([sent(span) for span in received()])


def arrived() -> list[ObservationV2]:
    """By the stand-in's API, every group of fields."""
    api = LangfuseApi()
    api.add_rows([row_of(span) for span in received()])
    fields = "core,basic,time,io,metadata,model,usage,metrics,trace_context"
    answer = api.respond(Request("GET", f"/api/public/v2/observations?fields={fields}", {}, b"", 0))
    return [parse_obj_as(ObservationV2, row) for row in json.loads(answer.body)["data"]]


def failed(rows: list[ObservationV2]) -> list[str]:
    return [field.name for field in trace_fields(SENT, rows, "test", "1.0") if not field.passed]


def with_change(name: str, change: dict[str, Any]) -> list[ObservationV2]:
    return [row.model_copy(update=change) if row.name == name else row for row in arrived()]


def test_what_arrived_as_it_was_sent_passes() -> None:
    fields = trace_fields(SENT, arrived(), "test", "1.0")
    assert failed(arrived()) == []
    assert len(fields) > 30
    assert len({field.name for field in fields}) == len(fields)


def test_the_upgrades_span_and_what_has_no_session_are_not_expected() -> None:
    upgrade = StoredSpan(
        "1", "1", "", "Voice Session", "SERVER", 0, 1, "UNSET", "", {"session.id": "s", "http.request.method": "GET"}
    )
    other = StoredSpan("1", "2", "", "GET", "CLIENT", 0, 1, "UNSET", "", {})
    assert expected([upgrade, other]) == []


@pytest.mark.parametrize(
    ("name", "change", "fails"),
    [
        ("Turn 1", {"name": "search"}, ["observations", "tree"]),
        ("Turn 1", {"parent_observation_id": None}, ["tree"]),
        ("Turn 1", {"is_root_observation": True}, ["root"]),
        ("Turn 1", {"session_id": None}, ["session id"]),
        ("tool-search", {"user_id": None}, ["user id"]),
        ("Turn 1", {"trace_name": "Turn 1"}, ["trace name"]),
        ("Turn 1", {"tags": []}, ["tags"]),
        ("Turn 1", {"environment": "default"}, ["environment"]),
        ("Turn 1", {"version": None}, ["version"]),
        ("WebSocket Session", {"type": "GENERATION"}, ["WebSocket Session: type"]),
        ("Turn 1", {"latency": 3000.0}, ["Turn 1: latency"]),
        ("Turn 1", {"status_message": "no"}, ["Turn 1: status message"]),
        ("Turn 1", {"model": "models/gemini-3.8-live"}, ["Turn 1: model"]),
        ("Turn 1", {"usage_details": {"input_audio": 30, "total": 42}}, ["Turn 1: usage"]),
        ("Turn 1", {"cost_details": {"total": 0.75}}, ["Turn 1: cost"]),
        ("Turn 1", {"total_cost": None}, ["Turn 1: cost total"]),
        ("Turn 1", {"total_cost": 0.7500001}, ["Turn 1: cost total"]),
        ("Turn 1", {"completion_start_time": None}, ["Turn 1: completion start"]),
        ("Turn 1", {"time_to_first_token": None}, ["Turn 1: time to first token"]),
        ("Turn 1", {"time_to_first_token": 500.0}, ["Turn 1: time to first token"]),
        ("Turn 1", {"input": "a park?"}, ["Turn 1: input"]),
        ("Turn 1", {"output": None}, ["Turn 1: output"]),
        ("tool-search", {"input": "park"}, ["tool-search: input"]),
        (
            "WebSocket Session",
            {"metadata": {"time_to_first_audio.p50": 0.5}},
            ["WebSocket Session: metadata turns"],
        ),
    ],
)
def test_what_arrived_otherwise_fails_by_its_name(name: str, change: dict[str, Any], fails: list[str]) -> None:
    assert failed(with_change(name, change)) == fails


def test_what_did_not_arrive_fails() -> None:
    fields = trace_fields(SENT, [], "test", "1.0")
    assert not any(field.passed for field in fields)
    assert [field.name for field in fields][-3:] == ["WebSocket Session", "Turn 1", "tool-search"]


def test_what_came_twice_fails() -> None:
    assert "observations" in failed([*arrived(), arrived()[0]])


def test_values_may_come_parsed_nested_or_as_text() -> None:
    assert failed(with_change("Turn 1", {"input": [{"role": "user", "content": "a park?"}]})) == []
    nested = {"turns": "1", "time_to_first_audio": {"p50": 0.5}}
    assert failed(with_change("WebSocket Session", {"metadata": nested})) == []


def test_a_duration_below_a_millisecond_may_be_nothing() -> None:
    short = expected([replace(span, end_ns=span.start_ns + 400_000) for span in SENT if span.name == "tool-search"])
    rows = [row.model_copy(update={"latency": None, "parent_observation_id": None}) for row in arrived()]
    by_name = {field.name: field.passed for field in trace_fields(short, rows, "test", "1.0")}
    assert by_name["tool-search: latency"]
    assert not {field.name: field.passed for field in trace_fields(SENT, rows, "test", "1.0")}["Turn 1: latency"]


def test_a_time_without_a_zone_is_utc() -> None:
    assert failed(with_change("Turn 1", {"completion_start_time": datetime(2026, 9, 21, 14, 13, 21, 500_999)})) == []


def test_what_cannot_be_read_is_a_field_that_fails() -> None:
    found = unreadable_field("score", LangfuseError("HTTP 404 not enabled"))
    assert (found.name, found.arrived, found.passed) == ("score", "HTTP 404 not enabled", False)


def test_sums_and_scores_are_compared_too() -> None:
    assert all(field.passed for field in session_fields(SENT, SessionSums(3, 0.75)))
    doubled = session_fields(SENT, SessionSums(6, 1.5))
    assert [field.passed for field in doubled] == [False, False]
    score = Score("verify_live", 1.0)
    assert score_fields([score], {"verify_live": 1}) == [Field("score: verify_live", 1.0, 1, True)]
    assert not score_fields([score], {})[0].passed
    assert not score_names_field({"completion"}, set()).passed
