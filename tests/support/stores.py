"""A store in a file of the test's own, spans that end in it, and what waits to leave it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util.types import AttributeValue

from support.received import ReceivedSpan
from voicespan.sdk.processors import StoreProcessor
from voicespan.sdk.reading import StoredSpan
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store
from voicespan.sdk.tables import Batch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traces.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """Its traces wait for a sender, which is not there."""
    opened = Store(path, send=[Signal.TRACES])
    yield opened
    opened.close()


def provider_of(store: Store, service: str = "test") -> TracerProvider:
    provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(StoreProcessor(store))
    return provider


def end_spans(store: Store, *names: str, **attributes: AttributeValue) -> None:
    """They are written when it returns."""
    tracer = provider_of(store).get_tracer("t")
    for name in names:
        tracer.start_span(name, attributes=attributes).end()
    assert store.flush(5)


def waiting(store: Store, max_records: int = 1_000, max_bytes: int = 1 << 30) -> Batch:
    """What a sender would send next."""
    batch = store.next_batch(Signal.TRACES, max_records, max_bytes)
    assert batch is not None
    return batch


def rejected_count(store: Store) -> int:
    """How many records are set aside, whoever did that."""
    with store.locked() as database:
        (count,) = database.execute("SELECT count(*) FROM outbox WHERE rejected IS NOT NULL").fetchone()
    return int(count)


def names_in(batch: Batch) -> list[str]:
    decoded = ExportTraceServiceRequest.FromString(batch.request)
    return [s.name for r in decoded.resource_spans for scope in r.scope_spans for s in scope.spans]


def stored(span: ReceivedSpan) -> StoredSpan:
    """A span that was received, as the store would read it back."""
    return StoredSpan(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_span_id,
        name=span.name,
        kind=span.kind,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        status=span.status,
        status_message=span.status_message,
        attributes=span.attributes,  # type: ignore[arg-type]
    )
