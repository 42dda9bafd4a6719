"""google-genai's messages as events: the numbers and shapes that the real service was recorded sending."""

import base64
import json

import pytest
from google.genai import types

from voicespan import events as ev
from voicespan.gemini import GeminiTranslator, content_usage, live_usage
from voicespan.gemini_json import GeminiJson
from voicespan.usage import Usage


def message(wire: str) -> types.LiveServerMessage:
    """A Developer API message of the wire, as google-genai types it."""
    return types.LiveServerMessage.model_validate(json.loads(wire))


def translate(wire: str) -> list[ev.Event]:
    return GeminiTranslator().events(message(wire))


AUDIO = base64.b64encode(bytes(9_600)).decode()


def usage_of(wire: str) -> Usage:
    [event] = translate('{"usageMetadata": ' + wire + "}")
    assert isinstance(event, ev.UsageReport)
    return event.usage


@pytest.mark.parametrize("wire", ["{}", '{"serverContent": {}}', '{"serverContent": {"outputTranscription": {}}}'])
def test_empty_messages_say_nothing(wire: str) -> None:
    assert translate(wire) == []


def test_one_message_may_say_many_things_and_output_comes_before_boundaries() -> None:
    wire = (
        '{"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "'
        + AUDIO
        + '"}}]}, "outputTranscription": {"text": "Hello"}, "generationComplete": true, "turnComplete": true},'
        ' "usageMetadata": {"promptTokenCount": 5, "responseTokenCount": 2, "totalTokenCount": 7}}'
    )
    assert [type(event) for event in translate(wire)] == [
        ev.ModelAudio, ev.OutputTranscript, ev.GenerationComplete, ev.UsageReport, ev.TurnComplete,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mime", "seconds"),
    [("audio/pcm;rate=24000", 0.2), ("audio/pcm", 0.2), ("audio/pcm;rate=0", 0.2), ("audio/pcm;rate=16000", 0.3)],
)
def test_audio_has_the_length_that_its_rate_gives(mime: str, seconds: float) -> None:
    [audio] = translate(
        '{"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "'
        + mime
        + '", "data": "'
        + AUDIO
        + '"}}]}}}'
    )
    assert audio == ev.ModelAudio(pytest.approx(seconds), pytest.approx(seconds)), "all of it is silence"
    assert isinstance(audio, ev.ModelAudio)
    assert audio.pcm == base64.b64decode(AUDIO)
    assert len(audio.pcm) / 2 / audio.rate_hz == pytest.approx(seconds)


def test_thoughts_are_not_speech() -> None:
    wire = '{"serverContent": {"modelTurn": {"parts": [{"text": "hmm", "thought": true}, {"text": "yes"}]}}}'
    assert translate(wire) == [ev.Thought(), ev.ModelText("yes")]


def test_voice_activity() -> None:
    def activity(kind: str) -> list[ev.Event]:
        return translate('{"voiceActivity": {"voiceActivityType": "' + kind + '", "audioOffset": "1.880s"}}')

    assert activity("ACTIVITY_START") == [ev.ActivityStart("server")]
    assert activity("ACTIVITY_END") == [ev.ActivityEnd("server")]


def test_voice_activity_by_vertexs_other_signal() -> None:
    def signal(kind: str) -> str:
        return '{"voiceActivityDetectionSignal": {"vadSignalType": "VAD_SIGNAL_TYPE_' + kind + '"}}'

    for read in (translate, GeminiJson().received):
        assert read(signal("SOS")) == [ev.ActivityStart("server")]
        assert read(signal("EOS")) == [ev.ActivityEnd("server")]
        assert read(signal("UNSPECIFIED")) == []


def test_tool_calls_without_an_id_are_told_apart() -> None:
    translator = GeminiTranslator()
    wire = (
        '{"toolCall": {"functionCalls": [{"name": "a", "args": {"x": 1}}, {"id": "fc_1", "name": "b"}, {"name": "a"}]}}'
    )
    calls = translator.events(message(wire))
    assert calls == [
        ev.ToolCall("unnamed-1", "a", {"x": 1}, unnamed=True),
        ev.ToolCall("fc_1", "b"),
        ev.ToolCall("unnamed-2", "a", unnamed=True),
    ]


def test_cancellation_go_away_and_resumption() -> None:
    assert translate('{"toolCallCancellation": {"ids": ["1", "2"]}}') == [ev.ToolCancelled("1"), ev.ToolCancelled("2")]
    assert translate('{"goAway": {"timeLeft": "9.5s"}}') == [ev.GoAway(9.5)]
    update = translate('{"sessionResumptionUpdate": {"newHandle": "secret", "resumable": true}}')
    assert update == [ev.Resumption(resumable=True)]
    assert "secret" not in repr(update)


