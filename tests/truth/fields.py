"""The fields that are compared: what each is called, what it has to be, and what was told. Add a row to compare more.

A field whose expectation is NOT_SAID is left out: the deeds say nothing about it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from support.received import ReceivedSpan, Value
from truth.expectation import AUDIO_S, NOT_SAID, Around, Connection, Expected, ExpectedTurn, Tool
from truth.told import Told, usage, words_in, words_out
from voicespan import conventions as c

E = TypeVar("E")
T = TypeVar("T")


@dataclass(frozen=True)
class Row(Generic[E, T]):
    name: str
    expected: Callable[[E], object]
    told: Callable[[T], object]
    clock: bool = False  # two clocks are compared: a busy machine can make it wrong


@dataclass(frozen=True)
class Compared:
    """A field of a call, with both values."""

    name: str
    expected: object
    told: object
    clock: bool = False

    @property
    def equal(self) -> bool:
        return self.expected == self.told

    def __str__(self) -> str:
        return f"{self.name}: expected {self.expected!r}, told {self.told!r}"


def attribute(name: str) -> Callable[[ReceivedSpan], Value]:
    return lambda span: span.attributes.get(name)


def _json(name: str) -> Callable[[ReceivedSpan], object]:
    return lambda span: json.loads(str(span.attributes[name])) if name in span.attributes else None


def _seconds(at_ns: int) -> float:
    return at_ns / 1e9


def _usage_source(turn: ExpectedTurn) -> str:
    if turn.usage is not None:
        return "provider"
    return "estimated" if turn.generations else "missing"


def _output(expected: Expected) -> Around:
    return Around(sum(turn.audio_s.value for turn in expected.turns), AUDIO_S)


def _total(expected: Expected) -> object:
    return sum(turn.provider_total or 0 for turn in expected.turns)


def _interruptions(expected: Expected) -> list[str]:
    return [*(turn.cause for turn in expected.turns if turn.cause), *expected.late_interruptions]


def _links(expected: Expected) -> list[tuple[str, int]]:
    return [(tool.name, turn.index) for turn in expected.turns for tool in turn.tools if not tool.blocking]


def _audio(expected: Expected) -> dict[str, object]:
    amounts = {"input": expected.input_audio_s, "output": _output(expected)}
    return {name: amount for name, amount in amounts.items() if amount.value}


def _measured_audio(told: Told) -> dict[Value, float]:
    return {name: seconds for name, seconds in told.measured(c.METRIC_AUDIO, c.AUDIO_DIRECTION).items() if seconds}


def _stalls(expected: Expected) -> list[str]:
    return [turn.stall_kind for turn in expected.turns if turn.stall_kind]


def _served(expected: Expected) -> int:
    return sum(connection.error_type is None for connection in expected.connections)


def _counted(names: list[str]) -> dict[str, int]:
    return {name: names.count(name) for name in names}


def _half_errors(told: Told) -> list[str]:
    return [span.name for span in told.spans if (span.status == "ERROR") is not (c.ERROR_TYPE in span.attributes)]


def _sticking_out(told: Told) -> list[str]:
    """Spans that begin before their parent or end after it; a turn's start may lie before its session's connection."""
    by_id = {span.span_id: span for span in told.spans}
    return [
        span.name
        for span in told.spans
        if (parent := by_id.get(span.parent_span_id))
        and (span.start_ns < parent.start_ns or span.end_ns > parent.end_ns)
    ]


TURN: tuple[Row[ExpectedTurn, ReceivedSpan], ...] = (
    Row("end_reason", lambda e: e.end_reason, attribute(c.TURN_END_REASON)),
    Row("interruption_cause", lambda e: e.cause, attribute(c.TURN_INTERRUPTION_CAUSE)),
    Row("interrupted", lambda e: e.cause is not None, attribute(c.TURN_INTERRUPTED)),
    Row("stall_kind", lambda e: e.stall_kind, attribute(c.TURN_STALL_KIND)),
    Row("error.type", lambda e: e.error_type, attribute(c.ERROR_TYPE)),
    Row("status", lambda e: "ERROR" if e.error_type else "UNSET", lambda span: span.status),
    Row(
        "finish_reasons",
        lambda e: e.finish_reason if e.finish_reason is NOT_SAID else [e.finish_reason],
        attribute(c.FINISH_REASONS),
    ),
    Row("generations", lambda e: e.generations, attribute(c.TURN_GENERATIONS)),
    Row("usage", lambda e: e.usage, lambda span: usage(span, c.LF_USAGE)),
    Row("usage.provider_total", lambda e: e.provider_total, attribute(c.PROVIDER_TOTAL)),
    Row("usage.source", _usage_source, attribute(c.USAGE_SOURCE)),
    Row("audio.output", lambda e: e.audio_s, attribute(c.OUTPUT_AUDIO)),
    Row("words in", lambda e: e.heard, words_in),
    Row("words out", lambda e: e.said, words_out),
    Row("start_source", lambda e: e.start_source, attribute(c.TURN_START_SOURCE)),
    Row("start", lambda e: e.start_s, lambda span: _seconds(span.start_ns), clock=True),
    Row("end", lambda e: e.end_s, lambda span: _seconds(span.end_ns), clock=True),
    Row("time_to_first_audio", lambda e: e.first_audio_s, attribute(c.TTFA), clock=True),
    Row("latency.endpointing", lambda e: e.endpointing_s, attribute(c.LATENCY_ENDPOINTING), clock=True),
    Row("latency.tool", lambda e: e.tool_s, attribute(c.LATENCY_TOOL), clock=True),
    Row("latency.model", lambda e: e.model_s, attribute(c.LATENCY_MODEL), clock=True),
    Row("audio.heard", lambda e: e.heard_s, attribute(c.HEARD_AUDIO), clock=True),
)

TOOL: tuple[Row[Tool, ReceivedSpan], ...] = (
    Row("name", lambda e: e.name, attribute(c.TOOL_NAME)),
    Row("outcome", lambda e: e.outcome, attribute(c.TOOL_OUTCOME)),
    Row("arguments", lambda e: e.args, _json(c.TOOL_ARGUMENTS)),
    Row("result", lambda e: e.result, _json(c.TOOL_RESULT)),
    Row("responses", lambda e: e.responses, attribute(c.TOOL_RESPONSES)),
    Row("blocking", lambda e: e.blocking, attribute(c.TOOL_BLOCKING)),
    Row("error.type", lambda e: e.error_type, attribute(c.ERROR_TYPE)),
    Row("status", lambda e: "ERROR" if e.error_type else "UNSET", lambda span: span.status),
    Row("start", lambda e: e.start_s, lambda span: _seconds(span.start_ns), clock=True),
    Row("end", lambda e: e.end_s, lambda span: _seconds(span.end_ns), clock=True),
)

CONNECTION: tuple[Row[Connection, ReceivedSpan], ...] = (
    Row("resumed", lambda e: e.resumed, attribute(c.CONNECTION_RESUMED)),
    Row("close_code", lambda e: e.close_code, attribute(c.CONNECTION_CLOSE_CODE)),
    Row("close_reason", lambda e: e.close_reason, attribute(c.CONNECTION_CLOSE_REASON)),
    Row("close_initiator", lambda e: e.close_initiator, attribute(c.CONNECTION_CLOSE_INITIATOR)),
    Row("gap", lambda e: e.gap_s, attribute(c.CONNECTION_GAP), clock=True),
    Row("go_away.time_left", lambda e: e.go_away_s, attribute(c.CONNECTION_GO_AWAY)),
    Row("error.type", lambda e: e.error_type, attribute(c.ERROR_TYPE)),
    Row("status", lambda e: "ERROR" if e.error_type else "UNSET", lambda span: span.status),
)


def _session(name: str) -> Callable[[Told], Value]:
    return lambda told: told.session.attributes.get(name)


def _of_each_turn(name: str) -> Callable[[Told], object]:
    return lambda told: {turn.attributes.get(name) for turn in told.turns}


def _of_turns(name: str) -> Callable[[Told], object]:
    """The sum of what the turns' spans say."""
    return lambda told: sum(float(turn.attributes[name]) for turn in told.turns if name in turn.attributes)


