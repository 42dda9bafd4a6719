"""What the routes need to tell what happens: a tracer, a logger, the capture mode, the metrics, scores."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from opentelemetry._logs import Logger
from opentelemetry.trace import Tracer

from voicespan import Capture, Metrics, capture_from_environment
from voicespan import conventions as c
from voicespan.content import CAPTURE_VARIABLE
from voicespan.guard import guarded
from voicespan.recording import Recordings
from voicespan.sdk.pipeline import Pipeline
from voicespan.sdk.scores import Scores
from voicespan.sdk.signals import Signal
from voicespan.session_scores import Outcomes, Score, score_environment, session_scores

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """One per server. The tracer is the pipeline's own: another program's global provider may be another one.

    `scores` keeps scores in the store; only with Langfuse's keys do they go on from there (`to_langfuse`).
    `recordings` is None where calls are not recorded.
    """

    tracer: Tracer
    logger: Logger
    capture: Capture
    metrics: Metrics
    scores: Scores
    to_langfuse: bool = False
    environment: str | None = None
    recordings: Recordings | None = None

    @classmethod
    def of(cls, pipeline: Pipeline, *, record: bool = False) -> Telemetry:
        """By the pipeline's providers and the environment's capture mode. `record`: calls are to be recorded."""
        environment = pipeline.tracer_provider.resource.attributes.get("deployment.environment.name")
        capture = capture_from_environment()
        return cls(
            pipeline.tracer_provider.get_tracer(c.SCOPE),
            pipeline.logger_provider.get_logger(c.SCOPE),
            capture,
            Metrics(pipeline.meter_provider.get_meter(c.SCOPE)),
            Scores(pipeline.store),
            Signal.SCORES in pipeline.endpoints,
            score_environment(str(environment)) if environment else None,
            _recordings(pipeline, capture) if record else None,
        )

    def score(self, session_id: str, score: Score) -> None:
        """Give a session a score. It is in the store at once, and with Langfuse when that takes it."""
        self.scores.put(score.id(session_id), score.body(session_id, time.time_ns(), self.environment))

    @guarded(default=None)
    def score_session(self, session_id: str, outcomes: Outcomes) -> None:
        """The scores of a session that is over, for Langfuse to chart: here they can be read from its summary."""
        if not self.to_langfuse:
            return
        for score in session_scores(outcomes):
            self.score(session_id, score)


def _recordings(pipeline: Pipeline, capture: Capture) -> Recordings | None:
    """Where the sound of calls goes; without a place, or leave, for it that is said once and nothing is recorded."""
    if pipeline.media is None:
        logger.warning(
            "VOICESPAN_RECORD_AUDIO: recordings have nowhere to go: set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY"
        )
        return None
    if not capture.on_spans:
        logger.warning("VOICESPAN_RECORD_AUDIO: recordings are content: set %s=SPAN_ONLY too", CAPTURE_VARIABLE)
        return None
    return pipeline.media
