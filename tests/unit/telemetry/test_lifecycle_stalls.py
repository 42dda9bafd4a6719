"""Answers that are due and do not come, or come to nothing."""

import pytest

from support.story import at, events, operations, turns
from voicespan import operations as op
from voicespan.lifecycle import Lifecycle

STALLS = {
    "nothing after typed words": ("ON cc ~ BYE", ["no_answer"], ["1 stalled"]),
    "nothing after speech": ("ON MIC VAS VAE ~ BYE", ["no_answer"], ["1 stalled"]),
    "the words were heard, and that was all": ("ON MIC VAS I VAE ~ BYE", ["no_generation"], ["1 stalled"]),
    "nothing after a tool's answer": ("ON cc CALL1 RESP1 ~ BYE", ["tool_response_ignored"], ["1 stalled"]),
    "nothing after the answer to a tool, as Vertex counts turns": (
        "ON cc CALL1 RESP1 GC U TC ~ BYE",
        ["tool_response_ignored"],
        ["1 completed", "2 stalled"],
    ),
    "nothing after the answer of a tool that did not block": (
        "ON cc ASYNC1 T A GC U TC RESP1 ~ BYE",
        ["tool_response_ignored"],
        ["1 completed", "2 stalled"],
    ),
    "an answer that breaks off": ("ON cc A ~ BYE", ["unfinished"], ["1 stalled"]),
    "a resumed connection that is dead": ("ON GA CUT RE cc ~ BYE", ["resumed_dead"], ["1 stalled"]),
    "a turn_complete and nothing else": ("ON cc U TC BYE", ["empty_turn"], ["1 stalled"]),
    "the answer comes after all": ("ON cc ~ A GC U TC BYE", ["no_answer"], ["1 completed"]),
    "an answer that broke off goes on after all": ("ON cc A ~ A GC U TC BYE", ["unfinished"], ["1 completed"]),
    "the user says something else": (
        "ON MIC VAS I VAE ~ VAS I VAE A GC U TC BYE",
        ["no_generation"],
        ["1 stalled", "2 completed"],
    ),
    "the user speaks over an answer that is completed late": (
        "ON MIC A VAS I VAE ~ GC U TC .. A GC U TC BYE",
        ["unfinished"],
        ["1 stalled", "2 completed"],
    ),
    "the user types something else": ("ON cc ~ cc A GC U TC BYE", ["no_answer"], ["1 stalled", "2 completed"]),
    "it stalls twice": ("ON cc ~ CALL1 RESP1 ~ BYE", ["no_answer", "tool_response_ignored"], ["1 stalled"]),
    "the connection is lost while it stalls": ("ON cc ~ CUT BYE", ["no_answer"], ["1 error"]),
}


@pytest.mark.parametrize(("story", "kinds", "ends"), STALLS.values(), ids=STALLS)
def test_an_answer_that_does_not_come_is_a_stall(story: str, kinds: list[str], ends: list[str]) -> None:
    found = operations(story)
    assert [o.kind.value for o in found if isinstance(o, op.Stalled)] == kinds
    assert [f"{o.record.index} {o.record.end_reason.value}" for o in found if isinstance(o, op.EndTurn)] == ends
    end = found[-1]
    assert isinstance(end, op.EndSession)
    assert end.totals.stalls == len(kinds)


NO_STALLS = {
    "nobody says anything": "ON MIC ~ ~ BYE",
    "the user goes on speaking": "ON MIC VAS I ~ VAE A GC U TC BYE",
    "a tool takes its time": "ON cc CALL1 ~ RESP1 A GC U TC BYE",
    "a tool answers in part and is taken back late": "ON cc CALL1 RESP1+ ~ CANCEL1 .. A GC U TC BYE",
    "a tool that does not block takes its time": "ON cc ASYNC1 T A GC U TC ~ BYE",
    "an answer that was given is played": "ON cc A GC ~ U TC BYE",
    "the model works on": "ON cc T A GC U TC+ ~ A GC U TC BYE",
    "the model chose to be silent": "ON cc WAIT ~ BYE",
    "the answer was cut": "ON MIC I VAE A VAS INT ~ BYE",
    "the connection is down": "ON cc CUT ~ BYE",
    "a silent answer of a tool": "ON cc ASYNC1 A GC U TC RESP1_ ~ BYE",
    "the microphone was switched off": "ON MIC SE ~ BYE",
    "between turns": "ON cc A GC U TC ~ ~ BYE",
}


@pytest.mark.parametrize("story", NO_STALLS.values(), ids=NO_STALLS)
def test_the_watchdog_is_quiet(story: str) -> None:
    assert not [o for o in operations(story) if isinstance(o, op.Stalled)]


def test_a_stalled_turn_lasts_until_its_answer_was_overdue() -> None:
    story = "ON cc ~ ~ BYE"
    [turn] = turns(story)
    assert (turn.start_ns, turn.end_ns) == (at(story, "cc"), at(story, "cc") + 10_000_000_000)
    assert turn.time_to_first_audio_s is None


@pytest.mark.parametrize(
    ("story", "cut_short"),
    [
        ("cc T T T T T T T A GC U TC", True),  # 49 characters in a fifth of a second
        ("cc T T T T T T T A A A A A A A A A GC U TC", False),
        ("cc T T T T T T T GC U TC", False),  # words alone are another thing
        ("cc T A GC U TC", False),  # too short to tell
        ("cc T T T T T T T A INT U TC", False),
    ],
)
def test_an_answer_with_far_less_audio_than_words_was_cut_short(story: str, cut_short: bool) -> None:
    found = [o.anomaly for o in operations(story) if isinstance(o, op.Odd)]
    assert (op.Anomaly.ANSWER_CUT_SHORT in found) is cut_short


def test_who_speaks_when_a_tools_answer_is_due_is_no_stall_yet() -> None:
    lifecycle = Lifecycle()
    story = [*events("ON cc CALL1 RESP1 GC U TC"), *((event, 90_000_000) for event, _ in events("AE ACS"))]
    told = [operation for event, at_ns in story for operation in lifecycle.step(event, at_ns)]
    assert lifecycle.deadline_ns is None
    assert not any(isinstance(operation, op.Stalled) for operation in told)
