"""A session's totals, as they stand on its span, in its summary, and in what Langfuse filters by."""

from __future__ import annotations

import math
from collections.abc import Sequence

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from voicespan import conventions as c
from voicespan.attributes import ESTIMATED, Attributes, Model, cost_of, summed
from voicespan.content import numbers_json
from voicespan.estimate import Bill
from voicespan.events import Close
from voicespan.operations import SessionTotals
from voicespan.redaction import redact
from voicespan.usage import NOTHING, Usage

_PREFIX = "voicespan.session."
_KEY = otel_context.create_key("voicespan-totals")


class RunningTotals:
    """What a session has come to so far: its counts, what its turns were billed, and what that cost."""

    __slots__ = (
        "_model",
        "cost_usd",
        "counts",
        "estimated",
        "fresh_input_tokens",
        "input_audio_s",
        "rebilled_input_tokens",
    )

    def __init__(self, model: Model, counts: SessionTotals) -> None:
        self._model = model
        self.counts = counts
        self.input_audio_s = 0.0  # as of the last turn that ended
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
            # A token costs some 1e-6; beyond 1e-12 a sum of floats has digits that nobody billed.
            self.cost_usd = round((self.cost_usd or 0.0) + cost.total, 12)

    def attributes(self) -> Attributes:
        """As they stand on the session's span. Zeros are stated; a cost is only where one is known."""
        counts = self.counts
        details = counts.usage.buckets()
        if self.estimated is not NOTHING:
            details |= self.estimated.buckets(ESTIMATED)
        details["total"] = sum(details.values())
        found: Attributes = {
            c.SESSION_TURNS: counts.turns,
            c.SESSION_GENERATIONS: counts.generations,
            c.SESSION_TOOL_CALLS: counts.tool_calls,
            c.SESSION_CONNECTIONS: counts.connections,
            c.SESSION_RECONNECTS: counts.reconnects,
            c.SESSION_INTERRUPTIONS: counts.interruptions,
            c.SESSION_BARGE_INS: counts.barge_ins,
            c.SESSION_STALLS: counts.stalls,
            c.SESSION_TURNS_WITHOUT_USAGE: counts.turns_without_usage,
            c.SESSION_INPUT_AUDIO: summed(self.input_audio_s),
            c.SESSION_OUTPUT_AUDIO: summed(counts.output_audio_s),
            c.SESSION_DROPPED_AUDIO: summed(counts.dropped_audio_s),
        }
        if self.cost_usd is not None:
            found[c.SESSION_COST] = self.cost_usd
        found[c.SESSION_USAGE] = numbers_json(details)
        found[c.SESSION_FRESH] = self.fresh_input_tokens
        found[c.SESSION_REBILLED] = self.rebilled_input_tokens
        found[c.SESSION_PROVIDER_TOTAL] = counts.usage.provider_total
        for name, q in ((c.SESSION_TTFA_P50, 0.50), (c.SESSION_TTFA_P95, 0.95)):
            if (waited_s := percentile(counts.times_to_first_audio_s, q)) is not None:
                found[name] = waited_s
        return found


def in_context(totals: RunningTotals, parent: Context) -> Context:
    """A context to start a session's span in: who keeps a journal finds there what the span will say at its end."""
    return otel_context.set_value(_KEY, totals, parent)


def of_context(ctx: Context | None) -> RunningTotals | None:
    """The totals of the session whose span is started in this context."""
    found = otel_context.get_value(_KEY, ctx)
    return found if isinstance(found, RunningTotals) else None


def session_close(close: Close) -> Attributes:
    """How the client's socket was closed."""
    return {
        c.SESSION_CLOSE_CODE: close.code,
        c.SESSION_CLOSE_REASON: redact(close.reason),
        c.SESSION_CLOSE_INITIATOR: close.initiator,
    }


def for_filters(stated: Attributes) -> Attributes:
    """The same once more, where Langfuse can filter by it."""
    return {c.LF_METADATA + name.removeprefix(_PREFIX): value for name, value in stated.items()}


def percentile(ordered: Sequence[float], q: float) -> float | None:
    """The nearest-rank percentile of sorted numbers; None of none."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else None
