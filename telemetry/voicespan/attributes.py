"""What stands on each span: pure functions from records to attribute dictionaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from opentelemetry.util.types import AttributeValue

from voicespan import conventions as c
from voicespan import messages as msg
from voicespan.content import Capture, to_json
from voicespan.cost import Prices
from voicespan.events import Close, ToolOutcome
from voicespan.messages import Conversation, Message
from voicespan.operations import (
    EndConnection,
    EndReason,
    EndSession,
    EndTool,
    InterruptionCause,
    StartTool,
    TurnRecord,
)
from voicespan.usage import Usage

Attributes = dict[str, AttributeValue]


# What the name of a bucket ends in whose tokens nobody reported.
ESTIMATED = "_estimated"


@dataclass(frozen=True, slots=True)
class Model:
    """The model that answers, and where. `name` without a resource path."""

    name: str
    provider: str = c.PROVIDER_GEMINI
    server_address: str | None = None
    server_port: int | None = None
    prices: Prices | None = None

    def endpoint(self) -> Attributes:
        """Who serves it, and where."""
        return _known(
            {
                c.PROVIDER_NAME: self.provider,
                c.SERVER_ADDRESS: self.server_address,
                c.SERVER_PORT: self.server_port,
            }
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars by bucket and `total`, and whose prices they are."""

    details: dict[str, float]
    source: str
    version: str

    @property
    def total(self) -> float:
        """US dollars."""
        return self.details["total"]


def cost_of(usage: Usage | None, model: Model, suffix: str = "") -> Cost | None:
    """The cost of some usage; None where it, or its price, is unknown."""
    if usage is None or model.prices is None:
        return None
    prices = model.prices
    return Cost(prices.cost(usage, suffix), prices.source, prices.version)


def generation(record: TurnRecord, model: Model, output_type: str, estimated: Usage | None = None) -> Attributes:
    """What a turn, or any other exchange with the model, says of itself: all but its text.

    `estimated` stands in for usage that was not reported; it never goes into gen_ai.usage.*.
    """
    found: dict[str, AttributeValue | None] = {
        c.OPERATION_NAME: c.OPERATION_GENERATE,
        **model.endpoint(),
        c.REQUEST_MODEL: model.name,
        c.RESPONSE_MODEL: model.name,
        c.OUTPUT_TYPE: output_type,
        c.FINISH_REASONS: [finish_reason(record)],
        c.TURN_END_REASON: record.end_reason.value,
        c.TURN_GENERATIONS: record.generations,
        c.ERROR_TYPE: record.error_type,
        c.LF_TYPE: "generation",
        c.LF_MODEL: model.name,
        c.LF_LEVEL: "WARNING" if record.end_reason is EndReason.STALLED else None,
    }
    if record.usage is None and estimated is not None:
        return _known(found) | _estimate(estimated) | _cost(cost_of(estimated, model, ESTIMATED))
    return _known(found) | _usage(record.usage) | _cost(cost_of(record.usage, model))


def turn(record: TurnRecord, model: Model, estimated: Usage | None = None) -> Attributes:
    """What a turn of a voice session says of itself beyond `generation`: all but its text."""
    ttfa = record.time_to_first_audio_s
    found: dict[str, AttributeValue | None] = {
        c.TURN_INDEX: record.index,
        c.TURN_START_SOURCE: record.source.value,
        c.TURN_START_CONFIDENCE: "measured" if record.source.measured else "inferred",
        c.TURN_INTERRUPTED: record.interrupted,
        c.TURN_INTERRUPTION_CAUSE: record.interruption_cause and record.interruption_cause.value,
        c.TURN_STALL_KIND: record.stall_kind,
        c.TTFA: ttfa,
        c.LATENCY_ENDPOINTING: record.endpointing_s,
        c.OUTPUT_AUDIO: record.output_audio_s,
        c.LF_COMPLETION_START: _iso(record.first_audio_ns) if ttfa is not None and record.first_audio_ns else None,
    }
    return generation(record, model, "speech", estimated) | _known(found)


def exchange_text(
    asked: Sequence[Message], answered: Sequence[Message], finish_reason: str | None = None
) -> Attributes:
    """The words of a turn: the end of the conversation before it and the user's words in, the model's answer out."""
    said = [message for message in answered if message.role == "assistant"]
    results = [message for message in answered if message.role == "tool"]
    spoken = [message for message in asked if message.role != "system"]
    instructions = [{"type": "text", "content": m.content} for m in asked if m.role == "system"]
    found: dict[str, AttributeValue | None] = {
        c.LF_INPUT: msg.openai(asked) if asked else None,
        c.INPUT_MESSAGES: msg.parts([*spoken, *results]) if spoken or results else None,
        c.SYSTEM_INSTRUCTIONS: to_json(instructions) if instructions else None,
        c.LF_OUTPUT: msg.openai(answered) if answered else None,
        c.OUTPUT_MESSAGES: msg.parts(said, finish_reason) if said else None,
    }
    return _known(found)


def tool_start(call: StartTool, capture: Capture) -> Attributes:
    """What is known of a tool call when it begins."""
    found: Attributes = {
        c.OPERATION_NAME: c.OPERATION_TOOL,
        c.TOOL_NAME: call.name,
        c.TOOL_TYPE: "function",
        c.TOOL_CALL_ID: call.call_id,
        c.LF_TYPE: "tool",
    }
    if capture.on_spans:
        arguments = capture.json(call.arguments)
        found |= {c.TOOL_ARGUMENTS: arguments, c.LF_INPUT: arguments}
    return found


