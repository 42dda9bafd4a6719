"""Operations to spans. The only place that opens and ends them; nothing is ever current, contexts are passed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from opentelemetry import trace
from opentelemetry._logs import Logger
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer

from voicespan import attributes as attr
from voicespan import conventions as c
from voicespan import identity as ident
from voicespan import messages as msg
from voicespan import operations as op
from voicespan import totals as tot
from voicespan.attributes import Attributes, Model
from voicespan.content import Capture
from voicespan.estimate import Bill, Estimator
from voicespan.happenings import SessionEvents
from voicespan.identity import Identity
from voicespan.messages import Conversation, Exchange
from voicespan.operations import EndReason, SessionTotals
from voicespan.recording import Kept, Recorder
from voicespan.redaction import redact
from voicespan.shape import AUTO_SPLIT_BYTES, TraceShape

# What a span weighs without its attributes, and an attribute without its text, in an OTLP message.
_SPAN_BYTES, _ATTRIBUTE_BYTES = 120, 12

# Of a turn of whose words nothing may leave.
_UNHEARD, _NO_TEXT = Exchange(), Attributes()

_Open = tuple[Span, Context]


class SessionSpans:
    """The spans of one session, from its `WebSocket Session` down; `totals` are its counts, which go on."""

    __slots__ = (
        "_capture",
        "_connection",
        "_conversation",
        "_estimator",
        "_events",
        "_identity",
        "_model",
        "_of_session",
        "_open_spans",
        "_recorder",
        "_session",
        "_shape",
        "_totals",
        "_trace_bytes",
        "_tracer",
        "context",
    )

    def __init__(
        self,
        tracer: Tracer,
        identity: Identity,
        model: Model,
        capture: Capture,
        totals: SessionTotals,
        *,
        parent: Context,
        start_ns: int,
        instructions: str,
        shape: TraceShape | None,
        logger: Logger | None,
        recorder: Recorder | None,
    ) -> None:
        self._tracer = tracer
        self._of_session = identity
        self._identity = identity.attributes()
        self._model = model
        self._shape = shape or TraceShape()
        self._totals = tot.RunningTotals(model, totals)
        self._recorder = recorder
        self._estimator = Estimator(model.name, instructions, model.provider)
        self._connection: Span | None = None
        self._open_spans: dict[int | str, _Open] = {}  # turns by their index, tools by the id of the call
        self._trace_bytes = 0
        within = ident.in_context(identity, parent)
        self._session, _ = self._open(
            c.WEBSOCKET_SESSION,
            SpanKind.INTERNAL,
            tot.in_context(self._totals, within),
            start_ns,
            {c.LF_TYPE: "agent", c.ENTRY: True, c.MODEL: model.name},
        )
        if self._shape.trace_scope == "session" and not self._session.is_recording():
            capture = replace(capture, on_spans=False)  # nor are the spans inside: no text is prepared for them
        self._capture = capture
        self._conversation = Conversation(instructions, capture) if capture.anywhere else None
        self.context = trace.set_span_in_context(self._session, within)
        self._events = SessionEvents(logger, self._session, self.context, self._identity, model)

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return trace.format_trace_id(self._session.get_span_context().trace_id)

    @property
    def cost_usd(self) -> float | None:
        """Of all that was billed so far, in US dollars; None where no price is known."""
        return self._totals.cost_usd

    def tool_context(self, call_id: str) -> Context | None:
        """The context in which a tool's handler runs, so that its spans nest under the call."""
        open_ = self._open_spans.get(call_id)
        return open_[1] if open_ else None

    def context_of(self, operation: op.Operation) -> Context | None:
        """The context of the span that an operation is about, while it is open."""
        match operation:
            case op.EndTurn(record):
                return self._open_spans[record.index][1]
            case op.EndTool(call_id):
                return self._open_spans[call_id][1]
            case _:
                return self.context

    def apply(self, operation: op.Operation, input_audio_s: float) -> None:
        """Carry out one operation of the lifecycle; `input_audio_s` is what has been sent so far, in seconds."""
        match operation:  # first what there is most of, and no event tells of
            case op.StartTurn(index, at_ns):
                self._open_spans[index] = self._open_turn(index, at_ns)
                if self._recorder:
                    self._recorder.turn_began(index, at_ns)
            case op.EndTurn(record):
                self._end_turn(record, input_audio_s)
            case op.StartTool():
                self._open_spans[operation.call_id] = self._open_tool(operation)
            case op.EndTool():
                self._end_tool(operation)
            case _:
                self._apply_rare(operation, input_audio_s)

    def _apply_rare(self, operation: op.Operation, input_audio_s: float) -> None:
        match operation:
            case op.StartConnection(index, at_ns):
                name = c.LIVE_CONNECTION.format(index=index)
                start: Attributes = {c.LF_TYPE: "span", **self._model.endpoint()}
                self._connection, _ = self._open(name, SpanKind.CLIENT, self.context, at_ns, start)
            case op.EndConnection():
                self._end_connection(operation)
            case op.LooseUsage(usage=usage):
                self._totals.add_cost(usage)
            case op.EndSession():
                self._events.apply(operation)
                self._end_session(operation, input_audio_s)
                if self._recorder:
                    self._recorder.finish()
                return
        self._events.apply(operation)

    def _open(  # noqa: PLR0917 - as the tracer takes them
        self,
        name: str,
        kind: SpanKind,
        parent: Context,
        start_ns: int,
        attributes: Attributes,
        links: Sequence[Link] = (),
    ) -> _Open:
        span = self._tracer.start_span(
            name, context=parent, kind=kind, start_time=start_ns, attributes=self._identity | attributes, links=links
        )
        return span, trace.set_span_in_context(span, parent)

    def _pop(self, key: int | str) -> _Open:
        found = self._open_spans.pop(key)
        if not self._open_spans:
            self._open_spans.clear()  # lets go of its table, which outweighs most of a session's state
        return found

    def _end_connection(self, end: op.EndConnection) -> None:
        span, self._connection = self._connection, None
        if span is None:
            return
        span.set_attributes(attr.connection_end(end))
        if end.error_type:
            reason = end.close.reason if end.close else ""
            span.set_status(Status(StatusCode.ERROR, redact(reason) or end.error_type))
        span.end(end.at_ns)

    # --- turns ------------------------------------------------------------------------------------------------------

    def _open_turn(self, index: int, at_ns: int) -> _Open:
        name = c.TURN.format(index=index)
        start: Attributes = {c.TURN_INDEX: index}
        if self._shape.generation_spans:
            kind = SpanKind.INTERNAL
            start[c.LF_TYPE] = "span"
        else:
            kind = SpanKind.CLIENT
            start |= attr.request(self._model)
        if not self._splits:
            return self._open(name, kind, self.context, at_ns, start)
        back = Link(self._session.get_span_context(), {c.LINK: "session"})
        root = ident.in_context(self._of_session, Context())
        span, context = self._open(name, kind, root, at_ns, start | {c.ENTRY: True}, [back])
        self._session.add_link(span.get_span_context(), {c.LINK: "turn"})
        return span, context

    @property
    def _splits(self) -> bool:
        scope = self._shape.trace_scope
        return scope == "turn" or (scope == "auto" and self._trace_bytes >= AUTO_SPLIT_BYTES)

    def _end_turn(self, record: op.TurnRecord, input_audio_s: float) -> None:
        span, context = self._pop(record.index)
        bill = self._estimator.turn(record)
        found = attr.turn(record, input_audio_s - self._totals.input_audio_s)
        self._totals.input_audio_s = input_audio_s
        response = attr.response(record, self._model, attr.output_type_of(record), bill)
        exchange, text = _UNHEARD, _NO_TEXT
        if self._conversation:
            exchange = self._exchange(record, self._conversation)
            text = attr.exchange_text(exchange.shown, exchange.answered, attr.finish_reason(record))
        on_spans = text if self._capture.on_spans else _NO_TEXT
        if self._shape.generation_spans:
            found |= attr.outcome(record)
            self._generations(record, bill, on_spans, context)
        else:
            found |= response
            found |= on_spans
        span.set_attributes(found)
        if record.end_reason is EndReason.ERROR:
            span.set_status(Status(StatusCode.ERROR, record.error_type or "the connection to the model was lost"))
        if self._capture.on_events:
            self._events.details(attr.request(self._model) | response, text, record, context)
        if self._shape.speech_spans:
            self._speech(record)
        # Before the span ends, for the journal notes the session together with it.
        self._totals.add(bill)
        if not self._awaits_sound(span, record, exchange):
            span.end(record.end_ns)
        self._weigh(found)

    def _awaits_sound(self, span: Span, record: op.TurnRecord, exchange: Exchange) -> bool:
        """Whether a turn is recorded: then its span ends in a moment, when its sound is kept."""
        of = span.get_span_context()
        if not self._recorder or not of.trace_flags.sampled:
            return False
        trace_id, span_id = trace.format_trace_id(of.trace_id), trace.format_span_id(of.span_id)
        return self._recorder.turn_ended(
            record, trace_id, span_id, partial(self._end_with_sound, span, record, exchange)
        )

    @staticmethod
    def _end_with_sound(span: Span, record: op.TurnRecord, exchange: Exchange, kept: Sequence[Kept]) -> None:
        span.set_attributes(attr.exchange_sound(exchange, kept))
        span.end(record.end_ns)

    def _exchange(self, record: op.TurnRecord, conversation: Conversation) -> Exchange:
        """The words of a turn, which `conversation` goes on with."""
        asked, answered = msg.question(record, self._capture), msg.answer(record, self._capture)
        shown = [*conversation.recent(record.index), *asked]
        conversation.extend([*asked, *answered], record.index)
        return Exchange(shown, answered, asked=bool(asked), said=bool(record.model_text))

    def _generations(self, record: op.TurnRecord, bill: Bill | None, text: Attributes, parent: Context) -> None:
        """A span for each; usage that was estimated, or that came without any output, is the last one's."""
        parts = list(record.records)
        if not parts:
            if bill is None:
                return
            parts = [op.GenerationRecord(record.start_ns, record.end_ns)]
        if bill and not any(part.usage for part in parts) and not bill.estimated:
            parts[-1] = replace(parts[-1], usage=bill.usage)
        name = c.REALTIME_INFERENCE.format(model=self._model.name)
        for part in parts:
            last = part is parts[-1]
            found = attr.inference(record, part, self._model, last=last)
            if last:
                found |= text
                if bill and bill.estimated:
                    found |= attr.billed(bill, self._model)
            span, _ = self._open(name, SpanKind.CLIENT, parent, part.start_ns, found)
            if record.end_reason is EndReason.ERROR and last:
                span.set_status(Status(StatusCode.ERROR, record.error_type or "the connection to the model was lost"))
            span.end(part.end_ns)

    def _speech(self, record: op.TurnRecord) -> None:
        """The user's speech and the answer's playback, where both ends of them were marked."""
        for name, ends in ((c.USER_SPEECH, record.speech_ns), (c.AGENT_SPEECH, record.playback_ns)):
            if ends is None or ends[1] is None or ends[1] < ends[0]:
                continue
            found: Attributes = {c.LF_TYPE: "event", c.TURN_INDEX: record.index}
            span, _ = self._open(name, SpanKind.INTERNAL, self.context, ends[0], found)
            span.end(ends[1])

    def _weigh(self, found: Attributes) -> None:
        """What a turn adds to the trace, roughly: its text counts, the rest is small."""
        if self._shape.trace_scope != "auto":
            return
        sizes = (len(name) + _ATTRIBUTE_BYTES + (len(v) if isinstance(v, str) else 0) for name, v in found.items())
        self._trace_bytes += _SPAN_BYTES + sum(sizes)

    # --- tools ------------------------------------------------------------------------------------------------------

    def _open_tool(self, start: op.StartTool) -> _Open:
        turn, parent = self._open_spans[start.turn]
        links: list[Link] = []
        if not start.blocking:
            # It may outlive its turn, and children lie inside their parents.
            links, parent = [Link(turn.get_span_context(), {c.LINK: "turn"})], self.context
        name = c.TOOL.format(name=start.name)
        found = attr.tool_start(start, self._capture)
        return self._open(name, SpanKind.INTERNAL, parent, start.at_ns, found, links)

    def _end_tool(self, end: op.EndTool) -> None:
        span, _ = self._pop(end.call_id)
        found = attr.tool_end(end, self._capture)
        span.set_attributes(found)
        if attr.tool_failed(end.outcome):
            span.set_status(Status(StatusCode.ERROR, self._capture.error(end.error, end.outcome.value)))
        span.end(end.at_ns)
        self._weigh(found)

    # --- the session ------------------------------------------------------------------------------------------------

    def _end_session(self, end: op.EndSession, input_audio_s: float) -> None:
        self._totals.input_audio_s = input_audio_s
        totals = self._totals.attributes()
        stated = totals | tot.session_close(end.close)
        if end.error_type:
            stated[c.ERROR_TYPE] = end.error_type
            self._session.set_status(Status(StatusCode.ERROR, redact(end.close.reason) or end.error_type))
        self._session.set_attributes(stated | tot.for_filters(totals | tot.session_close(end.close)))
        if self._capture.on_spans and self._conversation:
            self._session.set_attributes(attr.session_text(self._conversation))
        self._events.summary(stated, end.at_ns)
        for span, _ in self._open_spans.values():  # none, unless telling of one failed
            span.end(end.at_ns)
        self._session.end(end.at_ns)
