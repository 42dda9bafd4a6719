"""What stands on each span: pure functions from records to attribute dictionaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import gmtime, strftime
from typing import NamedTuple

from opentelemetry.util.types import AttributeValue

from voicespan import conventions as c
from voicespan import messages as msg
from voicespan.content import Capture, numbers_json, to_json
from voicespan.cost import Prices
from voicespan.estimate import Bill
from voicespan.events import Close, ToolOutcome
from voicespan.messages import Conversation, Exchange, Message
from voicespan.operations import (
    EndConnection,
    EndReason,
    EndTool,
    GenerationRecord,
    InterruptionCause,
    StartTool,
    TurnRecord,
)
from voicespan.recording import Kept
from voicespan.redaction import redact
from voicespan.usage import Usage

Attributes = dict[str, AttributeValue]


_FAILED = {ToolOutcome.ERROR, ToolOutcome.TIMEOUT}
# What the name of a bucket ends in whose tokens nobody reported.
ESTIMATED = "_estimated"
# gen_ai.output.type.
SPEECH, TEXT = "speech", "text"


@dataclass(frozen=True, slots=True)
class Model:
    """The model that answers, and where. `name` without a resource path."""

    name: str
    provider: str = c.PROVIDER_GEMINI
    server_address: str | None = None
    server_port: int | None = None
    prices: Prices | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"a model's name must be a str, got {type(self.name).__name__}")
        if not isinstance(self.prices, (Prices, type(None))):
            raise TypeError(f"prices must be a voicespan.cost.Prices, got {type(self.prices).__name__}")

    def endpoint(self) -> Attributes:
        """Who serves it, and where."""
        found: Attributes = {c.PROVIDER_NAME: self.provider}
        if self.server_address is not None:
            found[c.SERVER_ADDRESS] = self.server_address
        if self.server_port is not None:
            found[c.SERVER_PORT] = self.server_port
        return found


class Cost(NamedTuple):
    """US dollars by bucket and `total`, and whose prices they are."""

    details: dict[str, float]
    source: str
    version: str

    @property
    def total(self) -> float:
        """US dollars."""
        return self.details["total"]


@lru_cache(maxsize=32)  # of a turn it is asked three times: for its span, for its session's totals, by the metrics
def cost_of(usage: Usage | None, model: Model, suffix: str = "") -> Cost | None:
    """The cost of some usage; None where it, or its price, is unknown."""
    if usage is None or model.prices is None:
        return None
    prices = model.prices
    return Cost(prices.cost(usage, suffix), prices.source, prices.version)


def output_type_of(record: TurnRecord) -> str:
    """What a turn's answer was made of; where there was none, a voice was to come."""
    return TEXT if record.written else SPEECH


def request(model: Model) -> Attributes:
    """What is known of a generation when it begins, for who samples by it."""
    return {
        c.OPERATION_NAME: c.OPERATION_GENERATE,
        **model.endpoint(),
        c.REQUEST_MODEL: model.name,
        c.LF_TYPE: "generation",
    }


def response(record: TurnRecord, model: Model, output_type: str, bill: Bill | None) -> Attributes:
    """What a turn, or any other exchange with the model, says of itself when it ends: all but its text.

    Where `bill` is an estimate, it never goes into gen_ai.usage.*.
    """
    return {
        c.RESPONSE_MODEL: model.name,
        c.OUTPUT_TYPE: output_type,
        c.FINISH_REASONS: [finish_reason(record)],
        c.LF_MODEL: model.name,
        **outcome(record),
        **billed(bill, model),
    }


def outcome(record: TurnRecord) -> Attributes:
    """How a turn ended."""
    found: Attributes = {c.TURN_END_REASON: str(record.end_reason), c.TURN_GENERATIONS: record.generations}
    if record.error_type is not None:
        found[c.ERROR_TYPE] = record.error_type
    if record.stall_kind:
        found[c.LF_LEVEL] = "WARNING"
    return found


