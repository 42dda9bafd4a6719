"""A span as Langfuse's table of observations has it: which attribute becomes which column.

Written from the rules that were read in Langfuse 4.16's ingestion code and tried on it. Not modelled: the shapes of
frameworks that Voicespan does not use, tool definitions merged into the input, and Langfuse's own price list.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from support.received import ReceivedSpan, Value

TYPES = {
    "span", "generation", "event", "embedding", "agent", "tool", "chain", "retriever", "guardrail", "evaluator",
}  # fmt: skip
OPERATIONS = {
    "chat": "GENERATION",
    "completion": "GENERATION",
    "text_completion": "GENERATION",
    "generate_content": "GENERATION",
    "generate": "GENERATION",
    "embeddings": "EMBEDDING",
    "invoke_agent": "AGENT",
    "create_agent": "AGENT",
    "execute_tool": "TOOL",
}
# What these operations say of usage, cost and model is taken for a sum over their children, and dropped.
SUMMING_OPERATIONS = {"invoke_agent", "agent_step"}
LEVELS = {
    "DEBUG": "DEBUG", "DEFAULT": "DEFAULT", "INFO": "DEFAULT", "WARNING": "WARNING", "WARN": "WARNING",
    "ERROR": "ERROR", "CRITICAL": "ERROR",
}  # fmt: skip
MODEL_KEYS = (
    "langfuse.observation.model.name",
    "gen_ai.response.model",
    "gen_ai.request.model",
    "llm.model_name",
    "model",
)
OBSERVATION_METADATA = "langfuse.observation.metadata."
TRACE_METADATA = "langfuse.trace.metadata."


@dataclass(frozen=True)
class Row:
    """One observation. Times are Unix milliseconds, costs US dollars; `input` and `output` are raw text."""

    id: str
    trace_id: str
    parent_id: str
    type: str
    name: str
    trace_name: str | None
    start_ms: int
    end_ms: int
    completion_start_ms: int | None
    session_id: str | None
    user_id: str | None
    tags: tuple[str, ...]
    environment: str
    release: str | None
    version: str | None
    level: str
    status_message: str | None
    input: str | None
    output: str | None
    tool_calls: tuple[str, ...]
    model: str | None
    model_parameters: dict[str, Value]
    usage: dict[str, int]
    cost: dict[str, float]
    metadata: dict[str, Value]
    is_root: bool

    @property
    def input_usage(self) -> int:
        """The sum of all buckets whose name contains `input`: overlapping ones are counted again."""
        return sum(count for bucket, count in self.usage.items() if "input" in bucket)

    @property
    def output_usage(self) -> int:
        return sum(count for bucket, count in self.usage.items() if "output" in bucket)

    @property
    def total_cost(self) -> float | None:
        """What is called `total`, and nothing where nothing is."""
        return self.cost.get("total")

    @property
    def latency_s(self) -> float:
        return (self.end_ms - self.start_ms) / 1000

    @property
    def time_to_first_token_s(self) -> float | None:
        return None if self.completion_start_ms is None else (self.completion_start_ms - self.start_ms) / 1000


def row_of(span: ReceivedSpan) -> Row:
    attributes = span.attributes
    summing = attributes.get("gen_ai.operation.name") in SUMMING_OPERATIONS
    is_root = not span.parent_span_id or attributes.get("langfuse.internal.is_app_root") is True
    asked, answered = _io(attributes)
    return Row(
        id=span.span_id,
        trace_id=span.trace_id,
        parent_id=span.parent_span_id,
        type=type_of(attributes),
        name=_text(attributes, "gen_ai.tool.name") or span.name,
        trace_name=_text(attributes, "langfuse.trace.name") or (span.name if is_root else None),
        start_ms=span.start_ns // 1_000_000,
        end_ms=span.end_ns // 1_000_000,
        completion_start_ms=_moment_ms(attributes.get("langfuse.observation.completion_start_time")),
        session_id=_text(attributes, "langfuse.session.id", "session.id", "gen_ai.conversation.id"),
        user_id=_text(attributes, "langfuse.user.id", "user.id"),
        tags=tags_of(attributes),
        environment=environment_of(attributes, span.resource),
        release=_text(attributes, "langfuse.release") or _text(span.resource, "langfuse.release"),
        version=_text(attributes, "langfuse.version") or _text(span.resource, "service.version"),
        level=_level(span),
        status_message=_text(attributes, "langfuse.observation.status_message") or span.status_message or None,
        input=asked,
        output=answered,
        tool_calls=_tool_calls(answered),
        model=None if summing else _text(attributes, *MODEL_KEYS),
        model_parameters=_model_parameters(attributes),
        usage={} if summing else usage_of(attributes),
        cost={} if summing else cost_of(attributes),
        metadata=metadata_of(span),
        is_root=is_root,
    )


def type_of(attributes: dict[str, Value]) -> str:
    """The first of: the type that is said outright, the operation, a tool's name or call, any model; else SPAN."""
    said = attributes.get("langfuse.observation.type")
    if said in TYPES:
        return str(said).upper()
    operation = OPERATIONS.get(str(attributes.get("gen_ai.operation.name")))
    if operation:
        return operation
    if "gen_ai.tool.name" in attributes or "gen_ai.tool.call.id" in attributes:
        return "TOOL"
    return "GENERATION" if _text(attributes, *MODEL_KEYS) else "SPAN"


def tags_of(attributes: dict[str, Value]) -> tuple[str, ...]:
    """An array, a JSON array in a string, or names with commas between."""
    said = attributes.get("langfuse.trace.tags", attributes.get("langfuse.tags"))
    if isinstance(said, str):
        said = _json(said) if said.startswith("[") else [part.strip() for part in said.split(",")]
    return tuple(str(tag) for tag in said) if isinstance(said, list) else ()


