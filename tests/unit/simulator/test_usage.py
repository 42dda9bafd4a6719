"""The arithmetic against reports of recorded sessions."""

from voicespan_simulator.dialect import DEVELOPER, VERTEX
from voicespan_simulator.profiles import GEMINI_2_5_PREVIEW, GEMINI_3_1, GEMINI_3_8, VERTEX_HALF_CASCADE
from voicespan_simulator.tokens import Tokens
from voicespan_simulator.usage import (
    function_calls,
    model_speech,
    remembered,
    usage_metadata,
    user_speech,
)

CLIP_SPEECH_S = 2.25  # from the first to the last sound of the recordings' clip
INSTRUCTION = Tokens(text=11)


def test_a_spoken_turn_on_3_8_counts_speech_as_audio_and_leaves_27_in_no_modality() -> None:
    accounting = GEMINI_3_8.accounting
    prompt = accounting.base + INSTRUCTION + user_speech(accounting, CLIP_SPEECH_S, first=True)
    response = model_speech(accounting, 2.52, "Hello Marcelo, nice to meet you.")
    assert usage_metadata(DEVELOPER, prompt, response, thoughts=40) == {
        "promptTokenCount": 626,
        "responseTokenCount": 63,
        "totalTokenCount": 689,
        "thoughtsTokenCount": 40,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 312},
            {"modality": "AUDIO", "tokenCount": 287},
        ],
        "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 63}],
    }


def test_2_5_counts_speech_as_text_with_a_token_of_audio_and_details_that_sum() -> None:
    accounting = GEMINI_2_5_PREVIEW.accounting
    first = user_speech(accounting, CLIP_SPEECH_S, first=True)
    assert (first.text, first.audio) == (65, 1)
    assert user_speech(accounting, CLIP_SPEECH_S, first=False).audio == 6
    report = usage_metadata(DEVELOPER, accounting.base + first, Tokens(audio=37), thoughts=28)
    assert report["promptTokenCount"] == 1120 + 66
    assert report["totalTokenCount"] == 1120 + 66 + 37
    assert remembered(accounting, Tokens(audio=37)) == Tokens(text=37)


def test_the_call_of_a_tool_round_is_in_no_modality_on_3_1() -> None:
    response = function_calls(GEMINI_3_1.accounting, 1) + model_speech(GEMINI_3_1.accounting, 2.28, "Sunny.")
    report = usage_metadata(DEVELOPER, GEMINI_3_1.accounting.base, response)
    assert report["responseTokenCount"] == 57 + 12
    assert report["responseTokensDetails"] == [{"modality": "AUDIO", "tokenCount": 57}]
    assert "thoughtsTokenCount" not in report


def test_vertex_names_the_response_candidates_and_may_leave_audio_uncounted() -> None:
    report = usage_metadata(
        VERTEX, Tokens(text=24), function_calls(VERTEX_HALF_CASCADE.accounting, 1), audio_uncounted=True
    )
    assert report == {
        "promptTokenCount": 24,
        "candidatesTokenCount": 5,
        "totalTokenCount": 29,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 24}],
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 5}, {"modality": "AUDIO"}],
    }


def test_a_turn_that_produced_nothing_reports_a_prompt_only() -> None:
    assert usage_metadata(DEVELOPER, Tokens(text=510, audio=1), Tokens()) == {
        "promptTokenCount": 511,
        "totalTokenCount": 511,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 510},
            {"modality": "AUDIO", "tokenCount": 1},
        ],
    }
