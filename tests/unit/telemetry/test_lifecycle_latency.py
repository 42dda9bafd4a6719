"""What the user waited for and what was heard: measured, inferred where that is said, or not there."""

import pytest

from support.story import USAGE, at, turns
from voicespan import events as ev
from voicespan import operations as op
from voicespan.answers import Answer
from voicespan.lifecycle import Lifecycle
from voicespan.operations import StartSource


def test_a_single_sample_is_no_first_audio() -> None:
    story = "cc a .. A GC U TC"
    [turn] = turns(story)
    assert turn.first_output_ns == at(story, "a")
    assert turn.first_audio_ns == at(story, "A")
    assert turn.time_to_first_audio_s == pytest.approx((at(story, "A") - at(story, "cc")) / 1e9)


@pytest.mark.parametrize("story", ["T A GC U TC", "MIC T A GC U TC"])
def test_no_time_to_first_audio_where_nothing_before_the_output_is_known(story: str) -> None:
    [turn] = turns(story)
    assert turn.first_audio_ns is not None
    assert turn.time_to_first_audio_s is None


def test_latency_comes_apart_into_what_was_waited_for() -> None:
    story = "MIC VAS EOS .. VAE .. CALL1 .. RESP1 .. A GC U TC"
    [turn] = turns(story)
    latency = turn.latency
    assert turn.source is StartSource.ACOUSTIC
    assert latency.endpointing_s == pytest.approx((at(story, "VAE") - at(story, "EOS")) / 1e9)
    assert latency.tool_s == pytest.approx((at(story, "RESP1") - at(story, "CALL1")) / 1e9)
    assert latency.model_s is not None
    whole = latency.endpointing_s + latency.tool_s + latency.model_s
    assert whole == pytest.approx(turn.time_to_first_audio_s)


def test_with_playback_the_parts_sum_to_what_the_user_waited() -> None:
    story = "MIC VAS EOS .. VAE .. A .. PLAY1 GC U TC"
    [turn] = turns(story)
    parts = turn.latency
    assert parts.transport_s == pytest.approx((at(story, "PLAY1") - at(story, "A")) / 1e9)
    found = [parts.endpointing_s, parts.tool_s, parts.model_s, parts.transport_s]
    assert sum(part or 0 for part in found) == pytest.approx(turn.time_to_playback_s)


def test_where_the_decision_is_not_known_waiting_and_thinking_are_not_told_apart() -> None:
    [turn] = turns("MIC EOS I .. A GC U TC")
    assert turn.source is StartSource.ACOUSTIC
    assert (turn.latency.endpointing_s, turn.latency.model_s) == (None, None)
    assert turn.time_to_first_audio_s is not None


def test_parallel_tools_are_waited_for_once_and_only_until_the_voice() -> None:
    story = "cc CALL1 .. CALL2 .. RESP1 .. RESP2 A GC U TC"
    [turn] = turns(story)
    assert turn.latency.tool_s == pytest.approx((at(story, "RESP2") - at(story, "CALL1")) / 1e9)
    story = "cc CALL1 .. A .. RESP1 A GC U TC"
    [turn] = turns(story)
    assert turn.latency.tool_s == pytest.approx((at(story, "A") - at(story, "CALL1")) / 1e9)
    [turn] = turns("cc A CALL1 .. RESP1 A GC U TC")
    assert turn.latency.tool_s == 0


def test_what_was_heard_of_an_interrupted_answer_is_what_the_client_says() -> None:
    story = "MIC I VAE A A A PLAY1 VAS INT U TC .. STOP1 BYE"
    [turn] = turns(story)
    assert turn.heard == op.HeardAudio(0.15, reported=True)
    assert turn.silenced_s == pytest.approx((at(story, "STOP1") - at(story, "VAS")) / 1e9)


def test_nobody_hears_more_than_there_was_whatever_the_client_says() -> None:
    answer = Answer()
    answer.add(ev.ModelAudio(0.2), 1)
    answer.played_s = 1e305
    assert answer.heard(2) == op.HeardAudio(0.2, reported=True)


def test_what_was_heard_is_inferred_where_the_client_says_nothing() -> None:
    story = "MIC I VAE A A A .. VAS INT U TC"
    [turn] = turns(story)
    assert turn.heard == op.HeardAudio(pytest.approx((at(story, "INT") - at(story, "A")) / 1e9), reported=False)
    assert turn.silenced_s is None
    [short] = turns("MIC I VAE A .. .. .. VAS INT U TC")
    assert short.heard == op.HeardAudio(0.2, reported=False), "no more than there was"


def test_a_client_that_reports_is_waited_for_but_not_for_ever() -> None:
    story = "MIC I VAE A A A PLAY1 VAS INT U TC .. .. .. .. .. .. STOP1"
    [turn] = turns(story)
    assert turn.heard is not None
    assert not turn.heard.reported


def test_audible_audio_begins_when_its_silence_is_over() -> None:
    lifecycle = Lifecycle()
    second = 1_000_000_000
    told = [
        (ev.UserText("typed"), second),
        (ev.ModelAudio(0.2, 0.2), 2 * second),
        (ev.ModelAudio(0.2, 0.05), 2 * second + 1),
        (ev.UsageReport(USAGE, completes_turn=True), 3 * second),
        (ev.TurnComplete(), 3 * second),
    ]
    found = [operation for event, now in told for operation in lifecycle.step(event, now)]
    [record] = [o.record for o in found if isinstance(o, op.EndTurn)]
    assert record.time_to_first_audio_s == 1.0
    assert record.time_to_audible_audio_s == 1.25


def test_the_users_speech_is_measured_where_the_client_marks_both_ends() -> None:
    story = "ACS .. AE A GC U TC"
    [turn] = turns(story)
    assert turn.speech_ns == (at(story, "ACS"), at(story, "AE"))
    [turn] = turns("VAS .. VAE A GC U TC")
    assert turn.speech_ns is None


def test_an_end_of_sound_after_what_was_heard_is_of_the_users_next_words() -> None:
    [turn] = turns("MIC VAS I VAE .. EOS A GC U TC")
    assert turn.source is StartSource.SERVER_ACTIVITY_END
    assert turn.latency.endpointing_s is None
