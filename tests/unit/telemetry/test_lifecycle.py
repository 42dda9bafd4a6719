"""What the lifecycle makes of the sequences that the real service was recorded sending, and of ones it should not."""

import pytest

from support.story import USAGE, at, events, operations, turns
from voicespan import events as ev
from voicespan import operations as op
from voicespan.lifecycle import Lifecycle
from voicespan.operations import EndReason, InterruptionCause, StartSource
from voicespan.turns import MAX_TEXT

SPEAKS = ev.ActivityStart("server")
HANG_UP = ev.SessionClosed(ev.Close(1000, "bye", "client"))


def summary(story: str) -> list[str]:
    """One line a turn: index, start source, end reason, generations, tools."""
    return [
        f"{t.index} {t.source.value} {t.end_reason.value}"
        + (f" {t.interruption_cause.value}" if t.interruption_cause else "")
        + f" g{t.generations} t{len(t.tools)}"
        + ("" if t.usage else " no-usage")
        for t in turns(story)
    ]


RECORDED = {
    "2.5, typed": ("cc TH T A GC U TC", ["1 client_content completed g1 t0"]),
    "2.5, spoken": ("MIC I I I TH T A A A GC U TC", ["1 input_transcription completed g1 t0"]),
    "2.5, a tool": ("cc CALL1 RESP1 T A T A GC U TC", ["1 client_content completed g2 t1"]),
    "2.5, two turns": (
        "cc CALL1 RESP1 T A GC U TC cc T A GC U TC",
        ["1 client_content completed g2 t1", "2 client_content completed g1 t0"],
    ),
    "2.5, a tool that does not block, whose answer interrupts the filler": (
        "cc CALL1 T A A T A GC RESP1 INT U TC T T A GC U TC",
        ["1 client_content interrupted tool_response g1 t1", "2 tool_response completed g1 t0"],
    ),
    "2.5, a barge-in while the answer is played": (
        "MIC I I TH T A A A GC INT U TC I I TH T A GC U TC",
        ["1 input_transcription interrupted speech g1 t0", "2 input_transcription completed g1 t0"],
    ),
    "2.5, an end of speech that is taken back": (
        "MIC I I INT U TC I TH CALL1 RESP1 T A GC U TC",
        ["1 input_transcription cancelled retracted g0 t0", "2 input_transcription completed g2 t1"],
    ),
    "3.1, an answer without audio": ("cc T GC U TC", ["1 client_content completed g1 t0"]),
    "3.8, spoken": ("MIC VAS I VAE a A A GC U TC", ["1 server_activity_end completed g1 t0"]),
    "3.8, a barge-in": (
        "MIC VAS I VAE A A GC VAS INT U TC I VAE A GC U TC",
        ["1 server_activity_end interrupted speech g1 t0", "2 server_activity_end completed g1 t0"],
    ),
    "Vertex, a tool: two turns for one question": (
        "cc CALL1 RESP1 GC U TC T T A GC U TC",
        ["1 client_content completed g1 t1", "2 tool_response completed g1 t0"],
    ),
    "two tools at once": ("cc CALL1 CALL2 RESP2 RESP1 A GC U TC", ["1 client_content completed g2 t2"]),
    "more output follows a turn_complete that is in progress": (
        "cc T A GC U TC+ CALL1 RESP1 T A GC U TC",
        ["1 client_content completed g3 t1"],
    ),
    "the model speaks first": ("T A GC U TC", ["1 model_initiated completed g1 t0"]),
    "the microphone is open, nothing was transcribed": ("MIC T A GC U TC", ["1 first_output completed g1 t0"]),
    "usage that comes late": ("cc A GC TC u", ["1 client_content completed g1 t0"]),
    "usage that never comes": ("cc A GC TC .. .. .. .. .. ..", ["1 client_content completed g1 t0 no-usage"]),
    "usage that comes after the grace counts for the session": (
        "cc A GC TC .. .. .. .. .. .. u",
        ["1 client_content completed g1 t0 no-usage"],
    ),
    "a turn_complete and nothing else": ("cc U TC", ["1 client_content stalled g0 t0"]),
    "silence that the model chose": ("cc WAIT U TC", ["1 client_content completed g0 t0"]),
    "hang-up in mid-answer": ("cc T A BYE", ["1 client_content session_closed g1 t0 no-usage"]),
    "hang-up while the answer is played": ("cc T A GC BYE", ["1 client_content completed g1 t0 no-usage"]),
    "hang-up before the answer": ("MIC I VAE BYE", ["1 server_activity_end session_closed g0 t0 no-usage"]),
    "the connection is lost in mid-answer": ("ON cc T A CUT", ["1 client_content error g1 t0 no-usage"]),
    "the connection is cut after its notice": ("ON GA cc T A CUT", ["1 client_content go_away g1 t0 no-usage"]),
    "an answer after an interruption without turn_complete": (
        "cc A INT A GC U TC .. .. .. .. .. ..",
        ["2 model_initiated completed g1 t0", "1 client_content interrupted speech g1 t0 no-usage"],
    ),
    "nothing at all": ("BYE", []),
}


