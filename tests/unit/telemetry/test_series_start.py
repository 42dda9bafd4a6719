"""A counter's series begins before its first value, so that the value counts."""

from __future__ import annotations

import math
from typing import Any

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)

from voicespan.sdk.series_start import SeriesStart


class Kept(MetricExporter):
    """Keeps what it is given: by name and kind of turn, when each series began and was read."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[dict[tuple[str, object], tuple[int, int]]] = []

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        self.told.append(
            {
                (metric.name, (point.attributes or {}).get("kind")): (
                    point.start_time_unix_nano or 0,
                    point.time_unix_nano,
                )
                for resource in metrics_data.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
                for point in metric.data.data_points
            }
        )
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        return None


def test_a_counter_that_is_first_seen_began_at_the_collection_before() -> None:
    counted = {"completed": 3}

    def read(_: CallbackOptions) -> list[Observation]:
        return [Observation(count, {"kind": kind}) for kind, count in counted.items()]

    kept = Kept()
    reader = PeriodicExportingMetricReader(SeriesStart(kept), export_interval_millis=math.inf)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter("voicespan")
    meter.create_observable_counter("turns", [read])
    meter.create_observable_up_down_counter("calls", [read])
    reader.collect()
    counted["stalled"] = 2
    reader.collect()
    reader.collect()
    first, second, third = kept.told
    began, read_at = first["turns", "completed"]
    assert began < read_at
    assert read_at <= second["turns", "stalled"][0] < second["turns", "stalled"][1]
    assert second["turns", "stalled"][0] < third["turns", "completed"][1]
    # A series begins once: one that began later would be one that was reset.
    for series in (("turns", "completed"), ("turns", "stalled")):
        assert second[series][0] == third[series][0]
    assert began == third["turns", "completed"][0]
    assert second["calls", "stalled"][0] == third["calls", "stalled"][0]
    provider.shutdown()
