"""What a session is worth, from how its turns and tools ended."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from voicespan.events import ToolOutcome
from voicespan.operations import EndReason, EndTool, EndTurn, InterruptionCause, Operation, StartSource, TurnRecord
from voicespan.session_scores import (
    COMPLETION,
    INTERRUPTION_RATE,
    RESPONSIVE_S,
    RESPONSIVENESS,
    TOOL_SUCCESS,
    Outcomes,
    Score,
    score_environment,
    session_scores,
)


def turn(
    waited_s: float | None = 1.0,
    reason: EndReason = EndReason.COMPLETED,
    cause: InterruptionCause | None = None,
) -> EndTurn:
    first = None if waited_s is None else round(waited_s * 1e9)
    return EndTurn(
        TurnRecord(1, 0, 10**10, StartSource.ACOUSTIC, reason, first_audio_ns=first, interruption_cause=cause)
    )


def tool(outcome: ToolOutcome) -> EndTool:
    return EndTool("c-1", 0, outcome, {}, None)


def values(operations: Iterable[Operation]) -> dict[str, float]:
    outcomes = Outcomes()
    for operation in operations:
        outcomes.count(operation)
    return {score.name: score.value for score in session_scores(outcomes)}


def test_a_session_in_which_nothing_happened_has_no_scores() -> None:
    assert values([]) == {}


def test_a_turn_that_answers_in_time_and_to_its_end_is_all_good() -> None:
    assert values([turn()]) == {"responsiveness": 1.0, "interruption_rate": 0.0, "completion": 1.0}


def test_responsiveness_counts_measured_turns_only() -> None:
    assert values([turn(1.5), turn(1.51), turn(None)])["responsiveness"] == 0.5
    assert "responsiveness" not in values([turn(None)])


def test_a_tool_that_was_not_needed_any_more_did_not_fail() -> None:
    ran = [tool(ToolOutcome.OK), tool(ToolOutcome.OK), tool(ToolOutcome.ERROR), tool(ToolOutcome.TIMEOUT)]
    assert values(ran) == {"tool_success": 0.5}
    assert values([*ran, tool(ToolOutcome.CANCELLED), tool(ToolOutcome.ORPHANED)]) == {"tool_success": 0.5}
    assert values([tool(ToolOutcome.CANCELLED)]) == {}


def test_only_speech_is_an_interruption_of_the_users() -> None:
    over = turn(reason=EndReason.INTERRUPTED, cause=InterruptionCause.SPEECH)
    by_tool = turn(reason=EndReason.INTERRUPTED, cause=InterruptionCause.TOOL_RESPONSE)
    assert values([over, by_tool, turn(), turn()])["interruption_rate"] == 0.25


def test_a_turn_that_was_cut_short_by_the_user_is_owed_nothing() -> None:
    over = turn(reason=EndReason.INTERRUPTED, cause=InterruptionCause.SPEECH)
    assert values([over, turn(), turn(reason=EndReason.STALLED)])["completion"] == 0.5
    assert "completion" not in values([over])


def test_words_that_were_taken_back_make_no_turn() -> None:
    retracted = turn(None, EndReason.CANCELLED, InterruptionCause.RETRACTED)
    assert values([retracted]) == {}
    assert values([retracted, turn()])["completion"] == 1.0


def test_a_score_says_what_it_was_made_of() -> None:
    outcomes = Outcomes()
    for operation in (turn(), turn(2.0)):
        outcomes.count(operation)
    [responsiveness, *_] = session_scores(outcomes)
    assert responsiveness == Score("responsiveness", 0.5, "1 of 2 turns with first audio within 1.5 s")


def test_a_score_is_posted_under_a_stable_id() -> None:
    score = Score("completion", 0.75)
    assert score.id("s-7") == "s-7-completion"
    assert score.body("s-7", 1_790_000_000_123_456_789, "staging") == {
        "sessionId": "s-7",
        "name": "completion",
        "value": 0.75,
        "dataType": "NUMERIC",
        "timestamp": "2026-09-21T14:13:20.123Z",
        "environment": "staging",
    }
    assert "environment" not in score.body("s-7", 0)


@pytest.mark.parametrize(
    ("name", "filed"),
    [
        ("Production", "production"),
        ("eu-1_b", "eu-1_b"),
        ("Dev.EU", None),
        ("langfuse-x", None),
        ("", None),
        (None, None),
    ],
)
def test_a_score_is_filed_where_its_sessions_spans_are(name: str, filed: str | None) -> None:
    assert score_environment(name) == filed


def test_the_page_has_every_score_and_the_limit() -> None:
    page = (Path(__file__).parents[3] / "docs/langfuse.md").read_text()
    for name in (RESPONSIVENESS, TOOL_SUCCESS, INTERRUPTION_RATE, COMPLETION):
        assert f"| `{name}` |" in page
    assert f"time to first audio ≤ {RESPONSIVE_S:g} s" in page