@pytest.mark.parametrize(("story", "expected"), RECORDED.values(), ids=RECORDED)
def test_turns_of(story: str, expected: list[str]) -> None:
    assert summary(story) == expected


def test_a_turn_starts_at_the_best_known_end_of_the_users_words() -> None:
    story = "MIC I VAE AE .. A GC U TC"
    [turn] = turns(story)
    assert turn.source is StartSource.ACTIVITY_END
    assert turn.start_ns == at(story, "AE")
    assert turn.source.measured


def test_a_turn_ends_with_its_generation_not_with_its_playback() -> None:
    story = "cc A A GC .. .. U TC"
    [turn] = turns(story)
    assert turn.end_ns == at(story, "GC")


def test_an_interruption_in_mid_generation_ends_the_turn() -> None:
    story = "cc A A INT .. U TC"
    [turn] = turns(story)
    assert turn.end_ns == at(story, "INT")


def test_a_turn_that_was_cut_ends_at_its_last_output() -> None:
    story = "ON cc A A .. CUT"
    [turn] = turns(story)
    assert turn.end_ns == at(story, "A", 2)


def test_words_are_joined_as_they_came() -> None:
    [turn] = turns("MIC I I A T T GC U TC")
    assert (turn.user_text, turn.model_text) == ("spoken spoken", "answer answer")


def test_the_transcript_of_a_barge_in_belongs_to_the_next_turn() -> None:
    first, second = turns("MIC I A GC I I INT U TC A GC U TC")
    assert first.user_text == "spoken"
    assert second.user_text == "spoken spoken"


def test_one_generation_reported_twice_counts_once_and_two_generations_count_twice() -> None:
    [repeated] = turns("cc A u u GC U TC")
    [two] = turns("cc CALL1 u RESP1 A GC U TC")
    assert repeated.usage == USAGE
    assert two.usage == USAGE + USAGE


def test_late_usage_of_a_turn_is_not_the_next_turns() -> None:
    for story in ("cc A GC TC cc u A GC U TC", "cc A GC TC cc A u GC U TC"):
        first, second = turns(story)
        assert first.usage == second.usage == USAGE
    [first] = turns("cc CALL1 u RESP1 A GC TC .. .. .. .. .. ..")
    assert first.usage == USAGE


def test_the_usage_of_a_turn_that_ends_is_its_own_also_when_a_former_one_is_owed_some() -> None:
    second, first = turns("cc A GC TC cc A GC U TC .. .. .. .. .. ..")
    assert (first.usage, second.usage) == (None, USAGE)


def test_usage_that_nobody_waits_for_is_the_sessions_and_begins_no_turn() -> None:
    found = operations("cc A GC U TC u cc u BYE")
    assert [o.usage for o in found if isinstance(o, op.LooseUsage)] == [USAGE, USAGE]
    end = found[-1]
    assert isinstance(end, op.EndSession)
    assert end.totals.usage == USAGE + USAGE + USAGE


