"""The sender: what OTLP says to retry is retried, what it does not is set aside, order is kept, stopping is bounded."""

import itertools
import sqlite3
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink
from support.stores import end_spans, path, rejected_count, store
from voicespan.sdk import http_transport
from voicespan.sdk import sender as sender_module
from voicespan.sdk import transport as transport_module
from voicespan.sdk.endpoint import Endpoint
from voicespan.sdk.sender import Sender
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store
from voicespan.sdk.tables import Batch
from voicespan.sdk.transport import Accepted, transport_for

__all__ = ["path", "store"]


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "FIRST_DELAY_S", 0.02)
    monkeypatch.setattr(sender_module, "GATHER_S", 0.01)


@pytest.fixture
def receiver() -> Iterator[OtlpHttpSink]:
    with OtlpHttpSink() as sink:
        yield sink


def start(store: Store, receiver: OtlpHttpSink, **more: str) -> Sender:
    return Sender(store, transport_for(Endpoint(f"{receiver.base_url}/v1/traces", headers=more)))


def test_spans_arrive_in_order_and_leave_the_outbox(store: Store, receiver: OtlpHttpSink) -> None:
    sender = start(store, receiver, authorization="Basic abc")
    names = [f"span {n}" for n in range(700)]
    end_spans(store, *names)
    received = receiver.spans.wait_count(700)
    assert [span.name for span in received] == names
    assert sender.stop(5)
    assert store.stats().queued[Signal.TRACES] == 0
    assert sender.stats.sent == 700
    assert receiver.requests.all()[0].headers["authorization"] == "Basic abc"
    assert receiver.requests.all()[0].headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass_is_retried(store: Store, receiver: OtlpHttpSink, status: int) -> None:
    receiver.fail_next(status, times=2)
    sender = start(store, receiver)
    end_spans(store, "patient")
    assert [span.name for span in receiver.spans.wait_count(1)] == ["patient"]
    assert sender.stop(5)
    assert (sender.stats.failed_posts, sender.stats.sent) == (2, 1)


def test_retry_after_is_honoured(store: Store, receiver: OtlpHttpSink) -> None:
    receiver.fail_next(429, retry_after_s=1)
    sender = start(store, receiver)
    end_spans(store, "patient")
    receiver.spans.wait_count(1)
    first, second = receiver.requests.all()
    assert second.received_ns - first.received_ns >= 1_000_000_000
    assert sender.stop(5)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 500])
def test_what_will_not_pass_is_set_aside_and_the_rest_goes_on(
    store: Store, receiver: OtlpHttpSink, status: int
) -> None:
    receiver.fail_next(status)
    end_spans(store, "poison")
    sender = start(store, receiver)
    receiver.requests.wait_count(1)
    end_spans(store, "healthy")
    assert [span.name for span in receiver.spans.wait_count(1)] == ["healthy"]
    assert sender.stop(5)
    assert (sender.stats.rejected, rejected_count(store), store.stats().queued[Signal.TRACES]) == (1, 1, 0)
    assert str(status) in sender.stats.last_error


def test_an_outage_loses_nothing(store: Store, receiver: OtlpHttpSink) -> None:
    receiver.stop()
    sender = start(store, receiver)
    end_spans(store, "one", "two")
    receiver.start()
    assert [span.name for span in receiver.spans.wait_count(2)] == ["one", "two"]
    assert sender.stop(5)


def test_stopping_with_nobody_there_leaves_spans_to_the_next_start(store: Store, receiver: OtlpHttpSink) -> None:
    receiver.stop()
    sender = start(store, receiver)
    end_spans(store, "later")
    assert not sender.stop(5), "something is left"
    assert store.stats().queued[Signal.TRACES] == 1
    receiver.start()
    again = start(store, receiver)
    receiver.spans.wait_count(1)
    assert again.stop(5)


