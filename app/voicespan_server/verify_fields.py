"""What Langfuse has of a call against what was sent of it, field by field. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from langfuse.api import ObservationV2

from voicespan import conventions as c
from voicespan.langfuse import SessionSums
from voicespan.sdk.reading import StoredSpan, Value
from voicespan.session_scores import Score

# Langfuse keeps whole milliseconds, cut off at either end of a duration.
TIME_TOLERANCE_S = 0.0011
COST_TOLERANCE_USD = 1e-9


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that was compared, as it is shown."""

    name: str
    sent: object
    arrived: object
    passed: bool


def expected(sent: Iterable[StoredSpan]) -> list[StoredSpan]:
    """The spans that the collector's Langfuse leg lets through: a session's, but for an HTTP server's own."""
    return [
        span
        for span in sorted(sent, key=lambda span: (span.start_ns, span.span_id))
        if c.SESSION_ID in span.attributes and not (span.kind == "SERVER" and "http.request.method" in span.attributes)
    ]


def trace_fields(
    sent: Sequence[StoredSpan], arrived: Sequence[ObservationV2], environment: str, version: str
) -> list[Field]:
    """All fields of a trace: `sent` as `expected` has it, `arrived` as Langfuse's API tells it."""
    by_id = {row.id: row for row in arrived}
    found = [
        _equal("observations", sorted(span.name for span in sent), sorted(str(row.name) for row in arrived)),
        _equal("tree", _tree_sent(sent), _tree_arrived(arrived)),
        _equal("root", _roots(sent), sorted(str(row.name) for row in arrived if row.is_root_observation)),
        _on_all("session id", (span.attributes.get(c.SESSION_ID) for span in sent), (r.session_id for r in arrived)),
        _on_all("user id", (span.attributes.get(c.USER_ID) for span in sent), (row.user_id for row in arrived)),
        _on_all("trace name", (span.attributes.get(c.LF_TRACE_NAME) for span in sent), (r.trace_name for r in arrived)),
        _on_all("tags", (_names(span.attributes.get(c.LF_TRACE_TAGS)) for span in sent), map(_tags, arrived)),
        _on_all("environment", [environment], (row.environment for row in arrived)),
        _on_all("version", [version], (row.version for row in arrived)),
    ]
    for span in sent:
        row = by_id.get(span.span_id)
        if row is None:
            found.append(Field(span.name, span.span_id, None, False))
        else:
            found += _observation_fields(span, row)
    return found


def session_fields(sent: Sequence[StoredSpan], sums: SessionSums) -> list[Field]:
    """What Langfuse's metrics API adds up over the session."""
    costs = [cost["total"] for span in sent if (cost := _details(span, c.LF_COST))]
    return [
        _equal("session: observations by the metrics API", len(sent), sums.observations),
        _near("session: cost by the metrics API", sum(costs), sums.cost_usd, COST_TOLERANCE_USD * max(1, len(costs))),
    ]


def score_fields(sent: Iterable[Score], arrived: Mapping[str, object]) -> list[Field]:
    """Scores by name."""
    return [_near(f"score: {score.name}", score.value, arrived.get(score.name), 1e-9) for score in sent]


def unreadable_field(name: str, error: Exception) -> Field:
    """What Langfuse would not let be read back."""
    return Field(name, "something", str(error), False)


def score_names_field(sent: set[str], arrived: set[str]) -> Field:
    """The scores that the server gives a session when it is over."""
    return _equal("score: names of the session's own", sorted(sent), sorted(arrived))


def _observation_fields(span: StoredSpan, row: ObservationV2) -> list[Field]:
    kind = str(span.attributes.get(c.LF_TYPE, "span"))
    found = [
        _equal("type", kind.upper(), row.type),
        _equal("level", _level(span), str(row.level.value) if row.level else None),
        _equal("status message", span.status_message or None, row.status_message or None),
        _duration("latency", span.duration_s, row.latency),
    ]
    if kind == "generation":
        found += _generation_fields(span, row)
    if kind in {"generation", "agent"}:
        found += _chat_fields(span, row)
    elif kind == "tool":
        found += [
            _equal(name, _keys(span.attributes.get(key)), _keys(value))
            for name, key, value in (("input", c.LF_INPUT, row.input), ("output", c.LF_OUTPUT, row.output))
        ]
    found += _metadata_fields(span, row)
    return [Field(f"{span.name}: {field.name}", field.sent, field.arrived, field.passed) for field in found]


def _generation_fields(span: StoredSpan, row: ObservationV2) -> list[Field]:
    usage, cost = _details(span, c.LF_USAGE), _details(span, c.LF_COST)
    extra = row.model_extra or {}
    found = [
        _equal("model", span.attributes.get(c.LF_MODEL), row.model),
        _equal("usage", usage, dict(row.usage_details or {})),
        _equal("input tokens", _sum(usage, "input"), extra.get("inputUsage")),
        _equal("output tokens", _sum(usage, "output"), extra.get("outputUsage")),
        _costs("cost", cost, row.cost_details or {}),
        _near("cost total", cost.get("total"), row.total_cost, COST_TOLERANCE_USD),
        _equal("completion start", _millis(span.attributes.get(c.LF_COMPLETION_START)), _shown(row)),
        _duration("time to first token", span.attributes.get(c.TTFA), row.time_to_first_token),
    ]
    # A server that leaves these two out does not show them wrong.
    return [field for field in found if not (field.name in {"input tokens", "output tokens"} and field.arrived is None)]