LATER = " ".join([".."] * 60)


@pytest.mark.parametrize(
    ("story", "source", "word"),
    [
        (f"MIC SE {LATER} cc A GC U TC", StartSource.CLIENT_CONTENT, "cc"),
        (f"MIC SE {LATER} I VAE A GC U TC", StartSource.SERVER_ACTIVITY_END, "VAE"),
        (f"cc CALL1 RESP1 GC U TC {LATER} I A GC U TC", StartSource.INPUT_TRANSCRIPTION, "I"),
        ("MIC I VAE cc A GC U TC", StartSource.CLIENT_CONTENT, "cc"),
        (f"MIC I VAE {LATER} VAS .. I A GC U TC", StartSource.INPUT_TRANSCRIPTION, "I"),
        ("cc CALL1 T A GC U TC .. RESP1 T A GC U TC", StartSource.TOOL_RESPONSE, "RESP1"),
    ],
)
def test_an_old_mark_does_not_date_a_later_turn(story: str, source: StartSource, word: str) -> None:
    turn = turns(story)[-1]
    assert turn.source is source
    assert turn.start_ns == max(at(story, word, n) for n in range(1, story.split().count(word) + 1))


@pytest.mark.parametrize("story", ["MIC SE BYE", "cc CALL1 RESP1 GC U TC BYE"])
def test_a_muted_microphone_or_a_tools_answer_is_no_question(story: str) -> None:
    assert all(turn.end_reason is EndReason.COMPLETED for turn in turns(story))


def test_a_typed_question_is_not_taken_back_by_a_late_interruption() -> None:
    first, second = turns("cc A GC U TC cc INT A GC U TC")
    assert [t.end_reason for t in (first, second)] == [EndReason.COMPLETED, EndReason.COMPLETED]
    assert second.user_text == "typed"


def test_typing_over_an_answer_is_no_barge_in() -> None:
    found = operations("cc A A cc INT U TC A GC U TC BYE")
    [first, _] = [o.record for o in found if isinstance(o, op.EndTurn)]
    end = found[-1]
    assert isinstance(end, op.EndSession)
    assert first.interruption_cause is InterruptionCause.TEXT
    assert (end.totals.interruptions, end.totals.barge_ins) == (1, 0)


def test_a_cut_while_the_answer_was_played_is_a_late_interruption() -> None:
    found = operations("cc A GC U TC INT")
    assert [o.cause for o in found if isinstance(o, op.LateInterruption)] == [InterruptionCause.SPEECH]


def test_a_reconnection_begins_where_the_former_connection_stopped_serving() -> None:
    story = "ON GA CUT .. ON BYE"
    found = operations(story)
    starts = [o for o in found if isinstance(o, op.StartConnection)]
    ends = [o for o in found if isinstance(o, op.EndConnection)]
    assert [s.index for s in starts] == [1, 2]
    assert starts[1].at_ns == at(story, "CUT")
    assert ends[1].gap_s == pytest.approx((at(story, "ON", 2) - at(story, "CUT")) / 1e9)
    assert ends[1].close is not None
    assert ends[1].close.code == 1006
    assert ends[1].go_away_time_left_s == 9.5


def test_a_failed_dial_is_told_with_its_close() -> None:
    lifecycle = Lifecycle()
    lifecycle.step(ev.Dialing(), 1)
    [end] = lifecycle.step(ev.Disconnected(ev.Close(1008, "model not found")), 2)
    assert isinstance(end, op.EndConnection)
    assert (end.error_type, end.close and end.close.reason) == ("close_1008", "model not found")


def test_totals_are_the_sums_of_the_turns() -> None:
    story = "ON MIC I VAE A GC VAS INT U TC I VAE CALL1 RESP1 A GC U TC cc A GC TC .. .. .. .. .. .. BYE"
    end = operations(story)[-1]
    assert isinstance(end, op.EndSession)
    totals = end.totals
    assert (totals.turns, totals.generations, totals.tool_calls, totals.connections) == (3, 4, 1, 1)
    assert (totals.interruptions, totals.barge_ins, totals.turns_without_usage) == (1, 1, 1)
    assert totals.usage == USAGE + USAGE
    assert totals.output_audio_s == pytest.approx(0.6)


