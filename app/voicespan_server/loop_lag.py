"""How late the event loop is: what delays it delays every call of the process."""

from __future__ import annotations

import asyncio
from typing import Protocol

from opentelemetry.metrics import Histogram, Meter

from voicespan import conventions as c

EVERY_S = 0.5


def histogram(meter: Meter) -> Histogram:
    """The instrument of `watch`."""
    row = c.METRICS[c.METRIC_LOOP_LAG]
    return meter.create_histogram(row.name, row.unit, row.brief, explicit_bucket_boundaries_advisory=row.buckets)


class Recorder(Protocol):
    """What takes readings, in seconds."""

    def record(self, amount: float, /) -> None: ...  # noqa: D102


async def watch(lag: Recorder, every_s: float = EVERY_S) -> None:
    """Record, twice a second or as often as is said, by how much a timer came late; runs until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every_s
        await asyncio.sleep(every_s)
        lag.record(max(0.0, loop.time() - due))