def tool_end(end: EndTool, capture: Capture) -> Attributes:
    """How a tool call ended."""
    found: Attributes = {c.TOOL_OUTCOME: end.outcome.value}
    if tool_failed(end.outcome):
        found[c.ERROR_TYPE] = end.outcome.value
    if capture.on_spans and end.result:
        result = capture.json(end.result)
        found |= {c.TOOL_RESULT: result, c.LF_OUTPUT: result}
    return found


def tool_failed(outcome: ToolOutcome) -> bool:
    """Whether the tool itself failed, as opposed to not being needed any more."""
    return outcome in {ToolOutcome.ERROR, ToolOutcome.TIMEOUT}


def connection_end(end: EndConnection) -> Attributes:
    """What dialling the model came to."""
    close = end.close
    return _known(
        {
            c.CONNECTION_INDEX: end.index,
            c.CONNECTION_SETUP: end.setup_s,
            c.CONNECTION_GAP: end.gap_s,
            c.CONNECTION_RESUMED: end.resumed,
            c.CONNECTION_HANDLE_AGE: end.handle_age_s,
            c.CONNECTION_GO_AWAY: end.go_away_time_left_s,
            c.CONNECTION_CLOSE_CODE: close.code if close else None,
            c.CONNECTION_CLOSE_REASON: close.reason if close else None,
            c.CONNECTION_CLOSE_INITIATOR: close.initiator if close else None,
            c.ERROR_TYPE: end.error_type,
        }
    )


def session_end(end: EndSession, cost_usd: float | None, input_audio_s: float, estimated: Usage) -> Attributes:
    """A session's totals and how it ended. Zeros are stated; a cost is only where one is known."""
    totals = end.totals
    ttfa = sorted(totals.times_to_first_audio_s)
    found: dict[str, AttributeValue | None] = {
        c.SESSION_TURNS: totals.turns,
        c.SESSION_GENERATIONS: totals.generations,
        c.SESSION_TOOL_CALLS: totals.tool_calls,
        c.SESSION_CONNECTIONS: totals.connections,
        c.SESSION_RECONNECTS: totals.reconnects,
        c.SESSION_INTERRUPTIONS: totals.interruptions,
        c.SESSION_BARGE_INS: totals.barge_ins,
        c.SESSION_TURNS_WITHOUT_USAGE: totals.turns_without_usage,
        c.SESSION_INPUT_AUDIO: input_audio_s,
        c.SESSION_OUTPUT_AUDIO: totals.output_audio_s,
        c.SESSION_COST: cost_usd,
        c.SESSION_USAGE: to_json(
            {**totals.usage.buckets(), **estimated.buckets(ESTIMATED), "total": totals.usage.total + estimated.total}
        ),
        c.SESSION_PROVIDER_TOTAL: totals.usage.provider_total,
        c.SESSION_TTFA_P50: percentile(ttfa, 0.50),
        c.SESSION_TTFA_P95: percentile(ttfa, 0.95),
        **_close(end.close),
        c.ERROR_TYPE: end.error_type,
    }
    stated = _known(found)
    prefix = "voicespan.session."
    for_filters = {
        c.LF_METADATA + name.removeprefix(prefix): value for name, value in stated.items() if name.startswith(prefix)
    }
    return stated | for_filters


def session_text(conversation: Conversation) -> Attributes:
    """The transcript: all but the last answer in, the last answer out."""
    before, last = conversation.without_last_answer()
    return _known({c.LF_INPUT: msg.openai(before) if before else None, c.LF_OUTPUT: msg.openai(last) if last else None})


def finish_reason(record: TurnRecord) -> str:
    """A GenAI finish reason: the provider's own where it gave one."""
    if record.finish_reason:
        return record.finish_reason.lower()
    if record.interruption_cause is InterruptionCause.SPEECH:
        return "interrupted"
    return "stop" if record.end_reason is EndReason.COMPLETED else record.end_reason.value


def percentile(ordered: Sequence[float], q: float) -> float | None:
    """The nearest-rank percentile of sorted numbers; None of none."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else None


def _usage(usage: Usage | None) -> Attributes:
    if usage is None:
        return {c.USAGE_SOURCE: "missing"}
    found: Attributes = {
        c.USAGE_SOURCE: "provider",
        c.INPUT_TOKENS: usage.input_tokens,
        c.OUTPUT_TOKENS: usage.output_tokens,
        c.PROVIDER_TOTAL: usage.provider_total,
        c.LF_USAGE: to_json({**usage.buckets(), "total": usage.total}),
    }
    if usage.input_cached:
        found[c.CACHE_READ_TOKENS] = usage.input_cached
    if usage.output_reasoning:
        found[c.REASONING_TOKENS] = usage.output_reasoning
    return found


def _estimate(usage: Usage) -> Attributes:
    details = {**usage.buckets(ESTIMATED), "total": usage.total}
    return {c.USAGE_SOURCE: "estimated", c.LF_USAGE: to_json(details)}


def _cost(cost: Cost | None) -> Attributes:
    if cost is None:
        return {}
    return {c.LF_COST: to_json(cost.details), c.COST_SOURCE: cost.source, c.COST_VERSION: cost.version}


def _close(close: Close) -> Attributes:
    return {
        c.SESSION_CLOSE_CODE: close.code,
        c.SESSION_CLOSE_REASON: close.reason,
        c.SESSION_CLOSE_INITIATOR: close.initiator,
    }


def _iso(at_ns: int) -> str:
    at = datetime.fromtimestamp(at_ns // 1_000_000_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ns % 1_000_000_000 // 1_000:06d}Z"


def _known(found: dict[str, AttributeValue | None]) -> Attributes:
    return {name: value for name, value in found.items() if value is not None}
