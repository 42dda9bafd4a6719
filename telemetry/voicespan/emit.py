"""Operations to spans. The only place that opens and ends them; nothing is ever current, contexts are passed on."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from voicespan import attributes as attr
from voicespan import conventions as c
from voicespan import identity as ident
from voicespan import messages as msg
from voicespan import operations as op
from voicespan.attributes import Model
from voicespan.content import Capture
from voicespan.estimate import Estimator
from voicespan.identity import Identity
from voicespan.messages import Conversation
from voicespan.operations import EndReason
from voicespan.usage import Usage


class SessionSpans:
    """The spans of one session, from its `WebSocket Session` down."""

    def __init__(
        self,
        tracer: Tracer,
        identity: Identity,
        model: Model,
        capture: Capture,
        *,
        parent: Context,
        start_ns: int,
        instructions: str = "",
    ) -> None:
        self._tracer = tracer
        self._identity = identity.attributes()
        self._model = model
        self._capture = capture
        self._conversation = Conversation(instructions if capture.on_spans else "", capture)
        self._cost_usd: float | None = None
        self._estimator = Estimator(model.name, instructions)
        self._estimated = Usage()
        self._connection: Span | None = None
        self._turns: dict[int, tuple[Span, Context]] = {}
        self._tools: dict[str, tuple[Span, Context]] = {}
        self._session, self.context = self._open(
            c.WEBSOCKET_SESSION,
            SpanKind.INTERNAL,
            ident.in_context(identity, parent),
            start_ns,
            {c.LF_TYPE: "agent", c.ENTRY: True},
        )

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return trace.format_trace_id(self._session.get_span_context().trace_id)

    def tool_context(self, call_id: str) -> Context | None:
        """The context in which a tool's handler runs, so that its spans nest under the call."""
        open_ = self._tools.get(call_id)
        return open_[1] if open_ else None

    def context_of(self, operation: op.Operation) -> Context | None:
        """The context of the span that an operation is about, while it is open."""
        match operation:
            case op.EndTurn(record):
                return self._turns[record.index][1]
            case op.EndTool(call_id):
                return self._tools[call_id][1]
            case _:
                return self.context

    def apply(self, operation: op.Operation, input_audio_s: float) -> None:
        """Carry out one operation of the lifecycle; `input_audio_s` is what has been sent so far, in seconds."""
        match operation:
            case op.StartConnection(index, at_ns):
                name = c.LIVE_CONNECTION.format(index=index)
                start: attr.Attributes = {c.LF_TYPE: "span", **self._model.endpoint()}
                self._connection, _ = self._open(name, SpanKind.CLIENT, self.context, at_ns, start)
            case op.EndConnection():
                self._end_connection(operation)
            case op.StartTurn(index, at_ns):
                name = c.TURN.format(index=index)
                self._turns[index] = self._open(name, SpanKind.CLIENT, self.context, at_ns, {c.LF_TYPE: "generation"})
            case op.EndTurn(record):
                self._end_turn(record)
            case op.StartTool():
                _, parent = self._turns[operation.turn]
                self._tools[operation.call_id] = self._open(
                    c.TOOL.format(name=operation.name),
                    SpanKind.INTERNAL,
                    parent,
                    operation.at_ns,
                    attr.tool_start(operation, self._capture),
                )
            case op.EndTool():
                self._end_tool(operation)
            case op.LooseUsage(at_ns, usage):
                self._add_cost(usage)
                self._session.add_event("voicespan.usage_without_turn", {"total": usage.total}, at_ns)
            case op.Note(name, at_ns, attributes):
                self._session.add_event(f"voicespan.{name}", dict(attributes), at_ns)
            case op.EndSession():
                self._end_session(operation, input_audio_s)

    def _open(
        self, name: str, kind: SpanKind, parent: Context, start_ns: int, attributes: attr.Attributes
    ) -> tuple[Span, Context]:
        span = self._tracer.start_span(
            name, context=parent, kind=kind, start_time=start_ns, attributes=self._identity | attributes
        )
        return span, trace.set_span_in_context(span, parent)

    def _end_connection(self, end: op.EndConnection) -> None:
        span, self._connection = self._connection, None
        if span is None:
            return
        span.set_attributes(attr.connection_end(end))
        if end.error_type:
            reason = end.close.reason if end.close else ""
            span.set_status(Status(StatusCode.ERROR, reason or end.error_type))
        span.end(end.at_ns)

    def _end_turn(self, record: op.TurnRecord) -> None:
        span, _ = self._turns.pop(record.index)
        estimated = self._estimator.turn(record)
        span.set_attributes(attr.turn(record, self._model, estimated))
        if self._capture.on_spans:
            asked, answered = msg.question(record, self._capture), msg.answer(record, self._capture)
            shown = [*self._conversation.recent(), *asked]
            span.set_attributes(attr.exchange_text(shown, answered, attr.finish_reason(record)))
            self._conversation.extend([*asked, *answered])
        if record.end_reason is EndReason.ERROR:
            span.set_status(Status(StatusCode.ERROR, record.error_type or "the connection to the model was lost"))
        self._add_cost(record.usage or estimated)
        if estimated:
            self._estimated += estimated
        span.end(record.end_ns)

    def _add_cost(self, usage: Usage | None) -> None:
        if cost := attr.cost_of(usage, self._model):
            self._cost_usd = (self._cost_usd or 0.0) + cost.total

    def _end_tool(self, end: op.EndTool) -> None:
        span, _ = self._tools.pop(end.call_id)
        span.set_attributes(attr.tool_end(end, self._capture))
        if attr.tool_failed(end.outcome):
            span.set_status(Status(StatusCode.ERROR, self._capture.error(end.error, end.outcome.value)))
        span.end(end.at_ns)

    def _end_session(self, end: op.EndSession, input_audio_s: float) -> None:
        self._session.set_attributes(attr.session_end(end, self._cost_usd, input_audio_s, self._estimated))
        if self._capture.on_spans:
            self._session.set_attributes(attr.session_text(self._conversation))
        if end.error_type:
            self._session.set_status(Status(StatusCode.ERROR, end.close.reason or end.error_type))
        self._session.end(end.at_ns)