def test_nothing_happens_after_the_session_closed() -> None:
    lifecycle = Lifecycle()
    lifecycle.step(ev.SessionClosed(ev.Close(1000)), 1)
    assert lifecycle.step(ev.ModelAudio(1.0), 2) == []
    assert lifecycle.deadline_ns is None


def test_end_reasons_are_those_of_the_design() -> None:
    assert {r.value for r in EndReason} == {
        "completed", "interrupted", "cancelled", "session_closed", "go_away", "stalled", "error",
    }  # fmt: skip


def test_a_transcript_that_is_late_is_of_the_turn_that_lacks_it() -> None:
    [late_question] = turns("MIC VAS VAE A I GC U TC")
    assert late_question.user_text == "spoken"
    [late_answer] = turns("cc A GC TC T u")
    assert late_answer.model_text == "answer"
    first, second = turns("MIC VAS I VAE A VAS I INT U TC VAE A GC U TC")
    assert (first.user_text, second.user_text) == ("spoken", "spoken")


@pytest.mark.parametrize(
    "story",
    [
        "VAS VAE T I A I T GC u TC ~",  # while it is answered, as a provider does whose transcripts are made apart
        "VAS I VAE T A I GC u TC ~",
        "VAS VAE CALL1 u TC I RESP1 T A GC u TC ~",
    ],
)
def test_a_transcript_that_is_late_asks_nothing_again(story: str) -> None:
    first, *_ = told = turns(f"{story} BYE")
    assert set(first.user_text.split()) == {"spoken"}
    assert [turn.user_text for turn in told[1:]] == [""] * story.count("CALL1")
    assert [turn.end_reason for turn in told] == [EndReason.COMPLETED] * len(told)
    assert not any(isinstance(operation, op.Stalled) for operation in operations(story))


def test_a_transcript_that_comes_when_its_turn_is_over_is_waited_for_where_others_came_and_else_begins_none() -> None:
    story = "VAS VAE T A GC u TC I ~ VAS I VAE T A GC u TC VAS VAE T A GC u TC I I ~ VAS I VAE T A GC u TC"
    assert [turn.user_text for turn in turns(story)] == ["", "spoken", "spoken spoken", "spoken"]
    assert [o.anomaly for o in operations(story) if isinstance(o, op.Odd)] == [op.Anomaly.LATE_TRANSCRIPT]


def test_what_is_heard_over_another_connection_is_said_anew() -> None:
    first, second = turns("ON VAS VAE T A GC u TC CUT RE I VAE T A GC u TC")
    assert (first.user_text, second.user_text) == ("", "spoken")


def test_what_is_kept_of_the_words_of_a_turn_is_bounded() -> None:
    lifecycle, much = Lifecycle(), "x" * (MAX_TEXT - 1)
    for event in (ev.InputTranscript(much), ev.InputTranscript("yz"), ev.OutputTranscript(much)):
        lifecycle.step(event, 1)
    lifecycle.step(ev.OutputTranscript("yz"), 2)
    told = lifecycle.step(ev.SessionClosed(ev.Close(1000, "bye", "client")), 3)
    [record] = [operation.record for operation in told if isinstance(operation, op.EndTurn)]
    assert (record.user_text, record.model_text) == (f"{much}y", f"{much}y")


def test_a_caller_who_hangs_up_while_the_model_is_dialled_is_no_error() -> None:
    lifecycle = Lifecycle()
    lifecycle.step(ev.Dialing(), 1)
    end, _ = lifecycle.step(ev.SessionClosed(ev.Close(1000, "bye", "client")), 2)
    assert isinstance(end, op.EndConnection)
    assert (end.connected, end.error_type) == (False, None)


