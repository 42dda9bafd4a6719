"""The order of messages, per model, as the recordings have it."""

import asyncio

import pytest

from support.simulated_call import UTTERANCE, Dial, silence, tone
from voicespan_simulator.client_messages import (
    ActivityEnd,
    ActivityStart,
    Audio,
    AudioStreamEnd,
    ClientContent,
    FunctionResponse,
    RefusedError,
    Text,
    ToolResponse,
)
from voicespan_simulator.scenario import Answer, Close, FunctionCall, GoAway, Loss, Turn
from voicespan_simulator.wire_json import pick, pick_list

M38, M31 = "models/gemini-3.8-live", "models/gemini-3.1-flash-live-preview"
PREVIEW, LATEST = "gemini-2.5-flash-native-audio-preview-09-2025", "gemini-2.5-flash-native-audio-latest"
CASCADE = "publishers/google/models/gemini-live-2.5-flash"
NATIVE = "publishers/google/models/gemini-live-2.5-flash-native-audio"

ANSWER = Answer("One two three four five six.", "second")
SPEAKS = Turn("Good morning there.", ANSWER)
SEARCHES = Turn("Is there a cafe?", ANSWER, (FunctionCall("search_nearby", {"query": "cafe"}),))
HELD = Turn("Tell me a story.", Answer("Once upon a time there was an answer.", "second"), hold="playback")
CUT = Turn("Tell me a story.", Answer("Once upon a time there was an answer.", "second"), hold="generation")


@pytest.mark.parametrize(
    ("model", "vertex", "runs"),
    [
        (M38, False, "START I END {} sc{} {} A+T {} A {} A+T {} A {} A+T {} A GC TC+usage"),
        (M31, False, "START+sc I END+sc sc{} A+T A A+T A A+T A GC TC+usage"),
        (PREVIEW, False, "I TH T A T A GC TC+usage"),
        (LATEST, False, "I TH T A T A GC TC+usage"),
        (NATIVE, True, "I I.finished T A T A T.finished GC TC+usage"),
        (CASCADE, True, "I I.finished T T.finished A GC TC+usage"),
    ],
)
async def test_a_spoken_turn(dial: Dial, model: str, vertex: bool, runs: str) -> None:
    caller = dial(model, vertex=vertex)
    await caller.say()
    await caller.heard.until("TC+usage")
    assert caller.heard.runs.replace("sc{}+START", "START+sc").replace("sc{}+END", "END+sc") == runs


@pytest.mark.parametrize(
    ("model", "vertex", "runs"),
    [
        (M38, False, "START I END {} sc{} {} call {} sc{} {} A+T"),
        (M31, False, "sc{}+START I sc{}+END sc{} call RU sc{} A+T"),
        (PREVIEW, False, "I call T A"),
        (LATEST, False, "I TH call T A"),
        (CASCADE, True, "I I.finished T call T.finished GC TC+usage T T.finished A GC TC+usage"),
    ],
)
async def test_a_round_of_tools(dial: Dial, model: str, vertex: bool, runs: str) -> None:
    caller = dial(model, [SEARCHES], vertex=vertex)
    await caller.say()
    await caller.answer_calls()
    await caller.heard.until("TC+usage", 2 if vertex else 1)
    assert caller.heard.runs.startswith(runs)


@pytest.mark.parametrize("model", [M38, M31, PREVIEW, LATEST])
async def test_the_report_of_a_turn_counts_25_tokens_per_second_and_thoughts_outside_the_total(
    dial: Dial, model: str
) -> None:
    caller = dial(model)
    await caller.say()
    await caller.heard.until("TC+usage")
    (report,) = caller.heard.usage()
    assert report["responseTokenCount"] == 25
    prompt = report["promptTokenCount"]
    assert isinstance(prompt, int)
    assert report["totalTokenCount"] == prompt + 25
    details = sum(int(str(count)) for count in caller.modality(report, "promptTokensDetails").values())
    assert prompt - details == caller.call.profile.accounting.base.unclassified
    assert report.get("thoughtsTokenCount", 0) == caller.call.profile.accounting.thoughts


async def test_the_prompt_grows_from_turn_to_turn(dial: Dial) -> None:
    caller = dial(M38)
    for turn in (1, 2):
        await caller.say()
        await caller.heard.until("TC+usage", turn)
    first, second = caller.heard.usage()
    speech = round((1.0 + 0.35) * 25)
    assert pick(second, "promptTokenCount") == int(str(first["promptTokenCount"])) + 25 + speech


