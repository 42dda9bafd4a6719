"""What is counted over all sessions of a process. No session, user or trace id is ever an attribute.

Histograms are recorded in the context of the span they are about, so that an exemplar leads to its trace. Pure counts
are plain integers that the SDK reads when it collects: a counter that is added to costs some ten times as much.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from threading import RLock

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from voicespan import conventions as c
from voicespan import operations as op
from voicespan.attributes import Model, cost_of, tool_failed
from voicespan.conventions.tables import Metric
from voicespan.events import Close
from voicespan.guard import error_count
from voicespan.usage import BUCKETS, INPUT_BUCKETS, Usage

Labels = tuple[tuple[str, str], ...]
# A program has few; sessions of the same one share what measures it.
MAX_MODELS = 64

# A model can make tools' names up, and each would be series for ever. The rest goes by OpenTelemetry's name for it.
MAX_TOOL_NAMES = 100
OTHER = "_OTHER"
_OWN_CODES = 3000  # RFC 6455, 7.4.2: from here on codes are not the protocol's


# Calls may run in several threads: what is lost of a sum is lost for good. No child of a fork finds it held, and a
# session that is collected meanwhile, which counts too, does not wait for itself.
ONE_AT_A_TIME = RLock()
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=ONE_AT_A_TIME.acquire, after_in_parent=ONE_AT_A_TIME.release, after_in_child=ONE_AT_A_TIME.release
    )


class Metrics:
    """The instruments of one meter. Make it once and give it to every session."""

    def __init__(self, meter: Meter) -> None:
        self._counts: dict[str, dict[Labels, float]] = {}
        self.histograms: dict[str, Histogram] = {}
        self._tool_names: set[str] = set()
        for metric in c.METRICS.values():
            if metric.name.startswith(c.OF_PROCESS):
                continue
            if metric.instrument == "histogram":
                self.histograms[metric.name] = meter.create_histogram(
                    metric.name, metric.unit, metric.brief, explicit_bucket_boundaries_advisory=metric.buckets
                )
                continue
            self._counts[metric.name] = {}
            create = (
                meter.create_observable_counter
                if metric.instrument == "counter"
                else meter.create_observable_up_down_counter
            )
            create(metric.name, [self._observe(metric)], metric.unit, metric.brief)
        self._models: dict[tuple[Labels, int], ModelMetrics] = {}
        errors = c.METRICS[c.METRIC_ERRORS]
        meter.create_observable_counter(errors.name, [_observe_errors], errors.unit, errors.brief)

    def model(self, model: Model, backend: str | None) -> ModelMetrics:
        """What is measured of a model, in a session or outside of one."""
        made = ModelMetrics(self, model, backend)
        if len(self._models) >= MAX_MODELS:
            self._models.clear()
        return self._models.setdefault((made.labels, id(made.model.prices)), made)

    def session(self, model: Model, backend: str | None, began_ns: int) -> SessionMetrics:
        """The metrics of a session that begins."""
        return SessionMetrics(self.model(model, backend), began_ns)

    def count(self, name: str, labels: Labels, amount: float = 1) -> None:
        """Add to a count."""
        counts = self._counts[name]
        with ONE_AT_A_TIME:
            counts[labels] = counts.get(labels, 0) + amount

    def tool_name(self, name: str) -> str:
        """A tool's name as a label: its own for the first hundred of the process."""
        if name not in self._tool_names:
            if len(self._tool_names) >= MAX_TOOL_NAMES:
                return OTHER
            self._tool_names.add(name)
        return name

    def _observe(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            # A copy: sessions go on counting in another thread.
            return [Observation(value, dict(labels)) for labels, value in dict(self._counts[metric.name]).items()]

        return read


class ModelMetrics:
    """Generations, their tokens and costs, and the tools that a model calls."""

    __slots__ = ("_metrics", "_of_bucket", "_own", "_simulated", "labels", "model")

    def __init__(self, metrics: Metrics, model: Model, backend: str | None) -> None:
        self._metrics = metrics
        self.model = model
        self._simulated = backend == "simulator"
        self._own = {c.PROVIDER_NAME: model.provider, c.REQUEST_MODEL: model.name, c.BACKEND: backend or "unknown"}
        self.labels: Labels = tuple(self._own.items())
        self._of_bucket = {bucket: self.labels + more for bucket, more in _BUCKETS.items()}

    def generations(self, record: op.TurnRecord, context: Context | None) -> None:
        """What the model generated in a turn, and the tokens that the provider reported for it."""
        operation = {c.OPERATION_NAME: c.OPERATION_GENERATE}
        if record.error_type:
            operation[c.ERROR_TYPE] = record.error_type
        for part in record.records:
            self.record(c.METRIC_OPERATION_DURATION, (part.end_ns - part.start_ns) / 1e9, context, operation)
        if record.usage is None:
            return
        for kind, tokens in (("input", record.usage.input_tokens), ("output", record.usage.output_tokens)):
            self.record(c.METRIC_TOKEN_USAGE, tokens, context, operation | {c.TOKEN_TYPE: kind})
        self.usage(record.usage)

    def usage(self, usage: Usage) -> None:
        """Tokens and their cost, by bucket."""
        for bucket, tokens in usage.buckets().items():
            self._metrics.count(c.METRIC_TOKENS, self._of_bucket[bucket], tokens)
        # A simulated call costs nobody anything.
        if (cost := cost_of(usage, self.model)) and not self._simulated:
            for bucket, usd in cost.details.items():
                if bucket != "total":
                    self._metrics.count(c.METRIC_COST, self._of_bucket[bucket], usd)

    def tool(self, start: op.StartTool, end: op.EndTool, context: Context | None) -> None:
        """A call that is over."""
        name = self._metrics.tool_name(start.name)
        labels = {c.OPERATION_NAME: c.OPERATION_TOOL, c.TOOL_NAME: name, c.TOOL_OUTCOME: str(end.outcome)}
        if tool_failed(end.outcome):
            labels[c.ERROR_TYPE] = str(end.outcome)
        self.record(c.METRIC_TOOL_DURATION, (end.at_ns - start.at_ns) / 1e9, context, labels)

    def count(self, name: str, labels: Mapping[str, str] | None = None, amount: float = 1) -> None:
        """Add to a count of this model's."""
        self._metrics.count(name, self.labels + tuple((labels or {}).items()), amount)

    def record(self, name: str, amount: float, context: Context | None, labels: Mapping[str, str]) -> None:
        """Record a measurement of this model's, in seconds or tokens; `context` is of the span that it exemplifies."""
        self._metrics.histograms[name].record(amount, {**self._own, **labels}, context)


class SessionMetrics:
    """Turns the operations of one session into measurements."""

    __slots__ = ("_answered_ns", "_began_ns", "_model", "_newest", "_tools")

    def __init__(self, model: ModelMetrics, began_ns: int) -> None:
        self._model = model
        self._began_ns = began_ns
        # The end of the newest turn, once it is told: one that waits for a tool may be told after the next began.
        self._newest = 0
        self._answered_ns: int | None = None
        self._tools: dict[str, op.StartTool] = {}
        self._model.count(c.METRIC_SESSIONS_ACTIVE)

    def apply(self, operation: op.Operation, context: Context | None, input_audio_s: float) -> None:
        """Measure one operation; `context` is that of its span."""
        match operation:
            case op.EndTurn(record):
                self._turn(record, context)
            case op.StartTool():
                self._tools[operation.call_id] = operation
            case op.EndTool(call_id):
                self._model.tool(self._tools.pop(call_id), operation, context)
                if not self._tools:
                    self._tools.clear()  # lets go of its table
            case op.EndConnection():
                self._connection(operation, context)
            case op.StartTurn(index, at_ns):
                if self._answered_ns is not None and at_ns >= self._answered_ns:
                    self._model.record(c.METRIC_GAP, (at_ns - self._answered_ns) / 1e9, context, {})
                self._newest, self._answered_ns = index, None
            case op.GoingAway():
                self._model.count(c.METRIC_GO_AWAYS)
            case op.ConnectionEnded(close=close):
                self._model.count(c.METRIC_CLOSES, {c.CONNECTION_CLOSE_CODE: str(close.code)})
            case op.LateInterruption(cause=cause):
                self._model.count(c.METRIC_INTERRUPTIONS, {c.TURN_INTERRUPTION_CAUSE: str(cause)})
            case op.Stalled(kind=kind):
                self._model.count(c.METRIC_STALLS, {c.TURN_STALL_KIND: str(kind)})
            case op.Odd(anomaly=anomaly):
                self._model.count(c.METRIC_ANOMALIES, {c.ANOMALY: str(anomaly)})
            case op.LooseUsage(usage=usage):
                self._model.usage(usage)
            case op.EndSession():
                self._session(operation, context, input_audio_s)

    def _turn(self, record: op.TurnRecord, context: Context | None) -> None:
        reason = {c.TURN_END_REASON: str(record.end_reason)}
        self._model.count(c.METRIC_TURNS, reason)
        self._model.record(c.METRIC_TURN_DURATION, (record.end_ns - record.start_ns) / 1e9, context, reason)
        if record.interruption_cause:
            self._model.count(c.METRIC_INTERRUPTIONS, {c.TURN_INTERRUPTION_CAUSE: str(record.interruption_cause)})
        if record.index == self._newest:
            self._answered_ns = record.end_ns
        self._waits(record, context)
        if record.heard and record.output_audio_s and record.interruption_cause:
            how = {
                c.HEARD_SOURCE: record.heard.source,
                c.TURN_INTERRUPTION_CAUSE: str(record.interruption_cause),
            }
            ratio = min(1.0, record.heard.duration_s / record.output_audio_s)
            self._model.record(c.METRIC_HEARD_RATIO, ratio, context, how)
        if record.silenced_s is not None:
            self._model.record(c.METRIC_TIME_TO_SILENCE, record.silenced_s, context, {})
        self._model.generations(record, context)

    def _waits(self, record: op.TurnRecord, context: Context | None) -> None:
        """What the user waited for, as a whole and in parts."""
        source = {c.TURN_START_SOURCE: str(record.source)}
        for name, seconds in (
            (c.METRIC_TTFA, record.time_to_first_audio_s),
            (c.METRIC_TTAA, record.time_to_audible_audio_s),
            (c.METRIC_TTP, record.time_to_playback_s),
        ):
            if seconds is not None:
                self._model.record(name, seconds, context, source)
        latency = record.latency
        for part, seconds in (
            ("endpointing", latency.endpointing_s),
            ("tool", latency.tool_s or None),  # most turns have none
            ("model", latency.model_s),
            ("transport", latency.transport_s),
        ):
            if seconds is not None:
                self._model.record(c.METRIC_LATENCY, seconds, context, {c.LATENCY_PART: part})

    def _connection(self, end: op.EndConnection, context: Context | None) -> None:
        if not end.connected and not end.error_type:
            return  # the caller hung up meanwhile
        labels = {c.CONNECTION_RESUMED: str(end.resumed).lower()}
        if end.error_type:
            labels[c.ERROR_TYPE] = end.error_type
        self._model.record(c.METRIC_SETUP_DURATION, end.setup_s, context, labels)
        if end.index > 1:
            self._model.count(c.METRIC_RECONNECTS, labels)

    def _session(self, end: op.EndSession, context: Context | None, input_audio_s: float) -> None:
        self._model.count(c.METRIC_SESSIONS_ACTIVE, amount=-1)
        closed = {c.SESSION_CLOSE_CODE: _close_code(end.close), c.SESSION_CLOSE_INITIATOR: end.close.initiator}
        self._model.record(c.METRIC_SESSION_DURATION, (end.at_ns - self._began_ns) / 1e9, context, closed)
        self._model.count(c.METRIC_AUDIO, {c.AUDIO_DIRECTION: "input"}, input_audio_s)
        self._model.count(c.METRIC_AUDIO, {c.AUDIO_DIRECTION: "output"}, end.totals.output_audio_s)
        if end.totals.dropped_audio_s:
            self._model.count(c.METRIC_DROPPED_AUDIO, amount=end.totals.dropped_audio_s)


def _observe_errors(_: CallbackOptions) -> Iterable[Observation]:
    return [Observation(error_count())]


def _close_code(close: Close) -> str:
    # A caller may close with any of two thousand codes of its own, and each would be series for ever.
    own = close.initiator == "client" and close.code >= _OWN_CODES
    return f"{close.code // 1000}xxx" if own else str(close.code)


_BUCKETS: dict[str, Labels] = {
    bucket: ((c.TOKEN_TYPE, "input" if bucket in INPUT_BUCKETS else "output"), (c.TOKEN_BUCKET, bucket))
    for bucket in BUCKETS
}
