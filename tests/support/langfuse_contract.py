"""What Langfuse's OTLP endpoint makes of a span, as numbered rules: a span that breaks one is shown wrong or not.

The rules were read from Langfuse 4.16's ingestion code and tried on it. `trace` checks a whole voice trace as it
arrives on the Langfuse leg, `span` a single span anywhere. tests/e2e/test_langfuse.py has the rules on transport too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime

from support.langfuse_rows import TYPES
from support.received import ReceivedSpan

KNOWN_USAGE = {
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.total_tokens",
}
MISREAD_NAMES = {"input", "output", "prompt", "model", "events", "input.value", "output.value"}
_UUID = re.compile(rb"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
CONTENT_KEYS = re.compile(
    r"^(langfuse\.(observation|trace)\.(input|output)"
    r"|gen_ai\.(input|output)\.messages|gen_ai\.system_instructions|gen_ai\.tool\.(definitions|call\.(arguments|result)))$"
)
CHAT_KEYS = ("langfuse.observation.input", "langfuse.observation.output")
MEDIA = re.compile(r"@@@langfuseMedia:type=audio/wav\|id=[A-Za-z0-9_-]{22}\|source=bytes@@@")
# A fifth of a second of audio; ids and hashes are shorter.
BASE64_RUN = re.compile(r"[A-Za-z0-9+/=]{2000}")
ENVIRONMENT = re.compile("(?!langfuse)[a-z0-9_-]{1,40}")


def rule_07_identity(found: ReceivedSpan) -> None:
    assert found.attributes.get("session.id"), f"{found.name}: Langfuse sums a session over the spans that carry its id"
    assert found.attributes.get("langfuse.trace.name"), found.name


def rule_08_type(found: ReceivedSpan) -> None:
    if "voicespan" in found.scope:
        assert found.attributes.get("langfuse.observation.type") in TYPES, found.name


def rule_09_plain_values(found: ReceivedSpan) -> None:
    for key, value in found.attributes.items():
        assert not isinstance(value, dict | bytes), f"{found.name}: {key} has a type that Langfuse stores as garbage"
        assert not (isinstance(value, list) and any(isinstance(item, dict | list) for item in value)), key


def rule_10_names_that_are_misread(found: ReceivedSpan) -> None:
    misread = MISREAD_NAMES & set(found.attributes)
    assert not misread, f"{found.name}: Langfuse takes {misread} for something else"


def rule_11_invented_usage(found: ReceivedSpan) -> None:
    for key in found.attributes:
        if key.startswith("gen_ai.usage.") and key not in KNOWN_USAGE:
            assert "langfuse.observation.usage_details" in found.attributes, f"{found.name}: {key} would be added"


def rule_12_span_names(found: ReceivedSpan) -> None:
    assert not re.search("gemini|vertex", found.name, re.IGNORECASE), f"{found.name}: its words would be dropped"


def rule_19_usage(found: ReceivedSpan) -> None:
    usage = details(found, "usage_details")
    if usage:
        assert all(isinstance(count, int) and count >= 0 for count in usage.values()), usage
        assert usage["total"] == sum(count for name, count in usage.items() if name != "total"), usage
        families = [name for name in usage if name != "total"]
        assert all(name.startswith(("input_", "output_")) for name in families), "not summed under either"
    if any(name.endswith("_estimated") for name in usage):
        assert found.attributes.get("voicespan.usage.source") == "estimated"
        assert not any(key.startswith("gen_ai.usage.") for key in found.attributes), "an estimate is no report"


def rule_20_cost(found: ReceivedSpan) -> None:
    usage, cost = details(found, "usage_details"), details(found, "cost_details")
    if cost:
        assert abs(cost["total"] - sum(usd for name, usd in cost.items() if name != "total")) < 1e-9, cost
        assert set(cost) <= set(usage), "a bucket is priced that was not counted"


def rule_22_usage_on_generations(found: ReceivedSpan) -> None:
    if details(found, "usage_details") or details(found, "cost_details"):
        assert found.attributes["langfuse.observation.type"] == "generation", f"{found.name} would be counted again"


def rule_23_model(found: ReceivedSpan) -> None:
    for key in ("gen_ai.request.model", "gen_ai.response.model", "langfuse.observation.model.name"):
        assert "/" not in str(found.attributes.get(key, "")), f"{found.name}: no price's pattern matches {key}"


def rule_24_completion_start(found: ReceivedSpan) -> None:
    first = found.attributes.get("langfuse.observation.completion_start_time")
    ttfa = found.attributes.get("voicespan.time_to_first_audio")
    assert (first is None) == (ttfa is None), f"{found.name}: one without the other"
    if first is None:
        return
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", str(first)), first
    seconds = datetime.fromisoformat(str(first)).timestamp()
    assert found.start_ns / 1e9 - 1e-3 <= seconds <= found.end_ns / 1e9 + 1e-3
    assert isinstance(ttfa, float)
    assert abs((seconds - found.start_ns / 1e9) - ttfa) < 2e-3


def rule_27_chat_shape(found: ReceivedSpan) -> None:
    if found.attributes.get("langfuse.observation.type") not in {"generation", "agent"}:
        return
    for key in CHAT_KEYS:
        if key not in found.attributes:
            continue
        messages = json.loads(str(found.attributes[key]))
        assert isinstance(messages, list)
        assert all({"role", "content"} <= set(message) for message in messages), messages
        called = [call["id"] for message in messages for call in message.get("tool_calls", ())]
        answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
        assert set(answered) <= set(called), f"{found.name}: a tool's result without its call"


def rule_28_audio(found: ReceivedSpan) -> None:
    for key, value in found.attributes.items():
        text = str(value)
        assert "base64," not in text, f"{found.name}: {key} carries media inline"
        assert not BASE64_RUN.search(text), f"{found.name}: {key} carries media inline"
        assert text.count("@@@langfuseMedia") == len(MEDIA.findall(text)), f"{found.name}: {key}"


def rule_29_errors_have_words(found: ReceivedSpan) -> None:
    if found.status == "ERROR":
        assert found.status_message, f"{found.name}: Langfuse shows the status's text and nothing else"
    reason = found.attributes.get("voicespan.turn.end_reason")
    if reason in {"interrupted", "cancelled"}:
        assert found.status != "ERROR", f"{found.name}: {reason} is no error"


SPAN_RULES: tuple[Callable[[ReceivedSpan], None], ...] = (
    rule_07_identity,
    rule_08_type,
    rule_09_plain_values,
    rule_10_names_that_are_misread,
    rule_11_invented_usage,
    rule_12_span_names,
    rule_19_usage,
    rule_20_cost,
    rule_22_usage_on_generations,
    rule_23_model,
    rule_24_completion_start,
    rule_27_chat_shape,
    rule_28_audio,
    rule_29_errors_have_words,
)


def span(found: ReceivedSpan) -> None:
    """A span that belongs to a session."""
    assert found.start_ns <= found.end_ns, found.name
    for rule in SPAN_RULES:
        rule(found)


def rule_07_same_for_all(spans: Sequence[ReceivedSpan]) -> None:
    for key in ("session.id", "user.id", "langfuse.trace.name", "langfuse.trace.tags"):
        assert len({json.dumps(found.attributes.get(key)) for found in spans}) == 1, f"{key} differs between spans"


def rule_14_once(spans: Sequence[ReceivedSpan]) -> None:
    assert len({(found.trace_id, found.span_id) for found in spans}) == len(spans), "a span was exported twice"


def rule_15_one_root(spans: Sequence[ReceivedSpan]) -> None:
    assert len({found.trace_id for found in spans}) == 1
    assert [found.name for found in spans if not found.parent_span_id] == ["WebSocket Session"]
    ids = {found.span_id for found in spans}
    assert all(found.parent_span_id in ids for found in spans if found.parent_span_id), "a parent is missing"


def rule_17_the_session_ends_last(spans: Sequence[ReceivedSpan]) -> None:
    root = root_of(spans)
    assert all(found.end_ns <= root.end_ns for found in spans), "a child outlives the session"


def rule_21_session_cost(spans: Sequence[ReceivedSpan]) -> None:
    costs = [details(found, "cost_details")["total"] for found in spans if details(found, "cost_details")]
    if costs:
        stated = root_of(spans).attributes["langfuse.observation.metadata.cost"]
        assert isinstance(stated, float)
        assert abs(sum(costs) - stated) < 1e-9


TRACE_RULES: tuple[Callable[[Sequence[ReceivedSpan]], None], ...] = (
    rule_07_same_for_all,
    rule_14_once,
    rule_15_one_root,
    rule_17_the_session_ends_last,
    rule_21_session_cost,
)


def trace(spans: Sequence[ReceivedSpan]) -> None:
    """All spans of one voice session as they arrive on the Langfuse leg."""
    for found in spans:
        span(found)
    for rule in TRACE_RULES:
        rule(spans)


def no_content(spans: Sequence[ReceivedSpan], *secrets: str) -> None:
    """With capture off, no key that holds words, and none of these words anywhere (rule 26)."""
    for found in spans:
        for key in found.attributes:
            assert not CONTENT_KEYS.match(key), f"{found.name} carries {key}"
        said = _UUID.sub(b"", found.raw)  # whose digits spell words too, such as cafe
        for secret in secrets:
            assert secret.encode() not in said, f"{found.name} carries {secret!r}"


def root_of(spans: Sequence[ReceivedSpan]) -> ReceivedSpan:
    return next(found for found in spans if not found.parent_span_id)


def details(found: ReceivedSpan, kind: str) -> dict[str, float]:
    """`usage_details` or `cost_details`; empty where there are none."""
    return dict(json.loads(str(found.attributes.get(f"langfuse.observation.{kind}", "{}"))))
