"""What a scenario may ask for beyond a question and its answer: in the order in which it is sent."""

import asyncio
from typing import Literal

import pytest

from support.simulated_call import Caller, Dial
from voicespan_simulator.client_messages import Audio, ClientContent, FunctionResponse, RefusedError, Text, ToolResponse
from voicespan_simulator.conversation import Conversation
from voicespan_simulator.scenario import (
    Answer,
    Close,
    FunctionCall,
    GoAway,
    Instead,
    Loss,
    Scenario,
    Turn,
    UsageReports,
)
from voicespan_simulator.tokens import Tokens
from voicespan_simulator.wire_json import JsonValue, pick

M38, M31 = "models/gemini-3.8-live", "models/gemini-3.1-flash-live-preview"
LATEST = "gemini-2.5-flash-native-audio-latest"
CASCADE = "publishers/google/models/gemini-live-2.5-flash"

ANSWER = Answer("One two three four five six.", "second")
SPEAKS = Turn("Good morning there.", ANSWER)
SEARCH = FunctionCall("search_nearby", {"query": "cafe"})
ROUTE = FunctionCall("navigate_to_location", {"destination": "X"})


async def respond(caller: Caller, number: int, response: JsonValue = None, **how: object) -> None:
    call = caller.heard.calls()[number]
    answer = FunctionResponse(str(call["id"]), str(call["name"]), response or {"ok": True}, **how)
    await caller.session.take(ToolResponse((answer,)))


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_an_end_that_is_taken_back_is_a_turn_of_its_own_and_the_rest_gets_the_next(dial: Dial) -> None:
    caller = dial(LATEST, [Turn("Is there a cafe?", ANSWER, hold="start"), Turn(" An open one.", ANSWER)])
    await caller.say()
    await caller.heard.until("I", 4)
    await caller.say()
    await caller.heard.until("TC+usage", 2)
    assert caller.heard.runs.startswith("I INT TC+usage I TH T A")
    phantom, _ = caller.heard.usage()
    assert "responseTokenCount" not in phantom
    first, second = caller.call.deed.exchanges
    assert first.turns[0].interrupted is not None
    assert first.turns[0].interrupted.by == "retracted"
    assert (first.user.words, second.user.words) == ("Is there a cafe?", " An open one.")


TALKS = Turn("Is there a cafe?", ANSWER, (SEARCH,), hold="playback", meanwhile=Answer("I am looking.", "second"))


async def test_a_tool_that_blocks_nothing_interrupts_what_is_said_meanwhile(dial: Dial) -> None:
    caller = dial(LATEST, [TALKS])
    await caller.say()
    await caller.heard.until("GC")
    await respond(caller, 0, scheduling="INTERRUPT")
    await caller.heard.until("TC+usage", 2)
    assert caller.heard.runs == "I TH call T A GC INT TC+usage TH T A T A GC TC+usage"
    first, second = caller.call.deed.exchanges
    assert first.turns[0].interrupted is not None
    assert first.turns[0].interrupted.by == "tool_response"
    assert (len(first.turns[0].generations), second.user.how) == (1, "tool_response")


async def test_its_answer_waits_for_a_pause_or_is_kept_silent(dial: Dial) -> None:
    caller = dial(LATEST, [TALKS])
    await caller.say()
    await caller.heard.until("A")
    await respond(caller, 0, scheduling="SILENT", will_continue=True)
    await respond(caller, 0, {"places": [{"name": "Fazer"}]}, scheduling="WHEN_IDLE", will_continue=True)
    await respond(caller, 0, scheduling="WHEN_IDLE")
    await caller.heard.until("TC+usage", 3)
    assert "INT" not in caller.heard.kinds
    assert [turn.words for exchange in caller.call.deed.exchanges for turn in exchange.turns] == [
        "I am looking.",
        "I found Fazer.",
        "One two three four five six.",
    ]
    (call,) = caller.call.deed.exchanges[0].turns[0].calls
    assert [answer.scheduling for answer in call.answers] == ["SILENT", "WHEN_IDLE", "WHEN_IDLE"]
    with pytest.raises(Exception, match="1008"):
        await respond(caller, 0)


