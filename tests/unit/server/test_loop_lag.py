"""A loop that is held up says by how much."""

import asyncio
import contextlib
import time

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader

from voicespan import conventions as c
from voicespan_server import loop_lag


async def test_what_holds_the_loop_up_is_measured() -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("voicespan")
    watching = asyncio.create_task(loop_lag.watch(loop_lag.histogram(meter), every_s=0.01))
    await asyncio.sleep(0)
    time.sleep(0.05)  # noqa: ASYNC251 - what it is to measure
    await asyncio.sleep(0.02)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    data = reader.get_metrics_data()
    assert data is not None
    [metric] = data.resource_metrics[0].scope_metrics[0].metrics
    [point] = metric.data.data_points
    assert isinstance(point, HistogramDataPoint)
    assert metric.name == c.METRIC_LOOP_LAG
    assert point.max >= 0.03