def test_words_of_an_answer_that_was_told_begin_no_turn_while_the_user_speaks() -> None:
    story = "MIC I VAE A T GC U TC VAS T EOS I VAE A T GC U TC"
    first, second = turns(story)
    assert (first.model_text, second.model_text) == ("answer", "answer")
    assert second.source is StartSource.ACOUSTIC
    assert [o.anomaly for o in operations(story) if isinstance(o, op.Odd)] == [op.Anomaly.LATE_TRANSCRIPT]


def test_a_short_utterance_that_the_client_marked_ends_where_the_client_says_though_its_echo_comes_later() -> None:
    assert summary("ACS MIC AE VAS I VAE T A GC U TC") == ["1 activity_end completed g1 t0"]
    assert summary("ACS MIC VAS AE VAE I T A GC U TC") == ["1 activity_end completed g1 t0"]


@pytest.mark.parametrize("story", ["ON cc T A GC VAS I BYE", "ON cc T A I BYE", "ON cc T A GC U TC I BYE"])
def test_what_the_user_says_last_is_told_though_nobody_answers_it(story: str) -> None:
    answered, last = turns(story)
    assert (answered.user_text, last.user_text) == ("typed", "spoken")
    assert (last.end_reason, last.generations, last.usage) == (EndReason.SESSION_CLOSED, 0, None)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ([ev.UserText("Rome"), ev.UserText("or Paris")], "Rome or Paris"),
        ([ev.UserText("Rome"), ev.InputTranscript("or Paris")], "Rome or Paris"),
        ([ev.InputTranscript("Rome"), SPEAKS, ev.InputTranscript("or Paris")], "Rome or Paris"),
        ([ev.InputTranscript("Rome"), SPEAKS, ev.InputTranscript(" or Paris")], "Rome or Paris"),
        ([SPEAKS, ev.InputTranscript(" Ro"), ev.InputTranscript("me")], "Rome"),
        ([ev.UserText("x" * MAX_TEXT), ev.UserText("y")], "x" * MAX_TEXT),
    ],
)
def test_messages_and_utterances_are_words_apart_and_pieces_of_one_are_not(said: list[ev.Event], heard: str) -> None:
    lifecycle = Lifecycle()
    told = [operation for event in [*said, HANG_UP] for operation in lifecycle.step(event, 1)]
    [record] = [operation.record for operation in told if isinstance(operation, op.EndTurn)]
    assert record.user_text == heard


def test_a_clock_that_stands_still_does_not_make_a_tools_answer_look_unanswered() -> None:
    lifecycle = Lifecycle()
    story = [event for event, _ in events("ON cc CALL1 RESP1 T A GC U TC")]
    told = [operation for event in story for operation in lifecycle.step(event, 1)]
    told += lifecycle.step(ev.Tick(), 60_000_000_000) + lifecycle.step(HANG_UP, 60_000_000_001)
    assert [o.record.end_reason for o in told if isinstance(o, op.EndTurn)] == [EndReason.COMPLETED]
    assert not any(isinstance(operation, op.Stalled) for operation in told)


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [("Let me", " see.", "Let me see. It is near."), ("Let me", " see. ", "Let me see. It is near.")],
)
def test_the_models_words_before_and_after_a_tool_are_words_apart(first: str, then: str, said: str) -> None:
    told: list[ev.Event] = [
        ev.UserText("Where?"),
        ev.OutputTranscript(first),
        ev.OutputTranscript(then),
        ev.ToolCall("1", "search_nearby"),
        ev.ToolResponse("1", ev.ToolOutcome.OK),
        ev.ModelAudio(0.2),
        ev.OutputTranscript("It is"),
        ev.OutputTranscript(" ne"),
        ev.GenerationComplete(),
        ev.OutputTranscript("ar."),
        ev.TurnComplete(),
        ev.SessionClosed(ev.Close(1000)),
    ]
    lifecycle = Lifecycle()
    done = [operation for at, event in enumerate(told) for operation in lifecycle.step(event, at)]
    [record] = [operation.record for operation in done if isinstance(operation, op.EndTurn)]
    assert record.model_text == said