CALL: tuple[Row[Expected, Told], ...] = (
    Row("tree", lambda e: e.paths, lambda t: t.paths),
    Row("turns", lambda e: len(e.turns), _session(c.SESSION_TURNS)),
    Row("generations", lambda e: sum(turn.generations for turn in e.turns), _session(c.SESSION_GENERATIONS)),
    Row("tool_calls", lambda e: len(e.tools), _session(c.SESSION_TOOL_CALLS)),
    Row("connections", lambda e: len(e.connections), _session(c.SESSION_CONNECTIONS)),
    Row("reconnects", lambda e: len(e.connections) - 1, _session(c.SESSION_RECONNECTS)),
    Row("interruptions", lambda e: len(_interruptions(e)), _session(c.SESSION_INTERRUPTIONS)),
    Row("barge_ins", lambda e: _interruptions(e).count("speech"), _session(c.SESSION_BARGE_INS)),
    Row("stalls", lambda e: sum(turn.stall_kind is not None for turn in e.turns), _session(c.SESSION_STALLS)),
    Row(
        "turns_without_usage",
        lambda e: sum(turn.usage is None for turn in e.turns),
        _session(c.SESSION_TURNS_WITHOUT_USAGE),
    ),
    Row("usage", lambda e: e.usage or None, lambda t: usage(t.session, c.SESSION_USAGE)),
    Row(
        "usage.provider_total",
        lambda e: sum(turn.provider_total or 0 for turn in e.turns),
        _session(c.SESSION_PROVIDER_TOTAL),
    ),
    Row("audio.input", lambda e: e.input_audio_s, _session(c.SESSION_INPUT_AUDIO)),
    Row(
        "audio.output",
        lambda e: Around(sum(turn.audio_s.value for turn in e.turns), AUDIO_S),
        _session(c.SESSION_OUTPUT_AUDIO),
    ),
    Row("audio.output of turns", _output, _of_turns(c.OUTPUT_AUDIO)),
    Row("provider_total of turns", _total, _of_turns(c.PROVIDER_TOTAL)),
    Row("close_code", lambda e: e.close_code, _session(c.SESSION_CLOSE_CODE)),
    Row("close_reason", lambda e: e.close_reason, _session(c.SESSION_CLOSE_REASON)),
    Row("close_initiator", lambda e: e.close_initiator, _session(c.SESSION_CLOSE_INITIATOR)),
    Row("error.type", lambda e: e.error_type, _session(c.ERROR_TYPE)),
    Row("status", lambda e: "ERROR" if e.error_type else "UNSET", lambda t: t.session.status),
    Row("error.type exactly where the status is ERROR", lambda _: [], _half_errors),
    Row("one trace", lambda _: 1, lambda t: len({span.trace_id for span in t.spans})),
    Row("one session.id, on every span", lambda _: 1, lambda t: len({s.attributes.get(c.SESSION_ID) for s in t.spans})),
    Row("model of turns", lambda e: {e.model} if e.turns else set(), _of_each_turn(c.REQUEST_MODEL)),
    Row("provider of turns", lambda e: {e.provider} if e.turns else set(), _of_each_turn(c.PROVIDER_NAME)),
    Row("turns that tools which block nothing are linked to", _links, lambda t: t.links),
    Row("children inside their parents", lambda _: [], _sticking_out),
    # Log events.
    Row("events go_away", lambda e: e.go_aways, lambda t: len(t.events(c.EVENT_GO_AWAY))),
    Row(
        "events stall",
        _stalls,
        lambda t: [e.attributes[c.TURN_STALL_KIND] for e in t.events(c.EVENT_STALL)],
    ),
    Row(
        "events late_interruption",
        lambda e: list(e.late_interruptions),
        lambda t: [log.attributes[c.TURN_INTERRUPTION_CAUSE] for log in t.events(c.EVENT_LATE_INTERRUPTION)],
    ),
    Row(
        "events unreadable",
        lambda e: e.strange_messages,
        lambda t: sum(log.attributes[c.ANOMALY] == "unreadable_message" for log in t.events(c.EVENT_PROTOCOL_ERROR)),
    ),
    Row("events reconnect", lambda e: len(e.connections) - 1, lambda t: len(t.events(c.EVENT_RECONNECT))),
    Row("events started", _served, lambda t: len(t.events(c.EVENT_CONNECTION_STARTED))),
    Row("events ended", _served, lambda t: len(t.events(c.EVENT_CONNECTION_ENDED))),
    Row("events summary", lambda _: 1, lambda t: len(t.events(c.EVENT_SUMMARY))),
)

