"""A session's spans as a summary, and as a timeline: pure functions, for the REST API."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from voicespan import conventions as c
from voicespan.sdk.reading import StoredEvent, StoredSpan
from voicespan.totals import percentile

Kind = Literal["upgrade", "session", "connection", "turn", "tool", "chat", "event", "other"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Measured durations in seconds. Percentiles are nearest-rank."""

    count: int
    p50_s: float | None
    p95_s: float | None
    max_s: float | None


@dataclass(frozen=True, slots=True)
class ToolSummary:
    """One tool's calls, by how they ended: ok, error, timeout, cancelled or orphaned."""

    name: str
    calls: int
    outcomes: dict[str, int]
    duration: Spread


@dataclass(frozen=True, slots=True)
class Summary:
    """What went how. What nobody measured is in no spread."""

    turns: int
    turns_by_end: dict[str, int]
    barge_ins: int
    time_to_first_audio: Spread
    endpointing: Spread
    model_latency: Spread
    tool_latency: Spread
    tools: list[ToolSummary]
    connections: int
    reconnects: int
    reconnect_gap: Spread
    errors: list[str]


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened: a span, or one of its session's events, which has no duration.

    `outcome` is how a turn, a tool, a connection or a call ended; `said` and `answered` are words that were captured.
    """

    at_s: float
    duration_s: float | None
    kind: Kind
    name: str
    turn: int | None
    status: str
    outcome: str | None = None
    time_to_first_audio_s: float | None = None
    said: str | None = None
    answered: str | None = None


def summary_of(spans: Sequence[StoredSpan]) -> Summary:
    """Of all spans of one session."""
    turns = [span for span in spans if _kind(span) == "turn"]
    tools = sorted((span for span in spans if _kind(span) == "tool"), key=_tool_name)
    connections = [span for span in spans if _kind(span) == "connection"]
    ends = Counter(str(span.attributes.get(c.TURN_END_REASON)) for span in turns)
    gaps = _spread(connections, c.CONNECTION_GAP)
    return Summary(
        turns=len(turns),
        turns_by_end=dict(sorted(ends.items())),
        barge_ins=sum(span.attributes.get(c.TURN_INTERRUPTION_CAUSE) == "speech" for span in turns),
        time_to_first_audio=_spread(turns, c.TTFA),
        endpointing=_spread(turns, c.LATENCY_ENDPOINTING),
        model_latency=_spread(turns, c.LATENCY_MODEL),
        tool_latency=_spread(turns, c.LATENCY_TOOL),
        tools=[_tool_summary(name, list(calls)) for name, calls in groupby(tools, key=_tool_name)],
        connections=len(connections),
        reconnects=sum(_integer(span, c.CONNECTION_INDEX) > 1 for span in connections),
        reconnect_gap=gaps,
        errors=[f"{span.name}: {span.status_message}" for span in spans if span.status == "ERROR"],
    )


def timeline_of(spans: Sequence[StoredSpan]) -> list[Moment]:
    """Of all spans of one session, in the order in which things happened."""
    began_ns = min((span.start_ns for span in spans), default=0)
    moments = [_moment(span, began_ns) for span in spans]
    for span in spans:
        if _kind(span) == "session":
            moments += [_happening(event, began_ns) for event in span.events]
    return sorted(moments, key=lambda moment: (moment.at_s, -(moment.duration_s or 0.0)))


def _tool_summary(name: str, calls: list[StoredSpan]) -> ToolSummary:
    outcomes = Counter(str(span.attributes.get(c.TOOL_OUTCOME)) for span in calls)
    return ToolSummary(name, len(calls), dict(sorted(outcomes.items())), _spread_of(call.duration_s for call in calls))


def _moment(span: StoredSpan, began_ns: int) -> Moment:
    kind = _kind(span)
    ttfa = span.attributes.get(c.TTFA)
    words = kind in {"turn", "chat"}
    return Moment(
        at_s=(span.start_ns - began_ns) / 1e9,
        duration_s=span.duration_s,
        kind=kind,
        name=span.name,
        turn=_integer(span, c.TURN_INDEX) or None,
        status=span.status,
        outcome=_outcome(span, kind),
        time_to_first_audio_s=float(ttfa) if isinstance(ttfa, int | float) else None,
        said=_last_words(span, c.LF_INPUT, "user") if words else None,
        answered=_last_words(span, c.LF_OUTPUT, "assistant") if words else None,
    )


def _happening(event: StoredEvent, began_ns: int) -> Moment:
    return Moment((event.time_ns - began_ns) / 1e9, None, "event", event.name, None, "UNSET")


def _kind(span: StoredSpan) -> Kind:
    has = span.attributes
    if span.name == c.VOICE_SESSION:
        return "upgrade"
    if span.name == c.WEBSOCKET_SESSION:
        return "session"
    if span.name == c.CHAT:
        return "chat"
    if c.TURN_END_REASON in has and c.TURN_INDEX in has:
        return "turn"
    if c.TOOL_OUTCOME in has:
        return "tool"
    return "connection" if c.CONNECTION_INDEX in has else "other"


def _outcome(span: StoredSpan, kind: Kind) -> str | None:
    match kind:
        case "turn":
            return _text(span, c.TURN_END_REASON)
        case "tool":
            return _text(span, c.TOOL_OUTCOME)
        case "connection":
            return _text(span, c.CONNECTION_CLOSE_CODE)
        case "session":
            return _text(span, c.SESSION_CLOSE_CODE)
        case _:
            return None


def _tool_name(span: StoredSpan) -> str:
    return _text(span, c.TOOL_NAME) or span.name


def _text(span: StoredSpan, name: str) -> str | None:
    value = span.attributes.get(name)
    return None if value is None else str(value)


def _integer(span: StoredSpan, name: str) -> int:
    value = span.attributes.get(name)
    return value if isinstance(value, int) else 0


def _last_words(span: StoredSpan, name: str, role: str) -> str | None:
    """The last of a role's messages, which are JSON that the library wrote, or that a cut has made unreadable."""
    try:
        found = json.loads(str(span.attributes.get(name, "[]")))
        words = [message["content"] for message in found if message["role"] == role and message["content"]]
    except (ValueError, KeyError, TypeError):
        return None
    return str(words[-1]) if words else None


def _spread(spans: Iterable[StoredSpan], name: str) -> Spread:
    values = (span.attributes.get(name) for span in spans)
    return _spread_of(float(value) for value in values if isinstance(value, int | float))


def _spread_of(seconds: Iterable[float]) -> Spread:
    ordered = sorted(seconds)
    return Spread(len(ordered), percentile(ordered, 0.5), percentile(ordered, 0.95), ordered[-1] if ordered else None)
