"""What the routes need to tell what happens: a tracer, the capture mode, the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.trace import Tracer

from voicespan import Capture, Metrics, capture_from_environment
from voicespan import conventions as c
from voicespan.sdk.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Telemetry:
    """One per server. The tracer is the pipeline's own: another program's global provider may be another one."""

    tracer: Tracer
    capture: Capture
    metrics: Metrics

    @classmethod
    def of(cls, pipeline: Pipeline) -> Telemetry:
        """By the pipeline's providers and the environment's capture mode."""
        return cls(
            pipeline.tracer_provider.get_tracer(c.SCOPE),
            capture_from_environment(),
            Metrics(pipeline.meter_provider.get_meter(c.SCOPE)),
        )