async def test_the_user_may_go_on_before_such_a_tool_has_answered(dial: Dial) -> None:
    caller = dial(M38, [Turn("Is there a cafe?", ANSWER, (SEARCH,), meanwhile=Answer("Hm.", "second")), SPEAKS])
    await caller.say()
    await caller.heard.until("TC+usage")
    await caller.say()
    await caller.heard.until("TC+usage", 2)
    await respond(caller, 0)
    await caller.heard.until("TC+usage", 3)
    assert "cancel" not in caller.heard.kinds


async def test_a_call_is_taken_back_before_or_after_its_answer(dial: Dial) -> None:
    before = FunctionCall("search_nearby", {"query": "cafe"}, "before_answer")
    caller = dial(M38, [Turn("Both.", ANSWER, (ROUTE, before))])
    await caller.say()
    await caller.heard.until("call")
    await respond(caller, 0)
    await caller.heard.until("TC+usage")
    assert caller.heard.runs.startswith("START I END {} sc{} {} call cancel {} sc{}")
    await respond(caller, 1)  # it was on its way
    answered, cancelled = caller.call.deed.exchanges[0].turns[0].calls
    assert answered.cancelled_ns is None
    assert cancelled.cancelled_ns is not None
    assert len(cancelled.answers) == 1

    after = FunctionCall("search_nearby", {"query": "cafe"}, "after_answer")
    caller = dial(M38, [Turn("One.", ANSWER, (after,))])
    await caller.say()
    await caller.answer_calls()
    await caller.heard.until("TC+usage")
    assert "call cancel {} sc{}" in caller.heard.runs


async def test_a_filler_is_closed_as_in_progress_and_the_answer_as_idle(dial: Dial) -> None:
    caller = dial(M38, [Turn("Is there a cafe?", ANSWER, (SEARCH,), filler=Answer("Let me think.", "second"))])
    await caller.say()
    await caller.answer_calls()
    await caller.heard.until("TC+usage", 2)
    runs = caller.heard.runs
    assert runs.index("TC+usage") < runs.index("call") < runs.rindex("TC+usage")
    (turn,) = caller.call.deed.exchanges[0].turns
    assert [complete.status for complete in turn.completes] == ["IN_PROGRESS", "IDLE"]
    assert len(turn.generations) == 3
    first, second = caller.heard.usage()
    assert first["responseTokenCount"] == 25
    assert second["responseTokenCount"] == 25 + 12


@pytest.mark.parametrize(
    ("usage", "end"),
    [("missing", "GC TC"), ("late", "GC TC usage"), ("audio_uncounted", "GC TC+usage")],
)
async def test_a_report_may_be_missing_late_or_without_a_number(dial: Dial, usage: UsageReports, end: str) -> None:
    caller = dial(M38, [Turn("Hello.", ANSWER, usage=usage)])
    await caller.say()
    await caller.heard.until(end.rsplit(maxsplit=1)[-1])
    assert caller.heard.runs.endswith(end)
    (complete,) = caller.call.deed.exchanges[0].turns[0].completes
    assert (complete.usage is None) is (usage == "missing")
    if usage == "audio_uncounted":
        (report,) = caller.heard.usage()
        assert caller.modality(report, "responseTokensDetails") == {"TEXT": 7, "AUDIO": None}


