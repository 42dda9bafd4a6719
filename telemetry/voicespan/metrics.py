"""What is counted over all sessions of a process. No session, user or trace id is ever an attribute.

Histograms are recorded in the context of the span they are about, so that an exemplar leads to its trace. Pure counts
are plain integers that the SDK reads when it collects: a counter that is added to costs some ten times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from voicespan import conventions as c
from voicespan import operations as op
from voicespan.attributes import Model, cost_of, tool_failed
from voicespan.guard import error_count
from voicespan.tables import Metric
from voicespan.usage import INPUT_BUCKETS, Usage

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Call:
    """What a session's metrics need to know while it runs."""

    labels: Labels
    model: Model
    simulated: bool
    began_ns: int
    tools: dict[str, op.StartTool] = field(default_factory=dict)
    answered_ns: int | None = None


# Not of a session: the errors of telemetry's own are counted at its edge, the store's and the sender's by these.
_NOT_OURS = {
    name for name in c.METRICS if name.startswith(("voicespan.telemetry.", "voicespan.store.", "voicespan.sender."))
}


class Metrics:
    """The instruments of one meter. Make it once and give it to every session."""

    def __init__(self, meter: Meter) -> None:
        self._counts: dict[str, dict[Labels, float]] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in c.METRICS.values():
            if metric.instrument == "histogram":
                self._histograms[metric.name] = meter.create_histogram(
                    metric.name, metric.unit, metric.brief, explicit_bucket_boundaries_advisory=metric.buckets
                )
                continue
            if metric.name in _NOT_OURS:
                continue
            self._counts[metric.name] = {}
            create = (
                meter.create_observable_counter
                if metric.instrument == "counter"
                else meter.create_observable_up_down_counter
            )
            create(metric.name, [self._observe(metric)], metric.unit, metric.brief)
        errors = c.METRICS[c.METRIC_ERRORS]
        meter.create_observable_counter(errors.name, [_observe_errors], errors.unit, errors.brief)

    def session(self, model: Model, backend: str | None, began_ns: int) -> SessionMetrics:
        """The metrics of a session that begins."""
        labels = {c.PROVIDER_NAME: model.provider, c.REQUEST_MODEL: model.name, c.BACKEND: backend or "unknown"}
        return SessionMetrics(self, _Call(tuple(labels.items()), model, backend == "simulator", began_ns))

    def count(self, name: str, labels: Labels, amount: float = 1) -> None:
        """Add to a count."""
        counts = self._counts[name]
        counts[labels] = counts.get(labels, 0) + amount

    def record(self, name: str, seconds_or_tokens: float, labels: Labels, context: Context | None) -> None:
        """Record one measurement, with an exemplar where `context` holds a sampled span."""
        self._histograms[name].record(seconds_or_tokens, dict(labels), context)

    def _observe(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            # A copy: sessions go on counting in another thread.
            return [Observation(value, dict(labels)) for labels, value in dict(self._counts[metric.name]).items()]

        return read


class SessionMetrics:
    """Turns the operations of one session into measurements."""

    def __init__(self, metrics: Metrics, call: _Call) -> None:
        self._metrics = metrics
        self._call = call
        metrics.count(c.METRIC_SESSIONS_ACTIVE, call.labels)

    def apply(self, operation: op.Operation, context: Context | None, input_audio_s: float) -> None:
        """Measure one operation; `context` is that of its span."""
        match operation:
            case op.EndTurn(record):
                self._turn(record, context)
            case op.StartTool():
                self._call.tools[operation.call_id] = operation
            case op.EndTool():
                self._tool(operation, context)
            case op.EndConnection():
                self._connection(operation, context)
            case op.StartTurn(at_ns=at_ns):
                if self._call.answered_ns is not None and at_ns >= self._call.answered_ns:
                    self._record(c.METRIC_GAP, (at_ns - self._call.answered_ns) / 1e9, context, {})
            case op.GoingAway():
                self._count(c.METRIC_GO_AWAYS)
            case op.ConnectionEnded(close=close):
                self._count(c.METRIC_CLOSES, {c.CONNECTION_CLOSE_CODE: str(close.code)})
            case op.LateInterruption(cause=cause):
                self._count(c.METRIC_INTERRUPTIONS, {c.TURN_INTERRUPTION_CAUSE: cause.value})
            case op.Stalled(kind=kind):
                self._count(c.METRIC_STALLS, {c.TURN_STALL_KIND: kind.value})
            case op.Odd(anomaly=anomaly):
                self._count(c.METRIC_ANOMALIES, {c.ANOMALY: anomaly.value})
            case op.LooseUsage(usage=usage):
                self._usage(usage)
            case op.EndSession():
                self._session(operation, context, input_audio_s)

    def _turn(self, record: op.TurnRecord, context: Context | None) -> None:
        reason = {c.TURN_END_REASON: record.end_reason.value}
        self._count(c.METRIC_TURNS, reason)
        self._record(c.METRIC_TURN_DURATION, (record.end_ns - record.start_ns) / 1e9, context, reason)
        if record.interruption_cause:
            self._count(c.METRIC_INTERRUPTIONS, {c.TURN_INTERRUPTION_CAUSE: record.interruption_cause.value})
        self._call.answered_ns = record.end_ns
        self._waits(record, context)
        if record.heard and record.output_audio_s and record.interruption_cause:
            how = {
                c.HEARD_SOURCE: record.heard.source,
                c.TURN_INTERRUPTION_CAUSE: record.interruption_cause.value,
            }
            ratio = min(1.0, record.heard.duration_s / record.output_audio_s)
            self._record(c.METRIC_HEARD_RATIO, ratio, context, how)
        if record.silenced_s is not None:
            self._record(c.METRIC_TIME_TO_SILENCE, record.silenced_s, context, {})
        operation = {c.OPERATION_NAME: c.OPERATION_GENERATE}
        if record.error_type:
            operation[c.ERROR_TYPE] = record.error_type
        for part in record.records:
            self._record(c.METRIC_OPERATION_DURATION, (part.end_ns - part.start_ns) / 1e9, context, operation)
        if record.usage is None:
            return
        for kind, tokens in (("input", record.usage.input_tokens), ("output", record.usage.output_tokens)):
            self._record(c.METRIC_TOKEN_USAGE, tokens, context, operation | {c.TOKEN_TYPE: kind})
        self._usage(record.usage)

    def _waits(self, record: op.TurnRecord, context: Context | None) -> None:
        """What the user waited for, as a whole and in parts."""
        source = {c.TURN_START_SOURCE: record.source.value}
        for name, seconds in (
            (c.METRIC_TTFA, record.time_to_first_audio_s),
            (c.METRIC_TTAA, record.time_to_audible_audio_s),
            (c.METRIC_TTP, record.time_to_playback_s),
        ):
            if seconds is not None:
                self._record(name, seconds, context, source)
        latency = record.latency
        for part, seconds in (
            ("endpointing", latency.endpointing_s),
            ("tool", latency.tool_s or None),  # most turns have none
            ("model", latency.model_s),
            ("transport", latency.transport_s),
        ):
            if seconds is not None:
                self._record(c.METRIC_LATENCY, seconds, context, {c.LATENCY_PART: part})

    def _usage(self, usage: Usage) -> None:
        for bucket, tokens in usage.buckets().items():
            self._count(c.METRIC_TOKENS, _bucket(bucket), tokens)
        # A simulated call costs nobody anything.
        if (cost := cost_of(usage, self._call.model)) and not self._call.simulated:
            for bucket, usd in cost.details.items():
                if bucket != "total":
                    self._count(c.METRIC_COST, _bucket(bucket), usd)

    def _tool(self, end: op.EndTool, context: Context | None) -> None:
        start = self._call.tools.pop(end.call_id)
        labels = {
            c.OPERATION_NAME: c.OPERATION_TOOL,
            c.TOOL_NAME: start.name,
            c.TOOL_OUTCOME: end.outcome.value,
        }
        if tool_failed(end.outcome):
            labels[c.ERROR_TYPE] = end.outcome.value
        self._record(c.METRIC_TOOL_DURATION, (end.at_ns - start.at_ns) / 1e9, context, labels)

    def _connection(self, end: op.EndConnection, context: Context | None) -> None:
        if not end.connected and not end.error_type:
            return  # the caller hung up meanwhile
        labels = {c.CONNECTION_RESUMED: str(end.resumed).lower()}
        if end.error_type:
            labels[c.ERROR_TYPE] = end.error_type
        self._record(c.METRIC_SETUP_DURATION, end.setup_s, context, labels)
        if end.index > 1:
            self._count(c.METRIC_RECONNECTS, labels)

    def _session(self, end: op.EndSession, context: Context | None, input_audio_s: float) -> None:
        self._metrics.count(c.METRIC_SESSIONS_ACTIVE, self._call.labels, -1)
        closed = {c.SESSION_CLOSE_CODE: str(end.close.code), c.SESSION_CLOSE_INITIATOR: end.close.initiator}
        self._record(c.METRIC_SESSION_DURATION, (end.at_ns - self._call.began_ns) / 1e9, context, closed)
        self._count(c.METRIC_AUDIO, {c.AUDIO_DIRECTION: "input"}, input_audio_s)
        self._count(c.METRIC_AUDIO, {c.AUDIO_DIRECTION: "output"}, end.totals.output_audio_s)
        if end.totals.dropped_audio_s:
            self._count(c.METRIC_DROPPED_AUDIO, amount=end.totals.dropped_audio_s)

    def _count(self, name: str, labels: Mapping[str, str] | None = None, amount: float = 1) -> None:
        self._metrics.count(name, self._call.labels + tuple((labels or {}).items()), amount)

    def _record(self, name: str, amount: float, context: Context | None, labels: Mapping[str, str]) -> None:
        self._metrics.record(name, amount, self._call.labels + tuple(labels.items()), context)


def _observe_errors(_: CallbackOptions) -> Iterable[Observation]:
    return [Observation(error_count())]


def _bucket(bucket: str) -> dict[str, str]:
    return {c.TOKEN_TYPE: "input" if bucket in INPUT_BUCKETS else "output", c.TOKEN_BUCKET: bucket}
