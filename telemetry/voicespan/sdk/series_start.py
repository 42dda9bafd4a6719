"""When a counter's series began, told so that a first value counts.

The SDK dates a counter that is read when it is collected from the first collection that finds it: with its first value
it has not grown yet, for those who compare two. What it counted until then, a process's first calls, would be in no
rate and no sum. It was nothing at the collection before, so its series begins there.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    Sum,
)


class SeriesStart(MetricExporter):
    """Hands on to another exporter what it is given, with the beginnings of counters' series set."""

    def __init__(self, exporter: MetricExporter) -> None:
        # The reader asks for these two by their private names.
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)
        self._exporter = exporter
        self._began_ns: dict[tuple[str, str, str], int] = {}
        self._collected_ns = time.time_ns()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """As the other exporter does."""
        now_ns = time.time_ns()
        dated = replace(
            metrics_data,
            resource_metrics=[
                replace(
                    resource,
                    scope_metrics=[
                        replace(scope, metrics=[self._dated(scope.scope.name, metric) for metric in scope.metrics])
                        for scope in resource.scope_metrics
                    ],
                )
                for resource in metrics_data.resource_metrics
            ],
        )
        self._collected_ns = now_ns
        return self._exporter.export(dated, timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """As the other exporter does."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """As the other exporter does."""
        self._exporter.shutdown(timeout_millis, **kwargs)

    def _dated(self, scope: str, metric: Metric) -> Metric:
        data = metric.data
        if (
            not isinstance(data, Sum)
            or not data.is_monotonic
            or data.aggregation_temporality is not AggregationTemporality.CUMULATIVE
        ):
            return metric
        points = [self._begun(scope, metric, point) for point in data.data_points]
        return replace(metric, data=replace(data, data_points=points))

    def _begun(self, scope: str, metric: Metric, point: NumberDataPoint) -> NumberDataPoint:
        # As text: values may be lists.
        series = (scope, metric.name, repr(sorted((point.attributes or {}).items())))
        began_ns = self._began_ns.setdefault(series, min(point.start_time_unix_nano, self._collected_ns))
        return replace(point, start_time_unix_nano=began_ns)
