"""How many were not let in, as a metric: read from plain counts when metrics are collected."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from voicespan import conventions as c
from voicespan_server.access.door import Door
from voicespan_server.access.refusal import REASONS


def observe_refusals(meter: Meter, door: Door) -> None:
    """Make the instrument."""

    def read(_: CallbackOptions) -> Iterable[Observation]:
        # Zeros too: a counter that is first seen with a one has not grown.
        return [Observation(door.refused[reason.code], {c.ERROR_TYPE: reason.code}) for reason in REASONS]

    row = c.METRICS[c.METRIC_REFUSED]
    meter.create_observable_counter(row.name, [read], row.unit, row.brief)
