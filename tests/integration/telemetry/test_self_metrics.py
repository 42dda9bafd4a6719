"""What telemetry tells of itself is true: refused, failed, waiting and lost are counted as such."""

from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from support.otlp_sink import OtlpHttpSink
from support.stores import end_spans, provider_of, waiting
from voicespan import conventions as c
from voicespan.sdk.endpoint import Endpoint
from voicespan.sdk.self_metrics import observe
from voicespan.sdk.sender import Sender
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store
from voicespan.sdk.transport import transport_for


def read(reader: InMemoryMetricReader) -> dict[tuple[str, object], float]:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        (metric.name, (point.attributes or {}).get(c.SIGNAL)): point.value  # type: ignore[union-attr]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def test_the_numbers_are_those_of_what_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicespan.sdk.sender.FIRST_DELAY_S", 0.02)
    reader = InMemoryMetricReader()
    store = Store(tmp_path / "traces.db", send=[Signal.TRACES])
    tracer = provider_of(store).get_tracer("t")
    with OtlpHttpSink() as receiver:
        sender = Sender(store, transport_for(Endpoint(f"{receiver.base_url}/v1/traces")))
        observe(MeterProvider([reader], shutdown_on_exit=False).get_meter(c.SCOPE), store, {Signal.TRACES: sender})
        receiver.fail_next(503, times=2)
        tracer.start_span("sent at last").end()
        receiver.spans.wait_count(1)
        receiver.fail_next(400)
        tracer.start_span("refused").end()
        receiver.requests.wait_count(4)
        while store.queued(Signal.TRACES):
            store.flush(5)
        assert sender.stop(5)
    tracer.start_span("waits").end()
    assert store.flush(5)
    told = read(reader)
    assert {name for name, _ in told} == {
        name for name in c.METRICS if name.startswith(("voicespan.store.", "voicespan.sender."))
    }
    assert told[c.METRIC_STORE_WRITTEN, None] == 3
    assert told[c.METRIC_STORE_DROPPED, None] == told[c.METRIC_STORE_RECOVERED, None] == 0
    assert told[c.METRIC_STORE_QUEUED, "traces"] == 1
    assert told[c.METRIC_SENDER_SENT, "traces"] == told[c.METRIC_SENDER_REJECTED, "traces"] == 1
    assert told[c.METRIC_SENDER_FAILED, "traces"] == 2
    assert told[c.METRIC_STORE_SIZE, None] >= (tmp_path / "traces.db").stat().st_size > 0
    store.prune(0)
    assert read(reader)[c.METRIC_STORE_DROPPED, None] == 1
    assert read(reader)[c.METRIC_STORE_QUEUED, "traces"] == 0
    store.close()


def test_the_age_of_the_oldest_is_of_what_waits_now(tmp_path: Path) -> None:
    store = Store(tmp_path / "traces.db", send=[Signal.TRACES])
    end_spans(store, "old")
    with store.locked() as database:
        database.execute("UPDATE records SET written_s = written_s - 100")
        database.commit()
    batch = waiting(store)
    assert 100 <= store.stats().oldest_age_s[Signal.TRACES] < 160
    store.accepted(batch)
    assert store.next_batch(Signal.TRACES, 10, 1 << 20) is None
    assert store.stats().oldest_age_s == {}
    store.close()
