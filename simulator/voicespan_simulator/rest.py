"""`generateContent` by the same rules as typed words in a call."""

import json
import secrets

from voicespan_simulator.client_messages import declared_functions, instruction_characters
from voicespan_simulator.rules import HELP, call_for, sentence_about
from voicespan_simulator.tokens import text_tokens
from voicespan_simulator.wire_json import JsonObject, JsonValue, has, pick, pick_list, pick_text

_CALL_TOKENS = 12


def generate_content(model: str, request: JsonObject) -> JsonObject:
    """The response to a request: a function call where the words ask for one, a text otherwise."""
    contents = pick_list(request, "contents")
    last = pick_list(contents[-1], "parts") if contents else []
    words = " ".join(text for part in last if (text := pick_text(part, "text")))
    results = [pick(part, "functionResponse", "response") for part in last if has(part, "functionResponse")]
    call = None if results else call_for(words, declared_functions(request))
    if call is not None:
        part: JsonValue = {"functionCall": {"name": call.name, "args": call.args}}
        response_tokens = _CALL_TOKENS
    else:
        text = sentence_about(results) if results else HELP
        part = {"text": text}
        response_tokens = text_tokens(len(text))
    prompt_tokens = text_tokens(instruction_characters(request)) + sum(
        text_tokens(_characters(item)) for content in contents for item in pick_list(content, "parts")
    )
    return {
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": prompt_tokens,
            "candidatesTokenCount": response_tokens,
            "totalTokenCount": prompt_tokens + response_tokens,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt_tokens}],
            "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": response_tokens}],
        },
        "modelVersion": model,
        "responseId": secrets.token_urlsafe(16),
    }


def _characters(part: JsonValue) -> int:
    return len(pick_text(part, "text")) or len(json.dumps(part))