def inference(record: TurnRecord, part: GenerationRecord, model: Model, *, last: bool) -> Attributes:
    """One generation of a turn as a span of its own: all but the last ended in tool calls, or in more to come."""
    bill = Bill(part.usage) if part.usage else None
    found = request(model) | response(record, model, output_type_of(record), bill)
    found |= {c.OPERATION_NAME: c.OPERATION_REALTIME, c.TURN_GENERATIONS: 1}
    return found if last else found | {c.FINISH_REASONS: [msg.TOOL_CALL]}


def turn(record: TurnRecord, input_audio_s: float) -> Attributes:
    """What only a turn of a voice session says of itself when it ends.

    `input_audio_s` is what was sent since the turn before.
    """
    ttfa = record.time_to_first_audio_s
    latency = record.latency
    found: dict[str, AttributeValue | None] = {
        c.TURN_START_SOURCE: str(record.source),
        c.TURN_START_CONFIDENCE: "measured" if record.source.measured else "inferred",
        c.TURN_INTERRUPTED: record.interrupted,
        c.TURN_INTERRUPTION_CAUSE: str(record.interruption_cause) if record.interruption_cause else None,
        c.TURN_STALL_KIND: str(record.stall_kind) if record.stall_kind else None,
        c.TURN_SEARCHES: record.searches or None,
        c.TTFA: ttfa,
        c.TTAA: record.time_to_audible_audio_s,
        c.TTP: record.time_to_playback_s,
        c.LATENCY_ENDPOINTING: latency.endpointing_s,
        c.LATENCY_ENDPOINTING_OWNER: None if latency.endpointing_s is None else c.ENDPOINTING_OWNER,
        c.LATENCY_TOOL: latency.tool_s,
        c.LATENCY_MODEL: latency.model_s,
        c.LATENCY_TRANSPORT: latency.transport_s,
        c.INPUT_AUDIO: summed(input_audio_s),
        c.OUTPUT_AUDIO: summed(record.output_audio_s),
        c.HEARD_AUDIO: record.heard.duration_s if record.heard else None,
        c.HEARD_SOURCE: record.heard.source if record.heard else None,
        c.TIME_TO_SILENCE: record.silenced_s,
        c.LF_COMPLETION_START: _iso(record.first_audio_ns) if ttfa is not None and record.first_audio_ns else None,
    }
    return known(found)


def summed(seconds: float) -> float:
    """A sum of chunks' durations without the digits that adding floats makes up: a sample lasts some 50 us."""
    return round(seconds, 6)


def exchange_text(asked: Sequence[Message], answered: Sequence[Message], finish_reason: str | None) -> Attributes:
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
    return known(found)


def exchange_sound(exchange: Exchange, kept: Sequence[Kept]) -> Attributes:
    """What a turn that was recorded says beside its words: Langfuse's messages again, now with players in them."""
    if not kept:
        return {}
    sides = {clip.side: clip for clip in kept}
    user, model = sides.get("input"), sides.get("output")
    sounding = exchange.sounding(user.token if user else "", model.token if model else "")
    return known(
        {
            c.LF_INPUT: msg.openai(sounding.shown) if user else None,
            c.LF_OUTPUT: msg.openai(sounding.answered) if model else None,
            c.RECORDED_INPUT: user.duration_s if user else None,
            c.RECORDED_OUTPUT: model.duration_s if model else None,
            c.RECORDING_CUT: any(clip.cut for clip in kept),
        }
    )


def tool_start(call: StartTool, capture: Capture) -> Attributes:
    """What is known of a tool call when it begins."""
    found: Attributes = {
        c.OPERATION_NAME: c.OPERATION_TOOL,
        c.TOOL_NAME: call.name,
        c.TOOL_TYPE: "function",
        c.TOOL_BLOCKING: call.blocking,
        c.TOOL_CALL_ID: call.call_id,
        c.LF_TYPE: "tool",
    }
    if capture.on_spans:
        arguments = capture.json(call.arguments)
        found |= {c.TOOL_ARGUMENTS: arguments, c.LF_INPUT: arguments}
    return found


