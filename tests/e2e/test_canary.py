"""Every scenario, in both dialects, in every capture mode: words leave where the mode lets them, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from support.telling import Recorder
from truth.acts import BOTH, Case, cases
from truth.driver import INSTRUCTIONS
from truth.play import record
from voicespan import Capture, capture_from_environment
from voicespan.content import CAPTURE_VARIABLE
from voicespan_simulator.scenario import Scenario
from voicespan_simulator.scenario_file import load_scenarios
from voicespan_simulator.voice import load_voice

pytestmark = pytest.mark.e2e

SCENARIOS = load_scenarios(load_voice().clips)


def everything() -> list[Case]:
    found = cases(SCENARIOS)
    return [replace(case, services=tuple(s for s in case.services if s in BOTH) or case.services[:1]) for case in found]


def words_of(scenario: Scenario) -> set[str]:
    """What is said in a scenario, heard, called with: anything of it that is no plain English word by itself."""
    words = {INSTRUCTIONS, "Helsinki Cathedral", "radius_m"}
    for turn in scenario.turns:
        words |= {text for text in (turn.said, turn.answer.text if turn.answer else "") if len(text) > 8}
    return words


def exported(recorder: Recorder) -> tuple[bytes, bytes, bytes]:
    """Every byte of spans, log events and metrics."""
    return (
        encode_spans(recorder.finished_spans()).SerializeToString(),
        encode_logs(recorder.finished_logs()).SerializeToString(),
        repr(recorder.measured()).encode(),
    )


@pytest.mark.parametrize("mode", ["NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"])
def test_words_leave_where_the_mode_lets_them_and_nowhere_else(mode: str) -> None:
    capture: Capture = capture_from_environment({CAPTURE_VARIABLE: mode})
    played = everything()
    words = set().union(*map(words_of, SCENARIOS.values()))
    recorders = record(played, capture)
    assert len(recorders) >= 2 * len(SCENARIOS)
    leaked = {"spans": 0, "logs": 0}
    for label, recorder in recorders.items():
        spans, logs, metrics = exported(recorder)
        for word in words:
            text = word.encode()
            assert text not in metrics, label
            if not capture.on_spans:
                assert text not in spans, f"{label}: {word!r}"
            if not capture.on_events:
                assert text not in logs, f"{label}: {word!r}"
            leaked["spans"] += text in spans
            leaked["logs"] += text in logs
    # Where it may leave, it does: the words that are looked for are the ones that were said.
    assert (leaked["spans"] > 50, leaked["logs"] > 50) == (capture.on_spans, capture.on_events)