def test_a_turn_in_progress_goes_on() -> None:
    wire = '{"serverContent": {"turnComplete": true, "interactionStatus": "IN_PROGRESS"}}'
    assert translate(wire) == [ev.TurnComplete(in_progress=True)]
    wire = '{"serverContent": {"turnComplete": true, "turnCompleteReason": "MALFORMED_FUNCTION_CALL"}}'
    assert translate(wire) == [ev.TurnComplete(reason="MALFORMED_FUNCTION_CALL")]


# What four models were recorded reporting: prompt and response by modality, thoughts, total.
RECORDED = {
    "3.8: 27 prompt tokens in no modality, thoughts outside the total": (
        '{"promptTokenCount": 626, "responseTokenCount": 63, "thoughtsTokenCount": 40, "totalTokenCount": 689,'
        ' "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 312}, {"modality": "AUDIO", "tokenCount": 287}],'
        ' "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 63}]}',
        Usage(
            input_text=312, input_audio=287, input_other=27, output_audio=63, output_reasoning=40, provider_total=689
        ),
    ),
    "3.1: the function call is in no modality of the response": (
        '{"promptTokenCount": 482, "responseTokenCount": 69, "totalTokenCount": 551,'
        ' "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 360}],'
        ' "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 57}]}',
        Usage(input_text=360, input_other=122, output_audio=57, output_other=12, provider_total=551),
    ),
    "2.5: all in modalities": (
        '{"promptTokenCount": 1197, "responseTokenCount": 37, "thoughtsTokenCount": 28, "totalTokenCount": 1234,'
        ' "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1196}, {"modality": "AUDIO", "tokenCount": 1}],'
        ' "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 37}]}',
        Usage(input_text=1196, input_audio=1, output_audio=37, output_reasoning=28, provider_total=1234),
    ),
    "Vertex: audio without a count is unknown, not a token": (
        '{"promptTokenCount": 12, "responseTokenCount": 3, "totalTokenCount": 15,'
        ' "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}],'
        ' "responseTokensDetails": [{"modality": "TEXT", "tokenCount": 3}, {"modality": "AUDIO"}]}',
        Usage(input_text=12, output_text=3, provider_total=15),
    ),
    "a turn that was taken back: a prompt and nothing else": (
        '{"promptTokenCount": 511, "totalTokenCount": 511, "promptTokensDetails":'
        ' [{"modality": "TEXT", "tokenCount": 510}, {"modality": "AUDIO", "tokenCount": 1}]}',
        Usage(input_text=510, input_audio=1, provider_total=511),
    ),
    "cached tokens without details are taken from what no modality claims, then from text": (
        '{"promptTokenCount": 100, "cachedContentTokenCount": 40, "responseTokenCount": 5, "totalTokenCount": 105,'
        ' "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}, {"modality": "TEXT", "tokenCount": 60}],'
        ' "responseTokensDetails": [{"modality": "TEXT", "tokenCount": 5}]}',
        Usage(input_text=30, input_audio=30, input_cached=40, output_text=5, provider_total=105),
    ),
    "cached tokens are part of the prompt and of its modalities": (
        '{"promptTokenCount": 100, "cachedContentTokenCount": 60, "responseTokenCount": 5, "totalTokenCount": 105,'
        ' "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}],'
        ' "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 60}],'
        ' "responseTokensDetails": [{"modality": "TEXT", "tokenCount": 5}]}',
        Usage(input_text=40, input_cached=60, output_text=5, provider_total=105),
    ),
}


@pytest.mark.parametrize(("wire", "expected"), RECORDED.values(), ids=RECORDED)
def test_usage(wire: str, expected: Usage) -> None:
    found = usage_of(wire)
    assert found == expected
    thoughts = found.output_reasoning
    assert found.total - thoughts == found.provider_total


def test_generate_content_counts_candidates() -> None:
    report = types.GenerateContentResponseUsageMetadata(
        prompt_token_count=10, candidates_token_count=4, thoughts_token_count=3, total_token_count=17
    )
    assert content_usage(report) == Usage(input_other=10, output_other=4, output_reasoning=3, provider_total=17)


def test_a_count_that_can_be_none_is_cut_to_what_a_span_can_hold() -> None:
    told = live_usage(types.UsageMetadata(prompt_token_count=2**63, response_token_count=-5, total_token_count=2**70))
    assert (told.input_tokens, told.output_tokens, told.provider_total) == (10**12, 0, 10**12)