def tool_end(end: EndTool, capture: Capture) -> Attributes:
    """How a tool call ended."""
    found: Attributes = {c.TOOL_OUTCOME: str(end.outcome), c.TOOL_RESPONSES: end.responses}
    if tool_failed(end.outcome):
        found[c.ERROR_TYPE] = str(end.outcome)
    if capture.on_spans and end.result:
        result = capture.json(end.result)
        found |= {c.TOOL_RESULT: result, c.LF_OUTPUT: result}
    return found


def tool_failed(outcome: ToolOutcome) -> bool:
    """Whether the tool itself failed, as opposed to not being needed any more."""
    return outcome in _FAILED


def connection_end(end: EndConnection) -> Attributes:
    """What dialling the model came to."""
    close = end.close
    return known(
        {
            c.CONNECTION_INDEX: end.index,
            c.CONNECTION_SETUP: end.setup_s if end.connected else None,
            c.CONNECTION_GAP: end.gap_s if end.connected else None,
            c.CONNECTION_RESUMED: end.resumed,
            c.CONNECTION_HANDLE_AGE: end.handle_age_s,
            c.CONNECTION_GO_AWAY: end.go_away_time_left_s,
            **(connection_close(close) if close else {}),
            c.ERROR_TYPE: end.error_type,
        }
    )


def connection_close(close: Close) -> Attributes:
    """How a connection to the model ended."""
    return {
        c.CONNECTION_CLOSE_CODE: close.code,
        c.CONNECTION_CLOSE_REASON: redact(close.reason),
        c.CONNECTION_CLOSE_INITIATOR: close.initiator,
    }


def session_text(conversation: Conversation) -> Attributes:
    """The transcript: all but the last answer in, the last answer out."""
    before, last = conversation.without_last_answer()
    return known({c.LF_INPUT: msg.openai(before) if before else None, c.LF_OUTPUT: msg.openai(last) if last else None})


def finish_reason(record: TurnRecord) -> str:
    """A GenAI finish reason: the provider's own where it gave one."""
    if record.finish_reason:
        return record.finish_reason.lower()
    if record.interruption_cause is InterruptionCause.SPEECH:
        return "interrupted"
    if record.end_reason is not EndReason.COMPLETED:
        return str(record.end_reason)
    only_called = record.tools and not record.model_text and not record.output_audio_s
    return msg.TOOL_CALL if only_called else "stop"


def billed(bill: Bill | None, model: Model) -> Attributes:
    """Tokens and what they cost: reported, estimated or missing."""
    if bill is None:
        return {c.USAGE_SOURCE: "missing"}
    usage = bill.usage
    if bill.estimated:
        found: Attributes = {c.USAGE_SOURCE: "estimated", c.LF_USAGE: numbers_json(usage.details(ESTIMATED))}
        return found | _read(bill) | _cost(cost_of(usage, model, ESTIMATED))
    found = {
        c.USAGE_SOURCE: "provider",
        c.INPUT_TOKENS: usage.input_tokens,
        c.OUTPUT_TOKENS: usage.output_tokens,
        c.LF_USAGE: numbers_json(usage.details()),
        **_read(bill),
    }
    if usage.provider_total or not usage.total:  # not every provider has one
        found[c.PROVIDER_TOTAL] = usage.provider_total
    if usage.input_cached:
        found[c.CACHE_READ_TOKENS] = usage.input_cached
    if usage.output_reasoning:
        found[c.REASONING_TOKENS] = usage.output_reasoning
    return found | _cost(cost_of(usage, model))


def _read(bill: Bill) -> Attributes:
    fresh, rebilled = bill.fresh_input_tokens, bill.rebilled_input_tokens
    return {} if fresh is None or rebilled is None else {c.USAGE_FRESH: fresh, c.USAGE_REBILLED: rebilled}


def _cost(cost: Cost | None) -> Attributes:
    if cost is None:
        return {}
    return {c.LF_COST: numbers_json(cost.details), c.COST_SOURCE: cost.source, c.COST_VERSION: cost.version}


def _iso(at_ns: int) -> str:
    seconds, rest_ns = divmod(at_ns, 1_000_000_000)
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(seconds))}.{rest_ns // 1_000:06d}Z"


def known(found: Mapping[str, AttributeValue | None]) -> Attributes:
    """What has a value."""
    return {name: value for name, value in found.items() if value is not None}