def test_stopping_sends_what_waits(store: Store, receiver: OtlpHttpSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "GATHER_S", 30.0)
    sender = start(store, receiver)
    end_spans(store, "last words")
    assert sender.stop(5)
    assert [span.name for span in receiver.spans.all()] == ["last words"]


def test_stopping_tries_once_more_also_in_the_middle_of_a_delay(
    store: Store, receiver: OtlpHttpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "FIRST_DELAY_S", 60.0)
    receiver.fail_next(503)
    sender = start(store, receiver)
    end_spans(store, "last words")
    receiver.requests.wait_count(1)
    assert sender.stop(5)
    assert [span.name for span in receiver.spans.all()] == ["last words"]


def test_what_is_accepted_while_the_file_cannot_be_written_is_not_sent_again(
    store: Store, receiver: OtlpHttpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "SETTLE_EVERY_S", 0.02)
    end_spans(store, "once")
    accepted, failures = store.accepted, iter([True, True, True])

    def full(batch: Batch) -> None:
        if next(failures, False):
            raise sqlite3.OperationalError("database or disk is full")
        accepted(batch)

    monkeypatch.setattr(store, "accepted", full)
    sender = start(store, receiver)
    receiver.spans.wait_count(1)
    while store.queued(Signal.TRACES):
        store.flush(5)
    assert sender.stop(5)
    assert [span.name for span in receiver.spans.all()] == ["once"]


def test_a_batch_that_is_too_large_is_halved_and_one_span_that_is_is_set_aside(
    store: Store, receiver: OtlpHttpSink
) -> None:
    end_spans(store, *(f"span {n}" for n in range(4)))
    receiver.fail_next(413, times=3)  # four, two, one
    sender = start(store, receiver)
    assert [span.name for span in receiver.spans.wait_count(3)] == ["span 1", "span 2", "span 3"]
    assert sender.stop(5)
    assert rejected_count(store) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("0", 0.0), (None, None), ("soon", None), ("nan", None), ("inf", None), ("-1", None)],
)
def test_retry_after_is_a_finite_number_of_seconds(header: str | None, seconds: float | None) -> None:
    assert http_transport._retry_after(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    in_a_minute = http_transport._retry_after(formatdate(time.time() + 60, usegmt=True))
    assert in_a_minute is not None
    assert 50 < in_a_minute <= 60
    assert http_transport._retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


def test_a_receiver_that_says_retry_at_once_is_not_flooded(store: Store, receiver: OtlpHttpSink) -> None:
    receiver.fail_next(503, times=3, retry_after_s=0)
    sender = start(store, receiver)
    end_spans(store, "patient")
    receiver.spans.wait_count(1)
    sent = [request.received_ns for request in receiver.requests.all()]
    assert all(later - earlier > 10_000_000 for earlier, later in itertools.pairwise(sent))
    assert sender.stop(5)


def test_a_partial_success_is_read() -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTracePartialSuccess,
        ExportTraceServiceResponse,
    )

    partial = ExportTracePartialSuccess(rejected_spans=3, error_message="too old")
    body = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    assert transport_module.accepted_otlp(body) == Accepted(3, "too old")
    assert transport_module.accepted_otlp(b"{not protobuf") == Accepted()


def test_grpc(store: Store) -> None:
    with OtlpGrpcSink() as receiver:
        sender = Sender(store, transport_for(Endpoint(receiver.endpoint, "grpc", insecure=True)))
        end_spans(store, "one")
        assert [span.name for span in receiver.spans.wait_count(1)] == ["one"]
        assert sender.stop(5)


def test_grpc_with_nobody_there_is_tried_again(store: Store) -> None:
    receiver = OtlpGrpcSink()
    receiver.start()
    receiver.stop()
    transport = transport_for(Endpoint(receiver.endpoint, "grpc", insecure=True, timeout_s=1))
    assert isinstance(transport.post(b""), transport_module.Again)
    transport.close()
