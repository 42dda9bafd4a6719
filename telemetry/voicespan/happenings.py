"""What has no duration, as log events in the session's context and, for trace viewers, as events of its span."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from voicespan import attributes as attr
from voicespan import conventions as c
from voicespan import operations as op
from voicespan.attributes import Attributes, Model
from voicespan.content import numbers_json
from voicespan.guard import guarded
from voicespan.operations import EndReason

_LEVELS = {SeverityNumber.INFO: "INFO", SeverityNumber.WARN: "WARN"}
# What of a turn's attributes its event repeats.
_DETAILS = tuple(name for name in c.EVENTS[c.EVENT_DETAILS].attributes if name not in {c.TURN_INDEX})


class SessionEvents:
    """One session's. Without a logger they are span events alone."""

    __slots__ = ("_context", "_identity", "_logger", "_model", "_serving", "_span")

    def __init__(self, logger: Logger | None, span: Span, context: Context, identity: Attributes, model: Model) -> None:
        self._logger = logger
        self._span = span
        self._context = context
        self._identity = identity
        self._model = model
        self._serving: int | None = None

    def apply(self, operation: op.Operation) -> None:
        """Tell one operation, if it is one that has an event."""
        match operation:
            case op.StartConnection(index, at_ns) if index > 1:
                self.tell(c.EVENT_RECONNECT, at_ns, {c.CONNECTION_INDEX: index})
            case op.EndConnection(connected=True):
                self._connected(operation)
            case op.ConnectionEnded(_, at_ns, close, error_type):
                self._ended(at_ns, attr.connection_close(close), error_type)
            case op.GoingAway(at_ns, time_left_s):
                self.tell(c.EVENT_GO_AWAY, at_ns, {c.CONNECTION_GO_AWAY: time_left_s})
            case op.Stalled(at_ns, kind, turn):
                self._warn(c.EVENT_STALL, at_ns, {c.TURN_INDEX: turn, c.TURN_STALL_KIND: kind.value})
            case op.LateInterruption(at_ns, cause, turn):
                found = {c.TURN_INDEX: turn, c.TURN_INTERRUPTION_CAUSE: cause.value}
                self.tell(c.EVENT_LATE_INTERRUPTION, at_ns, found)
            case op.LooseUsage(at_ns, usage):
                details = numbers_json(usage.details())
                total = usage.provider_total or None
                self.tell(c.EVENT_LOOSE_USAGE, at_ns, {c.LF_USAGE: details, c.PROVIDER_TOTAL: total})
            case op.Odd(at_ns, anomaly, detail):
                self._warn(c.EVENT_PROTOCOL_ERROR, at_ns, {c.ANOMALY: anomaly.value, c.ERROR_TYPE: detail})
            case op.EndSession(at_ns, close):
                self._ended(at_ns, {c.CONNECTION_CLOSE_INITIATOR: close.initiator}, operation.error_type)

    def details(self, turn: Attributes, text: Attributes, record: op.TurnRecord, context: Context) -> None:
        """What was said in a turn, in the turn's own context."""
        found = {name: value for name in _DETAILS if (value := turn.get(name, text.get(name))) is not None}
        level = SeverityNumber.WARN if record.end_reason is EndReason.ERROR else SeverityNumber.INFO
        self._log(c.EVENT_DETAILS, record.end_ns, found | {c.TURN_INDEX: record.index}, level, context)

    def summary(self, totals: Attributes, at_ns: int) -> None:
        """The session's totals: its last event."""
        self._log(c.EVENT_SUMMARY, at_ns, totals, SeverityNumber.INFO, self._context)

    def tell(self, name: str, at_ns: int, found: Mapping[str, AttributeValue | None], warn: bool = False) -> None:
        """A log event, and its mirror on the session's span."""
        told = attr.known(found)
        self._span.add_event(name, told, at_ns)
        self._log(name, at_ns, told, SeverityNumber.WARN if warn else SeverityNumber.INFO, self._context)

    def _warn(self, name: str, at_ns: int, found: Mapping[str, AttributeValue | None]) -> None:
        self.tell(name, at_ns, found, warn=True)

    @guarded(default=None)  # by itself: a program's log processor may fail, and the span that ends here is to end
    def _log(
        self, name: str, at_ns: int, found: Mapping[str, AttributeValue], level: SeverityNumber, context: Context
    ) -> None:
        if self._logger is None:
            return
        self._logger.emit(
            LogRecord(
                timestamp=at_ns,
                context=context,
                severity_number=level,
                severity_text=_LEVELS[level],
                attributes={**self._identity, **found},
                event_name=name,
            )
        )

    def _connected(self, end: op.EndConnection) -> None:
        self._serving = end.index
        self.tell(c.EVENT_CONNECTION_STARTED, end.at_ns, self._of_connection(end.index))
        if end.index > 1:
            found = {
                c.CONNECTION_INDEX: end.index,
                c.CONNECTION_GAP: end.gap_s,
                c.CONNECTION_RESUMED: end.resumed,
                c.CONNECTION_HANDLE_AGE: end.handle_age_s,
            }
            self.tell(c.EVENT_RESUMED, end.at_ns, found)

    def _ended(self, at_ns: int, closed: Attributes, error_type: str | None) -> None:
        """The connection that served has ended; with the session, if it did not before."""
        if self._serving is None:
            return
        found = {**self._of_connection(self._serving), **closed, c.ERROR_TYPE: error_type}
        self.tell(c.EVENT_CONNECTION_ENDED, at_ns, found, warn=error_type is not None)
        self._serving = None

    def _of_connection(self, index: int) -> Attributes:
        return {
            **self._model.endpoint(),
            c.REQUEST_MODEL: self._model.name,
            c.REALTIME_SESSION_ID: f"{self._identity[c.SESSION_ID]!s}-{index}",
            c.CONNECTION_INDEX: index,
        }
