import base64

import pytest

from voicespan_simulator.client_messages import (
    Audio,
    ClientContent,
    FunctionResponse,
    RefusedError,
    ToolResponse,
    decode,
    parse,
    parse_setup,
)
from voicespan_simulator.wire_json import JsonObject

PCM = bytes(range(248, 256)) * 3


@pytest.mark.parametrize("encode", [base64.urlsafe_b64encode, base64.standard_b64encode])
@pytest.mark.parametrize(("outer", "mime"), [("realtime_input", "mime_type"), ("realtimeInput", "mimeType")])
def test_audio_is_read_in_both_key_cases_and_alphabets(encode: object, outer: str, mime: str) -> None:
    assert callable(encode)
    blob: JsonObject = {"data": encode(PCM).decode(), mime: "audio/pcm;rate=24000"}
    assert parse({outer: {"audio": blob}}) == [Audio(PCM, 24_000)]


def test_content_gives_the_last_words_of_the_user_and_counts_all() -> None:
    turns: JsonObject = {
        "turns": [
            {"role": "user", "parts": [{"text": "one"}]},
            {"role": "model", "parts": [{"text": "three"}]},
            {"role": "user", "parts": [{"inlineData": {"mime_type": "image/png"}}, {"text": "four"}]},
        ],
        "turnComplete": True,
    }
    assert parse({"client_content": turns}) == [ClientContent("four", 12, 1, turn_complete=True)]


def test_tool_responses_keep_their_payload_as_it_is() -> None:
    response: JsonObject = {"id": "fc_1", "name": "f", "response": {"snake_case": {"camelCase": 1}}}
    assert parse({"tool_response": {"functionResponses": [response]}}) == [
        ToolResponse((FunctionResponse("fc_1", "f", {"snake_case": {"camelCase": 1}}),))
    ]


def test_a_setup_is_read_in_the_mixed_case_that_google_genai_writes() -> None:
    setup = parse_setup(
        {
            "setup": {
                "model": "models/gemini-3.8-live",
                "systemInstruction": {"role": "user", "parts": [{"text": "x" * 8}]},
                "tools": [{"functionDeclarations": [{"name": "f", "parameters_json_schema": {}}]}],
                "realtimeInputConfig": {
                    "automatic_activity_detection": {"silence_duration_ms": 400},
                    "activityHandling": "NO_INTERRUPTION",
                },
                "sessionResumption": {"handle": "h"},
                "outputAudioTranscription": {},
            }
        }
    )
    assert setup.functions == {"f"}
    assert setup.silence_s == 0.4
    assert setup.handle == "h"
    assert (setup.resumption, setup.detects_activity, setup.interruptible) == (True, True, False)
    assert (setup.transcribe_input, setup.transcribe_output) == (False, True)
    assert setup.instruction_characters > 8


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"realtime_input": {"media_chunks": []}}, "media_chunks is deprecated. Use audio, video, or text"),
        ({"surprise": {}}, 'Unknown name "surprise"'),
        ({"setup": {}}, "only the first"),
        ({"realtimeInput": {"audio": {"mimeType": "audio/ogg", "data": ""}}}, "Unsupported audio format 'audio/ogg'"),
        ({"realtimeInput": {"audio": {"mimeType": "audio/pcm", "data": "*"}}}, "not base64"),
    ],
)
def test_what_the_service_refuses_closes_with_1007(message: JsonObject, reason: str) -> None:
    with pytest.raises(RefusedError) as refused:
        parse(message)
    assert refused.value.code == 1007
    assert reason in refused.value.reason


def test_bad_json_and_bad_setups_are_refused() -> None:
    for frame in ("{", "[]", b"\xff"):
        with pytest.raises(RefusedError, match="1007 Invalid JSON payload"):
            decode(frame)
    with pytest.raises(RefusedError, match="setup must be the first message"):
        parse_setup({"clientContent": {}})
    with pytest.raises(RefusedError, match=r"response modalities \(TEXT\)"):
        parse_setup({"setup": {"model": "m", "generationConfig": {"responseModalities": ["TEXT"]}}})
