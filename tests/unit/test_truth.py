"""The comparison itself: it plays everything, works out the right thing, and finds what is wrong."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from support.telling import Recorder, tell
from truth.acts import cases
from truth.deeds import read_deeds
from truth.expectation import NOT_SAID, Around, Connection, Expected, ExpectedTurn
from truth.expected import expected_of
from truth.fields import compare
from truth.told import told_by
from voicespan_simulator.deeds import (
    AnswerDeed,
    CallDeed,
    ClosedDeed,
    CompleteDeed,
    ConnectionDeed,
    DiaryFile,
    ExchangeDeed,
    GenerationDeed,
    InterruptedDeed,
    TurnDeed,
    UserDeed,
)
from voicespan_simulator.scenario_file import load_scenarios
from voicespan_simulator.voice import load_voice
from voicespan_simulator.wire_json import JsonObject

MS = 1_000_000
USAGE: JsonObject = {
    "promptTokenCount": 626,
    "totalTokenCount": 689,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 312}, {"modality": "AUDIO", "tokenCount": 287}],
    "responseTokenCount": 63,
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 63}],
    "thoughtsTokenCount": 40,
}


def done(**changes: object) -> list[ConnectionDeed]:
    """A question, spoken, and its answer of two and a half seconds."""
    turn = TurnDeed(
        first_content_ns=2_000 * MS,
        first_audio_ns=2_010 * MS,
        last_content_ns=2_500 * MS,
        audio_ms=2500.0,
        words="Hello Marcelo.",
        generations=[GenerationDeed(1_900 * MS, 2_500 * MS)],
        completes=[CompleteDeed(3_000 * MS, None, None, USAGE, 3_000 * MS)],
    )
    user = UserDeed("spoken", "Hello.", 0, 0.2, 0.7, 1.75, "detector", 500 * MS, 1_500 * MS)
    connection = ConnectionDeed(1, "caller", "developer", "plain", 0, "gemini-3.8-live", set_up_ns=1)
    connection.exchanges = [ExchangeDeed(user, 0, [replace(turn, **changes)])]
    connection.closed = ClosedDeed(9_000 * MS, "client", 1000, "")
    return [connection]


def test_every_scenario_is_played_and_every_case_has_one() -> None:
    scenarios = load_scenarios(load_voice().clips)
    known = cases(scenarios)
    assert {case.scenario for case in known} == {name for name, scenario in scenarios.items() if scenario.begins}
    assert len({case.name for case in known}) == len(known)


def test_a_spoken_turn_as_the_deeds_have_it() -> None:
    expected = expected_of(done())
    [turn] = expected.turns
    assert (turn.end_reason, turn.start_source, turn.generations) == ("completed", "acoustic", 1)
    assert turn.usage == {
        "input_text": 312,
        "input_audio": 287,
        "input_other": 27,
        "output_audio": 63,
        "output_reasoning": 40,
    }
    assert turn.provider_total == 689
    assert turn.first_audio_s == 1.51
    assert turn.endpointing_s == 1.0
    assert turn.model_s == 0.51
    assert (expected.close_code, expected.close_initiator, expected.error_type) == (1000, "client", None)


@pytest.mark.parametrize(
    ("by", "end_reason"), [("speech", "interrupted"), ("tool_response", "interrupted"), ("retracted", "cancelled")]
)
def test_an_interruption_by_its_cause(by: str, end_reason: str) -> None:
    [turn] = expected_of(done(interrupted=InterruptedDeed(2_600 * MS, by))).turns
    assert (turn.end_reason, turn.cause) == (end_reason, by)
    assert turn.heard_s == 0.59


@pytest.mark.parametrize(
    ("cancelled_ns", "answered_ns", "outcome"),
    [(None, 1, "ok"), (2, 1, "ok"), (1, 2, "cancelled"), (1, None, "cancelled"), (None, None, "orphaned")],
)
def test_a_tool_by_what_came_first(cancelled_ns: int | None, answered_ns: int | None, outcome: str) -> None:
    answers = [] if answered_ns is None else [AnswerDeed(answered_ns, {"ok": True}, "WHEN_IDLE", False)]
    call = CallDeed("f", "search_nearby", {}, 0, blocking=True, answers=answers, cancelled_ns=cancelled_ns)
    [tool] = expected_of(done(calls=[call])).tools
    assert tool.outcome == outcome


def test_silence_is_a_stall_by_what_was_due() -> None:
    [mute, deaf, other] = (done()[0] for _ in range(3))
    mute.exchanges[0].turns = []
    deaf.exchanges[0].turns, deaf.exchanges[0].user.words = [], ""
    other.exchanges[0].turns = [TurnDeed(completes=[CompleteDeed(1, None, None, USAGE, 1)])]
    kinds = [expected_of([connection]).turns[0].stall_kind for connection in (mute, deaf, other)]
    assert kinds == ["no_generation", "no_answer", "empty_turn"]


def test_a_connections_span_tells_how_the_former_one_ended() -> None:
    first, second = done()[0], done()[0]
    first.closed = ClosedDeed(9_000 * MS, "service", None, "", lost=True)
    second.handle, second.set_up_ns = "resumed", 9_300 * MS
    _, told = expected_of([first, second]).connections
    assert told.gap_s == 0.3
    assert replace(told, gap_s=None) == Connection(2, True, 1006, NOT_SAID, "provider", None, None, None)


def test_deeds_are_read_as_they_were_written(tmp_path: Path) -> None:
    [written] = done(calls=[CallDeed("f", "search_nearby", {}, 0, blocking=True)])
    DiaryFile(tmp_path / "deeds.jsonl").write(written)
    [read] = read_deeds(tmp_path / "deeds.jsonl")["caller"]
    assert asdict(read) == asdict(written) == json.loads((tmp_path / "deeds.jsonl").read_text())
    assert read.exchanges[0].turns[0].generations == written.exchanges[0].turns[0].generations


def test_a_deed_that_is_being_written_is_none_yet(tmp_path: Path) -> None:
    file = tmp_path / "deeds.jsonl"
    DiaryFile(file).write(done()[0])
    line = file.read_text()
    file.write_text(line + line[: len(line) // 2])
    assert len(read_deeds(file)["caller"]) == 1


def as_told() -> tuple[Expected, Recorder]:
    """A short call as the library tells it, and what would be expected of that."""
    recorder = Recorder()
    tell("ON cc T A A GC U TC BYE", recorder=recorder)
    told = told_by(recorder)
    [turn] = told.turns
    start_s = turn.start_ns / 1e9
    expected = ExpectedTurn(
        index=1,
        end_reason="completed",
        cause=None,
        stall_kind=None,
        error_type=None,
        finish_reason="stop",
        generations=1,
        usage={"input_text": 100, "input_audio": 20, "output_audio": 30},
        provider_total=150,
        audio_s=Around(0.4, 0.001),
        heard="typed",
        said="answer",
        start_source="client_content",
        start_s=Around(start_s, 0.001),
        end_s=NOT_SAID,
        first_audio_s=Around(0.02, 0.001),
        endpointing_s=None,
        tool_s=Around(0.0, 0.001),
        model_s=Around(0.02, 0.001),
        heard_s=None,
        tools=(),
    )
    paths = ["WebSocket Session", "WebSocket Session / Live Connection 1", "WebSocket Session / Turn 1"]
    call = Expected(
        turns=(expected,),
        connections=(Connection(1, False, None, None, None, None, None, None),),
        close_code=1000,
        close_reason="bye",
        close_initiator="client",
        error_type=None,
        provider="gcp.gemini",
        model="gemini-3.8-live",
        input_audio_s=Around(0.0, 0.001),
        go_aways=0,
        late_interruptions=(),
        strange_messages=0,
        paths=paths,
    )
    return call, recorder


def test_what_is_right_is_equal_in_every_field() -> None:
    expected, recorder = as_told()
    fields = list(compare(expected, told_by(recorder)))
    assert [str(field) for field in fields if not field.equal] == []
    assert len(fields) > 60


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"cause": "speech"}, {"turn 1 interruption_cause", "turn 1 interrupted", "interruptions", "barge_ins"}),
        ({"start_source": "acoustic"}, {"turn 1 start_source"}),
        ({"provider_total": 151}, {"turn 1 usage.provider_total", "usage.provider_total"}),
        ({"said": "Another answer."}, {"turn 1 words out"}),
        ({"first_audio_s": Around(0.1, 0.03)}, {"turn 1 time_to_first_audio"}),
        ({"error_type": "close_1011"}, {"turn 1 error.type", "turn 1 status"}),
    ],
)
def test_what_is_wrong_is_found_with_both_values(change: dict[str, object], wrong: set[str]) -> None:
    expected, recorder = as_told()
    turns = (replace(expected.turns[0], **change),)
    compared = compare(replace(expected, turns=turns), told_by(recorder))
    found = {field.name: str(field) for field in compared if not field.equal}
    assert wrong <= set(found)
    assert len(found) <= len(wrong) + 2  # a metric or an event says it again
    assert all("expected" in text and "told" in text for text in found.values())


def test_a_turn_that_was_not_told_is_a_wrong_field() -> None:
    expected, recorder = as_told()
    two = replace(expected, turns=(*expected.turns, replace(expected.turns[0], index=2)))
    assert "turn 2: expected 'a span', told None" in {str(f) for f in compare(two, told_by(recorder)) if not f.equal}
