"""A session's spans as a summary and as a timeline."""

from __future__ import annotations

from support.stores import stored
from support.telling import tell
from voicespan_server.session_story import Spread, summary_of, timeline_of

CALL = "ON MIC VAS I VAE CALL1 RESP1 a A T A GC U TC I VAE A GC VAS INT U TC GA CUT ON cc A GC CUT BYE"


SPANS = [stored(span) for span in tell(CALL)]


def test_a_summary_says_what_went_how() -> None:
    found = summary_of(SPANS)
    assert found.turns == 3
    assert found.turns_by_end == {"completed": 2, "interrupted": 1}
    assert found.barge_ins == 1
    assert found.time_to_first_audio.count == 3
    assert found.time_to_first_audio.max_s is not None
    [tool] = found.tools
    assert (tool.name, tool.calls, tool.outcomes, tool.duration.count) == ("search_nearby", 1, {"ok": 1}, 1)
    assert (found.connections, found.reconnects, found.reconnect_gap.count) == (2, 1, 1)


def test_a_timeline_begins_with_what_holds_the_rest_and_goes_on_in_order() -> None:
    found = timeline_of(SPANS)
    assert len(found) == len(SPANS)
    assert found[0].at_s == 0
    assert [moment.at_s for moment in found] == sorted(moment.at_s for moment in found)
    turns = [moment for moment in found if moment.kind == "turn"]
    assert [(turn.turn, turn.outcome) for turn in turns] == [(1, "completed"), (2, "interrupted"), (3, "completed")]
    assert (turns[0].said, turns[0].answered) == ("spoken", "answer")
    assert [(moment.kind, moment.outcome) for moment in found if moment.kind in {"tool", "session"}] == [
        ("session", "1000"),
        ("tool", "ok"),
    ]


def test_without_words_there_are_none() -> None:
    found = timeline_of([stored(span) for span in tell(CALL, capture=False)])
    assert {(moment.said, moment.answered) for moment in found} == {(None, None)}


def test_of_nothing_there_is_nothing() -> None:
    assert timeline_of([]) == []
    nothing = summary_of([])
    assert (nothing.turns, nothing.tools, nothing.time_to_first_audio) == (0, [], Spread(0, None, None, None))