METRICS: tuple[Row[Expected, Told], ...] = (
    Row("metric go_aways", lambda e: float(e.go_aways), lambda t: t.measured(c.METRIC_GO_AWAYS).get(None, 0.0)),
    Row("metric reconnects", lambda e: len(e.connections) - 1, lambda t: sum(t.measured(c.METRIC_RECONNECTS).values())),
    Row("metric audio", _audio, _measured_audio),
    Row(
        "metric turns",
        lambda e: _counted([turn.end_reason for turn in e.turns]),
        lambda t: t.measured(c.METRIC_TURNS, c.TURN_END_REASON),
    ),
    Row(
        "metric interruptions",
        lambda e: _counted(_interruptions(e)),
        lambda t: t.measured(c.METRIC_INTERRUPTIONS, c.TURN_INTERRUPTION_CAUSE),
    ),
    Row(
        "metric stalls",
        lambda e: _counted(_stalls(e)),
        lambda t: t.measured(c.METRIC_STALLS, c.TURN_STALL_KIND),
    ),
    Row("metric tokens", lambda e: e.usage, lambda t: t.measured(c.METRIC_TOKENS, c.TOKEN_BUCKET)),
    Row(
        "metric time_to_first_audio",
        lambda e: sum(isinstance(turn.first_audio_s, Around) for turn in e.turns),
        lambda t: sum(t.counted(c.METRIC_TTFA).values()),
    ),
    Row(
        "metric tools",
        lambda e: _counted([tool.outcome for tool in e.tools]),
        lambda t: t.counted(c.METRIC_TOOL_DURATION, c.TOOL_OUTCOME),
    ),
    Row(
        "metric generations",
        lambda e: sum(turn.generations for turn in e.turns),
        lambda t: sum(t.counted(c.METRIC_OPERATION_DURATION).values()),
    ),
)