async def test_a_tool_round_counts_both_prompts_on_3_1_and_only_the_last_on_2_5(dial: Dial) -> None:
    prompts: dict[str, int] = {}
    for model in (M31, PREVIEW):
        caller = dial(model, [SEARCHES])
        before = caller.call.profile.accounting.base.total
        await caller.say()
        await caller.answer_calls()
        await caller.heard.until("TC+usage")
        prompts[model] = int(str(caller.heard.usage()[0]["promptTokenCount"])) - before
    assert prompts[M31] > caller_base(dial, M31)
    assert prompts[PREVIEW] < 100


def caller_base(dial: Dial, model: str) -> int:
    return dial(model).call.profile.accounting.base.total


@pytest.mark.parametrize("turn", [HELD, CUT], ids=["in playback", "in generation"])
async def test_speech_interrupts_an_answer(dial: Dial, turn: Turn) -> None:
    caller = dial(M38, [turn, SPEAKS])
    await caller.say()
    await caller.heard.until("GC") if turn is HELD else await caller.heard.until("A+T", 2)
    await caller.say()
    await caller.heard.until("TC+usage", 2)
    generated = "GC START INT TC+usage" if turn is HELD else "START INT TC+usage"
    assert f"{generated} I END {{}} sc{{}}" in caller.heard.runs
    assert caller.heard.kinds.count("GC") == (2 if turn is HELD else 1)
    interrupted, _ = caller.heard.usage()
    spoken = interrupted["responseTokenCount"]
    assert isinstance(spoken, int)
    assert spoken == 25 if turn is HELD else 0 < spoken < 25


async def test_on_2_5_the_words_of_the_interrupting_utterance_come_after_the_interrupted_turn(dial: Dial) -> None:
    caller = dial(PREVIEW, [HELD, SPEAKS])
    await caller.say()
    await caller.heard.until("GC")
    await caller.say()
    await caller.heard.until("TC+usage", 2)
    assert "A GC INT TC+usage I TH T A" in caller.heard.runs


async def test_speech_while_a_tool_runs_cancels_its_calls_and_forgives_a_late_answer(dial: Dial) -> None:
    caller = dial(M38, [SEARCHES, SPEAKS])
    await caller.say()
    await caller.heard.until("call")
    await caller.say()
    await caller.heard.until("TC+usage", 2)
    assert "call START cancel INT TC+usage I END" in caller.heard.runs
    (call,) = caller.heard.calls()
    cancellation = next(m for m in caller.heard.messages if "toolCallCancellation" in m)
    assert pick(cancellation, "toolCallCancellation", "ids") == [call["id"]]
    await caller.session.take(ToolResponse((FunctionResponse(str(call["id"]), "search_nearby", {}),)))


