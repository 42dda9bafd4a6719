"""A session's totals, as they stand on its span, in its summary, and in what Langfuse filters by."""

from __future__ import annotations

import math
from collections.abc import Sequence

from opentelemetry.util.types import AttributeValue

from voicespan import conventions as c
from voicespan.attributes import ESTIMATED, Attributes, Model, cost_of, known
from voicespan.content import to_json
from voicespan.estimate import Bill
from voicespan.events import Close
from voicespan.operations import SessionTotals
from voicespan.usage import NOTHING, Usage

_PREFIX = "voicespan.session."


class Money:
    """What a session's turns were billed, and what that cost."""

    __slots__ = ("_model", "cost_usd", "estimated", "fresh_input_tokens", "rebilled_input_tokens")

    def __init__(self, model: Model) -> None:
        self._model = model
        self.cost_usd: float | None = None
        self.estimated = NOTHING
        self.fresh_input_tokens = self.rebilled_input_tokens = 0

    def add(self, bill: Bill | None) -> None:
        """A turn's bill."""
        if bill is None:
            return
        self.fresh_input_tokens += bill.fresh_input_tokens or 0
        self.rebilled_input_tokens += bill.rebilled_input_tokens or 0
        if bill.estimated:
            self.estimated += bill.usage
        self.add_cost(bill.usage)

    def add_cost(self, usage: Usage) -> None:
        """Usage of no turn's."""
        if cost := cost_of(usage, self._model):
            self.cost_usd = (self.cost_usd or 0.0) + cost.total


def session_totals(totals: SessionTotals, money: Money, input_audio_s: float) -> Attributes:
    """A session's totals so far. Zeros are stated; a cost is only where one is known."""
    estimated = money.estimated
    found: dict[str, AttributeValue | None] = {
        c.SESSION_TURNS: totals.turns,
        c.SESSION_GENERATIONS: totals.generations,
        c.SESSION_TOOL_CALLS: totals.tool_calls,
        c.SESSION_CONNECTIONS: totals.connections,
        c.SESSION_RECONNECTS: totals.reconnects,
        c.SESSION_INTERRUPTIONS: totals.interruptions,
        c.SESSION_BARGE_INS: totals.barge_ins,
        c.SESSION_STALLS: totals.stalls,
        c.SESSION_TURNS_WITHOUT_USAGE: totals.turns_without_usage,
        c.SESSION_INPUT_AUDIO: input_audio_s,
        c.SESSION_OUTPUT_AUDIO: totals.output_audio_s,
        c.SESSION_DROPPED_AUDIO: totals.dropped_audio_s,
        c.SESSION_COST: money.cost_usd,
        c.SESSION_USAGE: to_json(
            {**totals.usage.buckets(), **estimated.buckets(ESTIMATED), "total": totals.usage.total + estimated.total}
        ),
        c.SESSION_FRESH: money.fresh_input_tokens,
        c.SESSION_REBILLED: money.rebilled_input_tokens,
        c.SESSION_PROVIDER_TOTAL: totals.usage.provider_total,
        c.SESSION_TTFA_P50: percentile(totals.times_to_first_audio_s, 0.50),
        c.SESSION_TTFA_P95: percentile(totals.times_to_first_audio_s, 0.95),
    }
    return known(found)


def session_close(close: Close) -> Attributes:
    """How the client's socket was closed."""
    return {
        c.SESSION_CLOSE_CODE: close.code,
        c.SESSION_CLOSE_REASON: close.reason,
        c.SESSION_CLOSE_INITIATOR: close.initiator,
    }


def for_filters(stated: Attributes) -> Attributes:
    """The same once more, where Langfuse can filter by it."""
    return {c.LF_METADATA + name.removeprefix(_PREFIX): value for name, value in stated.items()}


def percentile(ordered: Sequence[float], q: float) -> float | None:
    """The nearest-rank percentile of sorted numbers; None of none."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else None
