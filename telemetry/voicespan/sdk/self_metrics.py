"""Telemetry about telemetry: how the store and the senders fare, read from plain numbers when metrics are collected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from voicespan import conventions as c
from voicespan.sdk.sender import Sender
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store

Reading = Iterable[tuple[Signal | None, float]]


def observe(meter: Meter, store: Store, senders: Mapping[Signal, Sender]) -> None:
    """Make the instruments of what the store and the senders tell of themselves."""
    reads: dict[str, Callable[[], Reading]] = {
        c.METRIC_STORE_QUEUED: lambda: [*store.stats().queued.items()],
        c.METRIC_STORE_OLDEST: lambda: [*(dict.fromkeys(senders, 0.0) | store.stats().oldest_age_s).items()],
        c.METRIC_STORE_SIZE: lambda: [(None, store.stats().size_bytes)],
        c.METRIC_STORE_WRITTEN: lambda: [(None, store.stats().written)],
        c.METRIC_STORE_DROPPED: lambda: [(None, store.stats().dropped)],
        c.METRIC_STORE_RECOVERED: lambda: [(None, store.stats().recovered_sessions)],
        c.METRIC_SENDER_SENT: lambda: [(signal, sender.stats.sent) for signal, sender in senders.items()],
        c.METRIC_SENDER_REJECTED: lambda: [(signal, sender.stats.rejected) for signal, sender in senders.items()],
        c.METRIC_SENDER_FAILED: lambda: [(signal, sender.stats.failed_posts) for signal, sender in senders.items()],
    }
    for name, read in reads.items():
        metric = c.METRICS[name]
        create = meter.create_observable_counter if metric.instrument == "counter" else meter.create_observable_gauge
        create(name, [_callback(read)], metric.unit, metric.brief)


def _callback(read: Callable[[], Reading]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, {c.SIGNAL: signal} if signal else None) for signal, value in read()]

    return observe
