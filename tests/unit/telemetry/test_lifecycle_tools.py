"""Tools in the lifecycle: when each ends, as what, and whose turn it is in."""

import pytest

from support.story import at, operations, turns
from voicespan import operations as op
from voicespan.events import ToolOutcome
from voicespan.operations import InterruptionCause, StartSource


def test_tools_lie_inside_their_turn_even_when_they_end_after_it() -> None:
    story = "cc CALL1 A GC U TC .. RESP1 BYE"
    [turn] = turns(story)
    assert turn.end_ns == at(story, "RESP1")
    kinds = [type(o).__name__ for o in operations(story)]
    assert kinds == ["StartTurn", "StartTool", "EndTool", "EndTurn", "EndSession"]


@pytest.mark.parametrize(
    ("story", "outcome"),
    [
        ("cc CALL1 RESP1 A GC U TC", ToolOutcome.OK),
        ("cc CALL1 CANCEL1 INT U TC", ToolOutcome.CANCELLED),
        ("cc CALL1 CANCEL1 RESP1 INT U TC", ToolOutcome.CANCELLED),
        ("cc CALL1 BYE", ToolOutcome.ORPHANED),
        ("ON cc CALL1 CUT", ToolOutcome.ORPHANED),
    ],
)
def test_a_tool_ends_once_as_what_it_was(story: str, outcome: ToolOutcome) -> None:
    assert [o.outcome for o in operations(story) if isinstance(o, op.EndTool)] == [outcome]


def test_speech_after_a_tools_answer_is_a_barge_in() -> None:
    [turn] = turns("cc A CALL1 RESP1 VAS INT U TC")
    assert turn.interruption_cause is InterruptionCause.SPEECH


def test_a_tool_that_does_not_block_may_outlive_its_turn() -> None:
    story = "ON cc ASYNC1 T A GC U TC .. .. RESP1 T A GC U TC BYE"
    kinds = [type(o).__name__ for o in operations(story)]
    assert kinds == [
        "StartConnection", "EndConnection", "StartTurn", "StartTool", "EndTurn", "EndTool", "StartTurn", "EndTurn",
        "EndSession",
    ]  # fmt: skip
    first, second = turns(story)
    assert first.end_ns == at(story, "GC")
    assert (second.source, second.start_ns) == (StartSource.TOOL_RESPONSE, at(story, "RESP1"))


def test_the_answer_of_a_tool_that_interrupts_is_no_barge_in_whatever_was_on_its_way() -> None:
    first, second = turns("cc ASYNC1 T A RESP1! A INT U TC T A GC U TC")
    assert first.interruption_cause is InterruptionCause.TOOL_RESPONSE
    assert second.source is StartSource.TOOL_RESPONSE


def test_a_call_is_over_with_its_last_response() -> None:
    story = "cc ASYNC1 A GC U TC RESP1+ .. RESP1+ .. RESP1 A GC U TC"
    [end] = [o for o in operations(story) if isinstance(o, op.EndTool)]
    assert (end.at_ns, end.responses, end.outcome) == (at(story, "RESP1"), 3, ToolOutcome.OK)