async def test_parallel_calls_come_in_one_message_and_wait_for_all_answers(dial: Dial) -> None:
    both = (
        FunctionCall("search_nearby", {"query": "cafe"}),
        FunctionCall("navigate_to_location", {"destination": "X"}),
    )
    caller = dial(M38, [Turn("Both.", ANSWER, both)])
    await caller.say()
    await caller.heard.until("call")
    first, second = caller.heard.calls()
    assert first["id"] != second["id"]
    await caller.session.take(ToolResponse((FunctionResponse(str(first["id"]), "", {}),)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert caller.heard.kinds[-1] == "call"
    await caller.session.take(ToolResponse((FunctionResponse(str(second["id"]), "", {}),)))
    await caller.heard.until("TC+usage")


async def test_an_answer_to_no_call_and_a_second_answer_are_refused(dial: Dial) -> None:
    caller = dial(M38, [SEARCHES])
    with pytest.raises(RefusedError, match=r"1008 Requested entity was not found\."):
        await caller.session.take(ToolResponse((FunctionResponse("nobody", "", {}),)))
    await caller.say()
    await caller.answer_calls()
    with pytest.raises(RefusedError, match="1008"):
        await caller.answer_calls()


async def test_a_function_that_was_not_declared_is_not_called(dial: Dial) -> None:
    caller = dial(M38, [SEARCHES], tools=[])
    await caller.say()
    await caller.heard.until("TC+usage")
    assert "call" not in caller.heard.kinds


async def test_an_error_of_a_tool_is_not_answered_with_success(dial: Dial) -> None:
    caller = dial(M38, [SEARCHES])
    await caller.say()
    await caller.answer_calls({"error": "down"})
    await caller.heard.until("TC+usage")
    texts = [str(pick(m, "serverContent", "outputTranscription", "text") or "") for m in caller.heard.messages]
    assert "".join(texts) == "I am sorry, that did not work."


@pytest.mark.parametrize("model", [M38, M31, PREVIEW, LATEST, NATIVE, CASCADE])
async def test_fragments_join_to_the_words_and_the_audio_is_whole(dial: Dial, model: str) -> None:
    words = "A somewhat longer answer, so that there are fragments; it even ends here."
    caller = dial(model, words=words, vertex=model.startswith("publishers"))
    await caller.say()
    await caller.heard.until("TC+usage")
    output = [pick(m, "serverContent", "outputTranscription", "text") for m in caller.heard.messages]
    assert "".join(str(text) for text in output if text) == words
    said = [pick(m, "serverContent", "inputTranscription", "text") for m in caller.heard.messages]
    assert "".join(str(text) for text in said if text).strip() == "Good morning there."
    assert len([text for text in said if text]) == (5 if model in (PREVIEW, LATEST) else 1)


async def test_every_other_answer_on_3_8_begins_with_a_single_sample(dial: Dial) -> None:
    caller = dial(M38)
    sizes: list[int] = []
    for turn in (1, 2):
        begin = len(caller.heard.messages)
        await caller.say()
        await caller.heard.until("TC+usage", turn)
        first = next(m for m in caller.heard.messages[begin:] if pick(m, "serverContent", "modelTurn"))
        sizes.append(len(str(pick(pick_list(first, "serverContent", "modelTurn", "parts")[0], "inlineData", "data"))))
    assert sizes[0] == 4
    assert sizes[1] > 10_000


async def test_transcripts_come_unasked_on_3_8_only(dial: Dial) -> None:
    for model, unasked in ((M38, True), (PREVIEW, False)):
        caller = dial(model, inputAudioTranscription=None, outputAudioTranscription=None)
        await caller.say()
        await caller.heard.until("TC+usage")
        assert ("I" in caller.heard.kinds) is unasked
        assert any("T" in kind.split("+") for kind in caller.heard.kinds) is unasked


async def test_push_to_talk_takes_the_place_of_detection(dial: Dial) -> None:
    caller = dial(M38, realtimeInputConfig={"automaticActivityDetection": {"disabled": True}})
    await caller.session.take(ActivityStart())
    await caller.say()
    assert caller.heard.runs == "START"
    await caller.session.take(ActivityEnd())
    await caller.heard.until("TC+usage")
    assert caller.heard.runs.startswith("START I END {} sc{}")
    with pytest.raises(RefusedError, match="Explicit activity control"):
        await dial(M38).session.take(ActivityStart())


async def test_the_end_of_the_stream_ends_the_utterance(dial: Dial) -> None:
    caller = dial(M38)
    await caller.say(Audio(tone(1.0), 16_000))
    assert caller.heard.runs == "START"
    await caller.session.take(AudioStreamEnd())
    await caller.heard.until("TC+usage")


async def test_without_interruption_the_next_turn_waits_for_the_answer(dial: Dial) -> None:
    turn = Turn("Tell me.", ANSWER)
    caller = dial(M38, [turn, turn], realtimeInputConfig={"activityHandling": "NO_INTERRUPTION"})
    await caller.say()
    await caller.say()
    await caller.heard.until("TC+usage", 2)
    assert "INT" not in caller.heard.kinds
    assert caller.heard.kinds.count("GC") == 2


async def test_an_utterance_that_goes_on_is_taken_back_and_gets_the_same_turn(dial: Dial) -> None:
    caller = dial(LATEST, [SPEAKS, SEARCHES])
    await caller.say(Audio(UTTERANCE.pcm + tone(0.5) + silence(1.2), 16_000))
    await caller.heard.until("TC+usage", 2)
    assert caller.heard.runs.startswith("I INT TC+usage TH T A")
    phantom, report = caller.heard.usage()
    assert "responseTokenCount" not in phantom
    assert report["responseTokenCount"] == 25
    assert caller.call.conversation.next_turn == 1


async def test_typed_words_call_a_tool_and_the_answer_tells_its_result(dial: Dial) -> None:
    for message in (
        Text("Is there a cafe near here?"),
        ClientContent("Is there a cafe near here?", 26, 0, turn_complete=True),
    ):
        caller = dial(M31)
        await caller.session.take(message)
        await caller.answer_calls({"places": [{"name": "Fazer"}]})
        await caller.heard.until("TC+usage")
        texts = [str(pick(m, "serverContent", "outputTranscription", "text") or "") for m in caller.heard.messages]
        assert "".join(texts) == "I found Fazer."
        assert caller.heard.runs.startswith("sc{} call RU sc{} A+T")


async def test_history_is_counted_and_not_answered(dial: Dial) -> None:
    seed = ClientContent("Hello", 400, 1, turn_complete=False)
    caller = dial(M38)
    await caller.session.take(seed)
    assert caller.call.conversation.context.image == 272
    assert caller.heard.messages == []
    seeded = dial(M38, historyConfig={"initialHistoryInClientContent": True})
    await seeded.session.take(ClientContent("Hello", 400, 0, turn_complete=True))
    assert seeded.heard.messages == []
    await seeded.session.take(ClientContent("Hello", 5, 0, turn_complete=True))
    await seeded.heard.until("TC+usage")


async def test_a_handle_comes_unasked_at_the_start_on_3_8_and_after_every_turn_where_asked_for(dial: Dial) -> None:
    for model, resumption, opening in (
        (M38, None, "setup RU"),
        (PREVIEW, None, "setup"),
        (PREVIEW, {}, "setup RU"),
    ):
        caller = dial(model, sessionResumption=resumption)
        await caller.session.begin()
        assert caller.heard.runs == opening
        await caller.say()
        await caller.heard.until("TC+usage")
        await asyncio.sleep(0.01)
        assert caller.heard.runs.endswith("TC+usage RU") is (resumption is not None)


async def test_go_away_comes_after_the_handle_and_before_the_close(dial: Dial) -> None:
    turn = Turn("Hello.", ANSWER, ending=GoAway(50))
    caller = dial(M38, [turn, SPEAKS], sessionResumption={})
    await caller.say()
    await caller.heard.until("goAway")
    assert caller.heard.runs.endswith("GC TC+usage RU goAway")
    assert caller.heard.messages[-1] == {"goAway": {"timeLeft": "50s"}}
    async with caller.heard.arrived:
        await caller.heard.arrived.wait_for(lambda: caller.heard.closed is not None)
    assert caller.heard.closed == (1011, "Deadline expired before operation could complete.")
    resumed = caller.call.handles.load(str(pick(caller.heard.messages[-2], "sessionResumptionUpdate", "newHandle")))
    assert resumed is not None
    assert resumed.next_turn == 1
    assert resumed.context == caller.call.conversation.context


async def test_go_away_in_mid_answer_lets_it_finish_at_fast_pace(dial: Dial) -> None:
    caller = dial(M38, [Turn("Hello.", ANSWER, ending=GoAway(9.5, after_audio_messages=2))])
    await caller.say()
    async with caller.heard.arrived:
        await asyncio.wait_for(caller.heard.arrived.wait_for(lambda: caller.heard.closed is not None), 5)
    kinds = caller.heard.kinds
    assert kinds.index("A+T") < kinds.index("goAway") < kinds.index("GC") < kinds.index("TC+usage")
    assert {"goAway": {"timeLeft": "9.500s"}} in caller.heard.messages


@pytest.mark.parametrize("ending", [Loss(2), Close(1000, "The operation was cancelled.", 2)])
async def test_an_answer_that_is_lost_stops_in_its_middle_and_only_once(dial: Dial, ending: Loss | Close) -> None:
    caller = dial(M38, [Turn("Hello.", ANSWER, ending=ending)])
    await caller.session.begin()
    await caller.say()
    await asyncio.sleep(0.05)
    assert caller.heard.runs.endswith("END {} sc{} {} A+T {} A")
    assert caller.heard.aborted is isinstance(ending, Loss)
    assert caller.heard.closed == ((1000, "The operation was cancelled.") if isinstance(ending, Close) else None)
    conversation = caller.call.handles.load(str(pick(caller.heard.messages[1], "sessionResumptionUpdate", "newHandle")))
    again = dial(M38, conversation=conversation)
    await again.say()
    await again.heard.until("TC+usage")


async def test_the_end_of_the_connection_ends_what_was_playing(dial: Dial) -> None:
    caller = dial(M38, [HELD])
    await caller.say()
    await caller.heard.until("GC")
    await caller.session.end()
    sent = len(caller.heard.messages)
    await asyncio.sleep(0.01)
    assert len(caller.heard.messages) == sent
    assert "TC+usage" not in caller.heard.kinds
