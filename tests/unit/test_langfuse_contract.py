"""Each rule of Langfuse's contract can fail: a span that breaks one is caught by it, and by it alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from support import langfuse_contract as contract
from support.otlp_client import Plain, make_span, traces_request
from support.received import ReceivedSpan, Value, decode_traces

START_NS = 1_790_000_000 * 10**9
GOOD: dict[str, Plain] = {
    "session.id": "s-7",
    "user.id": "u-1",
    "langfuse.trace.name": "Voice Session",
    "langfuse.trace.tags": ["voice"],
    "langfuse.observation.type": "generation",
    "langfuse.observation.model.name": "gemini-3.8-live",
    "langfuse.observation.usage_details": '{"input_audio":3,"output_audio":4,"total":7}',
    "langfuse.observation.cost_details": '{"input_audio":0.25,"output_audio":0.5,"total":0.75}',
    "langfuse.observation.completion_start_time": "2026-09-21T14:13:20.500000Z",
    "voicespan.time_to_first_audio": 0.5,
    "langfuse.observation.input": '[{"role":"user","content":"a park?"}]',
    "langfuse.observation.output": '[{"role":"assistant","content":"There."}]',
}


def turn(changes: Mapping[str, Value] | None = None, **more: object) -> ReceivedSpan:
    """A good turn, but for these; an attribute that is None is left out."""
    span = make_span("Turn 1", 3, 2, trace_id=1, start_ns=START_NS, end_ns=START_NS + 10**9, attributes=GOOD)
    [found] = decode_traces(traces_request([span]), 0)
    attributes = {key: value for key, value in {**found.attributes, **(changes or {})}.items() if value is not None}
    return replace(found, attributes=attributes, **more)  # type: ignore[arg-type]


def session(cost: float = 0.75, **more: object) -> ReceivedSpan:
    attributes: dict[str, Plain] = {
        **{key: GOOD[key] for key in ("session.id", "user.id", "langfuse.trace.name", "langfuse.trace.tags")},
        "langfuse.observation.type": "agent",
        "langfuse.observation.metadata.cost": cost,
    }
    span = make_span("WebSocket Session", 2, trace_id=1, start_ns=START_NS, end_ns=START_NS + 2 * 10**9)
    [found] = decode_traces(traces_request([span]), 0)
    return replace(found, attributes=attributes, **more)  # type: ignore[arg-type]


def broken(span: ReceivedSpan) -> list[str]:
    found = []
    for rule in contract.SPAN_RULES:
        try:
            rule(span)
        except AssertionError:
            found.append(rule.__name__.split("_")[1])
    return found


def test_a_good_turn_breaks_none() -> None:
    contract.span(turn())
    contract.trace([session(), turn()])


@pytest.mark.parametrize(
    ("changes", "more", "rules"),
    [
        ({"session.id": None}, {}, ["07"]),
        ({"langfuse.trace.name": ""}, {}, ["07"]),
        ({"langfuse.observation.type": "Generation"}, {}, ["08", "22"]),
        ({"any": b"bytes"}, {}, ["09"]),
        ({"any": {"a": 1}}, {}, ["09"]),
        ({"any": [{"a": 1}]}, {}, ["09"]),
        ({"input": "x"}, {}, ["10"]),
        (
            {
                "gen_ai.usage.input_audio_tokens": 3,
                "langfuse.observation.usage_details": None,
                "langfuse.observation.cost_details": None,
            },
            {},
            ["11"],
        ),
        ({}, {"name": "realtime Gemini"}, ["12"]),
        ({"langfuse.observation.usage_details": '{"input_audio":3,"output_audio":4,"total":8}'}, {}, ["19"]),
        ({"langfuse.observation.usage_details": '{"input_audio":3,"output_audio":4.5,"total":7.5}'}, {}, ["19"]),
        ({"langfuse.observation.usage_details": '{"audio":3,"total":3}'}, {}, ["19", "20"]),
        ({"langfuse.observation.cost_details": '{"input_audio":0.25,"total":0.3}'}, {}, ["20"]),
        ({"langfuse.observation.type": "span"}, {}, ["22"]),
        ({"gen_ai.request.model": "models/gemini-3.8-live"}, {}, ["23"]),
        ({"langfuse.observation.completion_start_time": None}, {}, ["24"]),
        ({"voicespan.time_to_first_audio": None}, {}, ["24"]),
        ({"langfuse.observation.completion_start_time": "2026-09-21T14:13:20.500000"}, {}, ["24"]),
        ({"langfuse.observation.completion_start_time": "2026-09-21T14:13:30.500000Z"}, {}, ["24"]),
        ({"voicespan.time_to_first_audio": 0.4}, {}, ["24"]),
        ({"langfuse.observation.output": '[{"role":"assistant"}]'}, {}, ["27"]),
        ({"langfuse.observation.output": '[{"role":"tool","content":"{}","tool_call_id":"9"}]'}, {}, ["27"]),
        ({"any": "data:audio/wav;base64,AAAA"}, {}, ["28"]),
        ({"any": "A" * 3000}, {}, ["28"]),
        ({"any": "@@@langfuseMedia:type=audio/pcm|id=x|source=bytes@@@"}, {}, ["28"]),
        ({}, {"status": "ERROR"}, ["29"]),
        ({"voicespan.turn.end_reason": "interrupted"}, {"status": "ERROR", "status_message": "no"}, ["29"]),
    ],
)
def test_a_bad_span_breaks_its_rule(changes: dict[str, Value], more: dict[str, object], rules: list[str]) -> None:
    assert broken(turn(changes, **more)) == rules


@pytest.mark.parametrize(
    ("rule", "spans"),
    [
        (contract.rule_07_same_for_all, [session(), turn({"user.id": "u-2"})]),
        (contract.rule_14_once, [session(), turn(), turn()]),
        (contract.rule_15_one_root, [session(), turn(parent_span_id="")]),
        (contract.rule_15_one_root, [session(), turn(parent_span_id="9" * 16)]),
        (contract.rule_15_one_root, [session(), turn(trace_id="9" * 32)]),
        (contract.rule_17_the_session_ends_last, [session(), turn(end_ns=START_NS + 3 * 10**9)]),
        (contract.rule_21_session_cost, [session(cost=0.5), turn()]),
    ],
)
def test_a_bad_trace_breaks_its_rule(rule: Callable[[list[ReceivedSpan]], None], spans: list[ReceivedSpan]) -> None:
    with pytest.raises(AssertionError):
        rule(spans)


def test_words_are_found_by_their_key_and_by_themselves() -> None:
    with pytest.raises(AssertionError, match=r"langfuse\.observation\.input"):
        contract.no_content([turn()])
    quiet = turn({"langfuse.observation.input": None, "langfuse.observation.output": None})
    contract.no_content([quiet], "cathedral")
    with pytest.raises(AssertionError, match="park"):
        contract.no_content([quiet], "park")


def test_an_id_spells_no_word() -> None:
    unheard = {"langfuse.observation.input": None, "langfuse.observation.output": None}
    an_id = b"1234cafe-0000-4000-8000-00000000cafe"
    contract.no_content([turn(unheard, raw=an_id)], "cafe")
    with pytest.raises(AssertionError, match="cafe"):
        contract.no_content([turn(unheard, raw=an_id + b'{"query":"cafe"}')], "cafe")