def _chat_fields(span: StoredSpan, row: ObservationV2) -> list[Field]:
    return [
        _equal(name, _shape(span.attributes.get(key)), _shape(value))
        for name, key, value in (("input", c.LF_INPUT, row.input), ("output", c.LF_OUTPUT, row.output))
    ]


def _metadata_fields(span: StoredSpan, row: ObservationV2) -> list[Field]:
    """The numbers that stand on top of the metadata, where Langfuse's filters find them."""
    return [
        _near(f"metadata {name}", value, _lookup(row.metadata or {}, name), 1e-9)
        for name, value in ((key.removeprefix(c.LF_METADATA), value) for key, value in span.attributes.items())
        if c.LF_METADATA + name in span.attributes and isinstance(value, int | float) and not isinstance(value, bool)
    ]


def _lookup(metadata: Mapping[str, object], name: str) -> object:
    """A name with dots, or the path that it is of objects in objects."""
    if name in metadata or "." not in name:
        return metadata.get(name)
    first, rest = name.split(".", maxsplit=1)
    inner = metadata.get(first)
    return _lookup(inner, rest) if isinstance(inner, dict) else None


def _equal(name: str, sent: object, arrived: object) -> Field:
    return Field(name, sent, arrived, sent == arrived)


def _near(name: str, sent: object, arrived: object, tolerance: float) -> Field:
    """Two numbers; one in a string counts as a number, and both may be absent."""
    try:
        passed = abs(float(str(sent)) - float(str(arrived))) <= tolerance
    except ValueError:
        passed = sent is None and arrived is None
    return Field(name, sent, arrived, passed)


def _duration(name: str, sent: object, arrived: float | None) -> Field:
    """Seconds. Langfuse tells no duration of less than a millisecond."""
    unseen = arrived is None and isinstance(sent, float) and sent <= TIME_TOLERANCE_S
    return Field(name, sent, arrived, unseen or _near(name, sent, arrived, TIME_TOLERANCE_S).passed)


def _costs(name: str, sent: Mapping[str, float], arrived: Mapping[str, float]) -> Field:
    same = set(sent) == set(arrived) and all(abs(sent[key] - arrived[key]) <= COST_TOLERANCE_USD for key in sent)
    return Field(name, dict(sent), dict(arrived), same)


def _on_all(name: str, sent: Iterable[object], arrived: Iterable[object]) -> Field:
    """A value that is the same on every observation: each different one is shown."""
    left, right = list(dict.fromkeys(sent)), list(dict.fromkeys(arrived))
    return Field(name, _one(left), _one(right), len(left) == 1 and left == right)


def _one(values: list[object]) -> object:
    return values[0] if len(values) == 1 else values


def _tree_sent(sent: Sequence[StoredSpan]) -> list[str]:
    """`child < parent` for each; the parent of an entry is left out by the collector."""
    names = {span.span_id: span.name for span in sent}
    return _edges(
        (span.name, "" if span.attributes.get(c.ENTRY) is True else names.get(span.parent_id, span.parent_id))
        for span in sent
    )


def _tree_arrived(arrived: Sequence[ObservationV2]) -> list[str]:
    names = {row.id: str(row.name) for row in arrived}
    parents = ((row, row.parent_observation_id or "") for row in arrived)
    return _edges((str(row.name), names.get(parent, parent)) for row, parent in parents)


def _edges(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return sorted(f"{child} < {parent}" if parent else child for child, parent in pairs)


def _roots(sent: Sequence[StoredSpan]) -> list[str]:
    return sorted(span.name for span in sent if not span.parent_id or span.attributes.get(c.ENTRY) is True)


def _level(span: StoredSpan) -> str:
    return str(span.attributes.get(c.LF_LEVEL) or ("ERROR" if span.status == "ERROR" else "DEFAULT"))


def _details(span: StoredSpan, key: str) -> dict[str, float]:
    return dict(json.loads(str(span.attributes.get(key, "{}"))))


def _sum(usage: Mapping[str, float], part: str) -> float:
    return sum(count for bucket, count in usage.items() if part in bucket)


def _shape(text: Value | object) -> object:
    """A chat's roles and the functions that were called: what was said is nobody's business here."""
    messages = _parsed(text)
    if not isinstance(messages, list):
        return None if messages is None else type(messages).__name__
    return [_role(message) for message in messages]


def _role(message: object) -> str:
    if not isinstance(message, dict) or not {"role", "content"} <= set(message):
        return "no message"
    called = [str(call["function"]["name"]) for call in message.get("tool_calls", ())]
    return str(message["role"]) + (f" calls {', '.join(called)}" if called else "")


def _keys(text: Value | object) -> object:
    """The names in a tool's arguments or result."""
    found = _parsed(text)
    return sorted(found) if isinstance(found, dict) else None if found is None else type(found).__name__


def _parsed(text: Value | object) -> object:
    """Langfuse hands input and output out as the text that was sent, or parsed where that was JSON."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _names(value: Value) -> tuple[str, ...]:
    return tuple(str(name) for name in value) if isinstance(value, list) else ()


def _tags(row: ObservationV2) -> tuple[str, ...]:
    return tuple(row.tags or ())


def _millis(text: Value) -> str | None:
    return None if text is None else _iso(datetime.fromisoformat(str(text)))


def _shown(row: ObservationV2) -> str | None:
    first = row.completion_start_time
    return None if first is None else _iso(first)


def _iso(at: datetime) -> str:
    """In UTC, cut to milliseconds; one without a zone is taken for UTC."""
    utc = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    return utc.isoformat(timespec="milliseconds")