def compare(expected: Expected, told: Told, late_s: float = 0.0) -> Iterator[Compared]:
    """Every field of a call. A span that is missing is one wrong field.

    `late_s` is how late the two processes ran themselves: so much further apart may their clocks be.
    """
    yield from _rows("", CALL, expected, told, late_s)
    if told.metrics is not None:
        yield from _rows("", METRICS, expected, told, late_s)
    for number, turn in enumerate(expected.turns):
        if number >= len(told.turns):
            yield Compared(f"turn {turn.index}", "a span", None)
            continue
        yield from _rows(f"turn {turn.index} ", TURN, turn, told.turns[number], late_s)
    for tool in expected.tools:
        span = told.tool(tool.id, unnamed=tool.unnamed)
        if span is None:
            yield Compared(f"tool {tool.id}", "a span", None)
            continue
        yield from _rows(f"tool {tool.name} ", TOOL, tool, span, late_s)
    for connection, span in zip(expected.connections, told.connections, strict=False):
        yield from _rows(f"connection {connection.index} ", CONNECTION, connection, span, late_s)


def _rows(prefix: str, rows: tuple[Row[E, T], ...], expected: E, told: T, late_s: float) -> Iterator[Compared]:
    for row in rows:
        wanted = row.expected(expected)
        if row.clock and isinstance(wanted, Around):
            wanted = Around(wanted.value, wanted.tolerance + late_s)
        if wanted is not NOT_SAID:
            yield Compared(prefix + row.name, wanted, row.told(told), row.clock)