def environment_of(attributes: dict[str, Value], resource: dict[str, Value]) -> str:
    """Anything that Langfuse does not take becomes `default`, without a word."""
    for key in ("langfuse.environment", "deployment.environment.name", "deployment.environment"):
        said = _text(attributes, key) or _text(resource, key)
        if said:
            name = said.lower().removeprefix("langfuse")[:40]
            return name if re.fullmatch("[a-z0-9_-]+", name) else "default"
    return "default"


def usage_of(attributes: dict[str, Value]) -> dict[str, int]:
    """The buckets that were sent as JSON; else gen_ai.usage.*, where every name that is not known adds a bucket."""
    said = attributes.get("langfuse.observation.usage_details")
    details = _json(said) if isinstance(said, str) else None
    usage = _counts(details) if isinstance(details, dict) else _generic_usage(attributes)
    return usage if not usage or "total" in usage else {**usage, "total": sum(usage.values())}


def cost_of(attributes: dict[str, Value]) -> dict[str, float]:
    """Without a `total` a cost is shown by its parts and counts nothing anywhere."""
    said = attributes.get("langfuse.observation.cost_details")
    details = _json(said) if isinstance(said, str) else None
    if isinstance(details, dict):
        return {str(key): float(usd) for key, usd in details.items() if isinstance(usd, int | float)}
    total = attributes.get("gen_ai.usage.cost")
    return {"total": float(total)} if isinstance(total, int | float) else {}


def metadata_of(span: ReceivedSpan) -> dict[str, Value]:
    """What was named as metadata on top, everything else that stands on the span, its resource and scope below."""
    found: dict[str, Value] = {}
    for key, value in span.attributes.items():
        if key in {"langfuse.observation.metadata", "langfuse.trace.metadata"}:
            blob = _json(str(value))
            found |= blob if isinstance(blob, dict) else {}
        elif key.startswith((OBSERVATION_METADATA, TRACE_METADATA)):
            found[key.removeprefix(OBSERVATION_METADATA).removeprefix(TRACE_METADATA)] = value
        elif not key.startswith("langfuse."):
            found[f"attributes.{key}"] = value
    found |= {f"resourceAttributes.{key}": value for key, value in span.resource.items()}
    return {**found, "scope.name": span.scope}


def _io(attributes: dict[str, Value]) -> tuple[str | None, str | None]:
    """One of the two from langfuse.*, and no other source is looked at for either."""
    for asked, answered in (
        ("langfuse.observation.input", "langfuse.observation.output"),
        ("input.value", "output.value"),
        ("input", "output"),
        ("gen_ai.input.messages", "gen_ai.output.messages"),
        ("gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
    ):
        if asked in attributes or answered in attributes:
            return _text(attributes, asked), _text(attributes, answered)
    return None, None


def _tool_calls(output: str | None) -> tuple[str, ...]:
    """The functions called in an output of OpenAI's shape; parts of the semantic conventions' shape are not seen."""
    messages = _json(output) if output else None
    found: list[str] = []
    for message in messages if isinstance(messages, list) else []:
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        for call in calls if isinstance(calls, list) else []:
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict):
                found.append(str(function.get("name")))
    return tuple(found)


def _level(span: ReceivedSpan) -> str:
    said = LEVELS.get(str(span.attributes.get("langfuse.observation.level", "")).upper())
    return said or ("ERROR" if span.status == "ERROR" else "DEFAULT")


def _model_parameters(attributes: dict[str, Value]) -> dict[str, Value]:
    said = attributes.get("langfuse.observation.model.parameters")
    parsed = _json(said) if isinstance(said, str) else None
    if isinstance(parsed, dict):
        return parsed
    prefix = "gen_ai.request."
    return {
        key.removeprefix(prefix): value
        for key, value in attributes.items()
        if key.startswith(prefix) and key != "gen_ai.request.model"
    }


def _counts(details: dict[str, Value]) -> dict[str, int]:
    """Whole numbers from 0, also in strings; floats and negative ones are dropped."""
    found: dict[str, int] = {}
    for key, value in details.items():
        if isinstance(value, str) and value.isdigit():
            found[key] = int(value)
        elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            found[key] = value
    return found


def _generic_usage(attributes: dict[str, Value]) -> dict[str, int]:
    prefix = "gen_ai.usage."
    said = _counts({key.removeprefix(prefix): v for key, v in attributes.items() if key.startswith(prefix)})
    cached = said.pop("cache_read.input_tokens", 0)
    created = said.pop("cache_creation.input_tokens", 0)
    reasoning = said.pop("reasoning.output_tokens", 0)
    found: dict[str, int] = {}
    if "input_tokens" in said:
        found["input"] = said.pop("input_tokens") - cached - created
    if "output_tokens" in said:
        found["output"] = said.pop("output_tokens") - reasoning
    if "total_tokens" in said:
        found["total"] = said.pop("total_tokens")
    named = {
        "input_cached_tokens": cached,
        "input_cache_creation": created,
        "output_reasoning_tokens": reasoning,
    }
    return {**found, **{key: count for key, count in named.items() if count}, **said}


def _moment_ms(said: Value) -> int | None:
    """ISO 8601, bare or as a JSON string; a number of nanoseconds is dropped."""
    if not isinstance(said, str):
        return None
    try:
        moment = datetime.fromisoformat(said.strip('"'))
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


def _text(attributes: dict[str, Value], *keys: str) -> str | None:
    """The first of these that is there and not empty."""
    return next((str(attributes[key]) for key in keys if attributes.get(key) not in (None, "")), None)


def _json(text: str) -> Value:
    try:
        parsed: Value = json.loads(text)
    except ValueError:
        return None
    return parsed