@pytest.mark.parametrize(
    ("instead", "runs"),
    [
        ("waiting", "START I END TC+usage"),
        ("empty", "START I END TC+usage"),
        ("mute", "START I END"),
        ("deaf", ""),
    ],
)
async def test_what_may_come_instead_of_an_answer(dial: Dial, instead: Instead, runs: str) -> None:
    caller = dial(M38, [Turn("Hello.", instead=instead), SPEAKS])
    await caller.say()
    await settle()
    assert caller.heard.runs.replace("sc{} ", "") == runs
    waits = [m for m in caller.heard.messages if pick(m, "serverContent", "waitingForInput")]
    assert len(waits) == (instead == "waiting")
    await caller.say()
    await caller.heard.until("GC")
    assert "INT" not in caller.heard.kinds
    assert [exchange.scenario_turn for exchange in caller.call.deed.exchanges] == [0, 1]


async def test_a_tools_answer_may_be_ignored(dial: Dial) -> None:
    caller = dial(M38, [Turn("Is there a cafe?", calls=(SEARCH,), instead="mute")])
    await caller.say()
    await caller.answer_calls()
    await settle()
    assert caller.heard.kinds[-1] == "call"
    (call,) = caller.call.deed.exchanges[0].turns[0].calls
    assert len(call.answers) == 1


async def test_late_words_come_behind_the_audio_or_behind_the_turn(dial: Dial) -> None:
    for transcripts, runs in (("late", "A I A GC T TC+usage"), ("after_turn", "A GC TC+usage T")):
        caller = dial(CASCADE, [Turn("Hello.", ANSWER, transcripts=transcripts)], vertex=True)
        await caller.say()
        await caller.heard.until("TC+usage")
        await settle()
        assert caller.heard.runs.replace("I.finished ", "").endswith(runs)
        (exchange,) = caller.call.deed.exchanges
        assert (exchange.user.words, exchange.turns[0].words) == ("Hello.", "One two three four five six.")


async def test_an_answer_may_be_words_alone(dial: Dial) -> None:
    caller = dial(M31, [Turn("Hello.", Answer("One two three.", audio=False))])
    await caller.say()
    await caller.heard.until("TC+usage")
    assert caller.heard.runs.endswith("sc{} T GC TC+usage")
    assert "responseTokenCount" not in caller.heard.usage()[0]


async def test_a_turn_for_typed_words_is_taken_by_them(dial: Dial) -> None:
    caller = dial(M31, [Turn("Hello.", ANSWER, typed=True), SPEAKS])
    await caller.session.take(ClientContent("Whatever.", 9, 0, turn_complete=True))
    await caller.heard.until("TC+usage")
    (exchange,) = caller.call.deed.exchanges
    assert (exchange.user.how, exchange.user.words, exchange.scenario_turn) == ("typed", "Whatever.", 0)
    assert exchange.turns[0].words == ANSWER.text


async def test_the_reason_of_a_turns_end_is_told(dial: Dial) -> None:
    caller = dial(M38, [Turn("Hello.", instead="empty", complete_reason="RESPONSE_REJECTED")])
    await caller.say()
    await caller.heard.until("TC+usage")
    assert pick(caller.heard.messages[-1], "serverContent", "turnCompleteReason") == "RESPONSE_REJECTED"


@pytest.mark.parametrize("ending", [Close(1008, "The operation was aborted.", in_tools=True), Loss(in_tools=True)])
async def test_a_connection_may_end_while_a_tool_runs(dial: Dial, ending: Close | Loss) -> None:
    caller = dial(M38, [Turn("Is there a cafe?", ANSWER, (SEARCH,), ending=ending)])
    await caller.say()
    await caller.heard.until_ended()
    assert caller.heard.kinds[-1] == "call"
    assert caller.heard.aborted is isinstance(ending, Loss)
    assert caller.heard.closed == ((1008, "The operation was aborted.") if isinstance(ending, Close) else None)


