"""What the SDK's providers call as spans and log records pass: who they belong to, and into the store with them."""

from __future__ import annotations

import copy
from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from voicespan import conventions as c
from voicespan import identity as ident
from voicespan import totals as tot
from voicespan.guard import guarded
from voicespan.sdk.journal import OpenSpan
from voicespan.sdk.store import Store
from voicespan.totals import RunningTotals

# With what ends under these names a session's span is noted again, or ends.
_NOTED = (c.TURN.split("{", maxsplit=1)[0], c.WEBSOCKET_SESSION)


class IdentityProcessor(SpanProcessor):
    """Stamps a session's identity on every span that is started inside it, also on the program's own."""

    @guarded(default=None)
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Identity comes from the context, never from baggage: the client could write that."""
        identity = ident.of_context(parent_context)
        if identity:
            present = span.attributes or {}
            if c.SESSION_ID in present and _is_ours(span):
                return  # begun with all of it
            if missing := {k: v for k, v in identity.attributes().items() if k not in present}:
                span.set_attributes(missing)


class IdentityLogProcessor(LogRecordProcessor):
    """Stamps a session's identity on every log record that is emitted inside it."""

    @guarded(default=None)
    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """The record has the context that it was emitted in."""
        record = log_record.log_record
        identity = ident.of_context(record.context)
        if identity:
            record.attributes = {**identity.attributes(), **(record.attributes or {})}

    def shutdown(self) -> None:
        """Nothing to do."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return True


class _Session(NamedTuple):
    """The span of a session that is open, and its totals, where it was started with any."""

    span: Span
    totals: RunningTotals | None

    def noted(self) -> OpenSpan:
        """For the journal: as it would end now."""
        return OpenSpan.of(self.span, self.totals.attributes() if self.totals else None)


class StoreProcessor(SpanProcessor):
    """Hands sampled spans to the store: all when they end, and those of a session also when they begin.

    With each turn that ends goes what the session's span would say if it ended then: what it says, and its totals.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sessions: dict[str, _Session] = {}

    @guarded(default=None)
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Appends to a queue, for the journal."""
        if not _is_ours(span) or not _is_sampled(span):
            return
        begun = OpenSpan.of(span)
        session_id = begun.attributes.get(c.SESSION_ID)  # of the span itself it takes five calls
        if not isinstance(session_id, str):
            return
        if span.name == c.WEBSOCKET_SESSION:
            self._sessions[session_id] = _Session(span, tot.of_context(parent_context))
        self._store.append(begun)

    @guarded(default=None)
    def on_end(self, span: ReadableSpan) -> None:
        """Appends to a queue; encoding and writing happen in the store's thread."""
        if not _is_sampled(span):
            return
        if _is_ours(span) and span.name.startswith(_NOTED):
            session_id = _session_id(span)
            session = self._sessions.get(session_id)
            if session and span.name != c.WEBSOCKET_SESSION:
                self._store.append(span, session.noted())  # together, or not at all
                return
            if session and session.span.context == span.context:
                del self._sessions[session_id]
        self._store.append(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until what has ended is in the store."""
        return self._store.flush(timeout_millis / 1000)


def _session_id(span: ReadableSpan) -> str:
    """Empty for a span of no session."""
    session_id = (span.attributes or {}).get(c.SESSION_ID)
    return session_id if isinstance(session_id, str) else ""


def _is_sampled(span: ReadableSpan) -> bool:
    of = span.context
    return of is not None and of.trace_flags.sampled


def _is_ours(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == c.SCOPE


class StoreLogProcessor(LogRecordProcessor):
    """Hands log records to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @guarded(default=None)
    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Appends to a queue. A copy without the context, which would keep whole spans alive."""
        record = copy.copy(log_record.log_record)
        record.context = Context()
        self._store.append(
            ReadableLogRecord(
                record,
                log_record.resource or Resource.get_empty(),
                log_record.instrumentation_scope,
                log_record.limits,
            )
        )

    def shutdown(self) -> None:
        """The store is its maker's to close."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until what was emitted is in the store."""
        return self._store.flush(timeout_millis / 1000)
