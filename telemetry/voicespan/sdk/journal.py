"""The journal: what is known of a session's spans before they end, and how it is closed for a process that died.

Every open span of a session has a row of its owner's, with what it had when it began; the session's own span is
noted again with every turn that ends, with its totals, so that these are those of the turns that are stored. The span
itself is given them only when it ends.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping
from itertools import groupby
from types import MappingProxyType
from typing import Final, NamedTuple, cast

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.util.types import AttributeValue

from voicespan import conventions as c
from voicespan.sdk.records import Record
from voicespan.sdk.signals import Signal
from voicespan.sdk.tables import OpenRow, Tables

PROCESS_DIED: Final = "process_died"
_TOTALS = "voicespan.session."
_TURN_NAME = re.compile(re.escape(c.TURN).replace(r"\{index\}", r"(\d+)"))


class OpenSpan(NamedTuple):
    """A span that has not ended, with the attributes that it has at this moment; what else it has may still change."""

    span: ReadableSpan
    attributes: Mapping[str, AttributeValue]

    @classmethod
    def of(cls, span: ReadableSpan, more: Mapping[str, AttributeValue] | None = None) -> OpenSpan:
        """Note it, with `more` attributes than it has. Copies them and nothing else: this runs on the event loop."""
        # What the SDK has here copies its dict at once; dict() of it would go key by key, twenty times slower.
        noted = cast("MappingProxyType[str, AttributeValue]", span.attributes).copy()
        noted.update(more or {})
        return cls(span, noted)


def close_for(tables: Tables, gone: str, owner: str, sends: Collection[Signal]) -> int:
    """Store the open spans of an owner that is gone as ended, as far as is known; returns how many sessions they were.

    Where it sent its spans they are to be sent: by `owner` if that `sends` such, else by whoever comes.
    """
    sessions = 0
    sender = owner if Signal.TRACES in sends else gone
    rows = sorted(tables.open_spans(gone), key=lambda row: row.session_id)
    for _, group in groupby(rows, key=lambda row: row.session_id):
        spans = [(row, Span.FromString(row.body)) for row in group]
        last_ns = max(
            tables.last_ended_ns({row.trace_id for row, _ in spans}),
            *(max([span.start_time_unix_nano, *(e.time_unix_nano for e in span.events)]) for _, span in spans),
        )
        # What began last ended first: children before their parents.
        for row, span in sorted(spans, key=lambda pair: pair[1].start_time_unix_nano, reverse=True):
            if tables.has_span(row.trace_id, row.span_id):
                continue
            _close(span, last_ns)
            [stored] = tables.insert_rows([(_record(row, span), row.resource, row.scope)])
            if row.queued:
                tables.queue([(stored, Signal.TRACES)], sender)
            if span.name == c.WEBSOCKET_SESSION:
                sessions += 1
                # A ResourceSpans and a ScopeSpans without spans are, byte for byte, those of log records too.
                [stored] = tables.insert_rows([(_summary(row, span), row.resource, row.scope)])
                if row.queued and Signal.LOGS in sends:
                    tables.queue([(stored, Signal.LOGS)], owner)
    tables.close_all(gone)
    return sessions


def _summary(row: OpenRow, span: Span) -> Record:
    """The session's last event, as it would have told it itself."""
    told = {*c.IDENTITY, *c.EVENTS[c.EVENT_SUMMARY].attributes}
    log = LogRecord(
        time_unix_nano=span.end_time_unix_nano,
        observed_time_unix_nano=time.time_ns(),
        severity_number=SeverityNumber.SEVERITY_NUMBER_INFO,
        severity_text="INFO",
        event_name=c.EVENT_SUMMARY,
        trace_id=span.trace_id,
        span_id=span.span_id,
        flags=1,  # sampled, or it would not be here
        attributes=[pair for pair in span.attributes if pair.key in told],
    )
    return _record(row, span)._replace(
        signal=Signal.LOGS,
        body=log.SerializeToString(),
        parent_id="",
        name=c.EVENT_SUMMARY,
        start_ns=span.end_time_unix_nano,
    )


def _record(row: OpenRow, span: Span) -> Record:
    return Record(
        signal=Signal.TRACES,
        resource=b"",
        scope=b"",
        body=span.SerializeToString(),
        trace_id=row.trace_id,
        span_id=row.span_id,
        parent_id=span.parent_span_id.hex(),
        session_id=row.session_id,
        name=span.name,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
    )


def _close(span: Span, last_ns: int) -> None:
    span.end_time_unix_nano = last_ns
    span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message="the process died; the end is the last known"))
    _set(span, c.ERROR_TYPE, AnyValue(string_value=PROCESS_DIED))
    if span.name == c.WEBSOCKET_SESSION:
        _set(span, c.SESSION_CLOSE_INITIATOR, AnyValue(string_value="process"))
        if not any(pair.key == c.SESSION_TURNS for pair in span.attributes):
            _set(span, c.SESSION_TURNS, AnyValue(int_value=0))  # totals are noted with every turn that ends: none did
        stated = [(pair.key, pair.value) for pair in span.attributes if pair.key.startswith(_TOTALS)]
        for key, value in stated:  # once more where Langfuse can filter by it, as on a session that ended itself
            _set(span, c.LF_METADATA + key.removeprefix(_TOTALS), value)
    elif turn := _TURN_NAME.fullmatch(span.name):
        _set(span, c.TURN_INDEX, AnyValue(int_value=int(turn[1])))
        _set(span, c.TURN_END_REASON, AnyValue(string_value="error"))
    elif any(pair.key == c.TOOL_CALL_ID for pair in span.attributes):
        _set(span, c.TOOL_OUTCOME, AnyValue(string_value="orphaned"))


def _set(span: Span, key: str, value: AnyValue) -> None:
    for pair in span.attributes:
        if pair.key == key:
            pair.value.CopyFrom(value)
            return
    span.attributes.append(KeyValue(key=key, value=value))