async def test_go_away_while_a_tool_runs_lets_the_turn_finish_at_fast_pace(dial: Dial) -> None:
    caller = dial(M38, [Turn("Is there a cafe?", ANSWER, (SEARCH,), ending=GoAway(9.5, in_tools=True))])
    await caller.say()
    await caller.heard.until("goAway")
    await caller.answer_calls()
    async with caller.heard.arrived:
        await asyncio.wait_for(caller.heard.arrived.wait_for(lambda: caller.heard.closed is not None), 5)
    kinds = caller.heard.kinds
    assert kinds.index("call") < kinds.index("goAway") < kinds.index("TC+usage")


async def test_what_is_cut_short_is_in_the_deeds_as_far_as_it_was_sent(dial: Dial) -> None:
    caller = dial(M38, [Turn("A story.", Answer("Once upon a time.", "second"), hold="generation"), SPEAKS])
    await caller.say()
    await caller.heard.until("A+T", 2)
    await caller.say()
    await caller.heard.until("TC+usage", 2)
    cut, whole = (exchange.turns[0] for exchange in caller.call.deed.exchanges)
    assert cut.interrupted is not None
    assert cut.interrupted.by == "speech"
    assert 0 < cut.audio_ms < whole.audio_ms == 1000
    assert cut.completes[0].usage == caller.heard.usage()[0]
    user = caller.call.deed.exchanges[1].user
    assert user.began_s is not None
    assert user.ended_s is not None
    assert user.decided_s is not None
    assert user.ended_s - user.began_s == pytest.approx(1.0, abs=0.03)
    assert user.decided_s - user.ended_s == pytest.approx(1.05, abs=0.01)


async def test_there_is_no_handle_while_an_answer_withholds_it(dial: Dial) -> None:
    caller = dial(LATEST, [Turn("Hello.", ANSWER, withholds_handle=True)], sessionResumption={})
    await caller.session.begin()
    await caller.say()
    await caller.heard.until("TC+usage")
    await caller.heard.until("RU", 3)
    updates = [pick(m, "sessionResumptionUpdate") for m in caller.heard.messages if "sessionResumptionUpdate" in m]
    assert [pick(update, "resumable") for update in updates] == [True, False, True]
    assert pick(updates[1], "newHandle") is None


async def test_audio_in_the_midst_of_tools_that_need_quiet_ends_the_connection(dial: Dial) -> None:
    caller = dial(LATEST, [Turn("Hello.", ANSWER, (SEARCH,), typed=True, quiet_tools=True)])
    await caller.session.take(Text("Hello."))
    await caller.heard.until("call")
    with pytest.raises(RefusedError, match="Requested entity was not found"):
        await caller.session.take(Audio(bytes(640), 16_000))
    await respond(caller, 0)
    await caller.session.take(Audio(bytes(640), 16_000))
    await caller.heard.until("TC+usage")


@pytest.mark.parametrize(
    ("answer", "audio_messages", "seconds"),
    [
        (Answer("One two three.", "second", whole=True), 1, 1.0),
        (Answer("One two three.", "second", heard=0.25), 4, 0.25),
    ],
)
async def test_an_answer_in_one_message_and_one_that_is_cut_short(
    dial: Dial, answer: Answer, audio_messages: int, seconds: float
) -> None:
    caller = dial(LATEST, [Turn("Hello.", answer)])
    await caller.say()
    await caller.heard.until("TC+usage")
    assert caller.heard.kinds.count("A") == audio_messages
    (turn,) = caller.call.deed.exchanges[0].turns
    assert (turn.words, turn.audio_ms) == ("One two three.", seconds * 1000)


@pytest.mark.parametrize(("setup", "said"), [("mute", []), ("error", ["{}"])])
async def test_a_setup_that_is_not_taken(dial: Dial, setup: Literal["mute", "error"], said: list[str]) -> None:
    scenario = Scenario("test", "a test", (SPEAKS,), setup=setup)
    caller = dial(LATEST, conversation=Conversation(scenario, Tokens()))
    await caller.session.begin()
    await caller.say()
    assert caller.heard.kinds == said
    assert [list(message) for message in caller.heard.messages] == [["error"]] * len(said)
