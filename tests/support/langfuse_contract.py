"""What Langfuse's OTLP endpoint makes of a span, as assertions: a span that breaks one is shown wrong or not at all.

The rules were read from Langfuse 4.16's ingestion code and tried on it. `trace` checks a whole voice trace as it
arrives on the Langfuse leg, `span` a single span anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from support.received import ReceivedSpan

TYPES = {
    "span", "generation", "event", "embedding", "agent", "tool", "chain", "retriever", "guardrail", "evaluator",
}  # fmt: skip
KNOWN_USAGE = {
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.total_tokens",
}
MISREAD_NAMES = {"input", "output", "prompt", "model", "events", "input.value", "output.value"}
CONTENT_KEYS = re.compile(
    r"^(langfuse\.(observation|trace)\.(input|output)"
    r"|gen_ai\.(input|output)\.messages|gen_ai\.system_instructions|gen_ai\.tool\.(definitions|call\.(arguments|result)))$"
)


def span(found: ReceivedSpan) -> None:
    """A span that belongs to a session."""
    attributes = found.attributes
    assert attributes.get("session.id"), f"{found.name}: Langfuse sums a session over the spans that carry its id"
    assert attributes.get("langfuse.trace.name"), found.name
    if "voicespan" in found.scope:
        assert attributes.get("langfuse.observation.type") in TYPES, found.name
    for key, value in attributes.items():
        assert not isinstance(value, dict | bytes), f"{found.name}: {key} has a type that Langfuse stores as garbage"
        assert not (isinstance(value, list) and any(isinstance(item, dict | list) for item in value)), key
        assert key not in MISREAD_NAMES, f"{found.name}: Langfuse takes {key} for something else"
        if key.startswith("gen_ai.usage.") and key not in KNOWN_USAGE:
            assert "langfuse.observation.usage_details" in attributes, f"{found.name}: {key} would be added to the sum"
    assert not re.search("gemini|vertex", found.name, re.IGNORECASE), f"{found.name}: its words would be dropped"
    if found.status == "ERROR":
        assert found.status_message, f"{found.name}: Langfuse shows the status's text and nothing else"
    assert found.start_ns <= found.end_ns, found.name
    _money(found)
    _times(found)
    _content(found)


def trace(spans: Sequence[ReceivedSpan]) -> None:
    """All spans of one voice session as they arrive on the Langfuse leg."""
    for found in spans:
        span(found)
    assert len({found.span_id for found in spans}) == len(spans), "a span was exported twice"
    assert len({found.trace_id for found in spans}) == 1
    for key in ("session.id", "user.id", "langfuse.trace.name", "langfuse.trace.tags"):
        assert len({json.dumps(found.attributes.get(key)) for found in spans}) == 1, f"{key} differs between spans"
    roots = [found for found in spans if not found.parent_span_id]
    assert [root.name for root in roots] == ["WebSocket Session"]
    ids = {found.span_id for found in spans}
    assert all(found.parent_span_id in ids for found in spans if found.parent_span_id), "a parent is missing"
    assert all(found.end_ns <= roots[0].end_ns for found in spans), "a child outlives the session"
    costs = [_json(found, "cost_details")["total"] for found in spans if _json(found, "cost_details")]
    if costs:
        stated = roots[0].attributes["langfuse.observation.metadata.cost"]
        assert isinstance(stated, float)
        assert abs(sum(costs) - stated) < 1e-9


def no_content(spans: Sequence[ReceivedSpan], *secrets: str) -> None:
    """With capture off, no key that holds words, and none of these words anywhere."""
    for found in spans:
        for key in found.attributes:
            assert not CONTENT_KEYS.match(key), f"{found.name} carries {key}"
        for secret in secrets:
            assert secret.encode() not in found.raw, f"{found.name} carries {secret!r}"


def _json(found: ReceivedSpan, detail: str) -> dict[str, float]:
    return dict(json.loads(str(found.attributes.get(f"langfuse.observation.{detail}", "{}"))))


def _money(found: ReceivedSpan) -> None:
    usage, cost = _json(found, "usage_details"), _json(found, "cost_details")
    if usage:
        assert all(isinstance(count, int) and count >= 0 for count in usage.values()), usage
        assert usage["total"] == sum(count for name, count in usage.items() if name != "total"), usage
    if cost:
        assert abs(cost["total"] - sum(usd for name, usd in cost.items() if name != "total")) < 1e-9, cost
        assert set(cost) <= set(usage), "a bucket is priced that was not counted"
    if any(name.endswith("_estimated") for name in usage):
        assert found.attributes.get("voicespan.usage.source") == "estimated"
        assert not any(key.startswith("gen_ai.usage.") for key in found.attributes), "an estimate is no report"
    if usage or cost:
        assert found.attributes["langfuse.observation.type"] == "generation", f"{found.name} would be counted again"
    model = found.attributes.get("gen_ai.request.model")
    assert model is None or "/" not in str(model)


def _times(found: ReceivedSpan) -> None:
    first = found.attributes.get("langfuse.observation.completion_start_time")
    if first is None:
        return
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", str(first)), first
    from datetime import datetime

    seconds = datetime.fromisoformat(str(first)).timestamp()
    assert found.start_ns / 1e9 - 1e-3 <= seconds <= found.end_ns / 1e9 + 1e-3
    ttfa = found.attributes["voicespan.time_to_first_audio"]
    assert isinstance(ttfa, float)
    assert abs((seconds - found.start_ns / 1e9) - ttfa) < 2e-3


def _content(found: ReceivedSpan) -> None:
    if found.attributes.get("langfuse.observation.type") not in {"generation", "agent"}:
        return
    for key in ("langfuse.observation.input", "langfuse.observation.output"):
        if key not in found.attributes:
            continue
        messages = json.loads(str(found.attributes[key]))
        assert isinstance(messages, list)
        assert all({"role", "content"} <= set(message) for message in messages), messages
        called = [call["id"] for message in messages for call in message.get("tool_calls", ())]
        answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
        assert set(answered) <= set(called), f"{found.name}: a tool's result without its call"
        assert "base64" not in str(found.attributes[key])
