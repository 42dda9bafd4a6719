"""What a conversation's tokens come to, and the usage report of a turn."""

from voicespan_simulator.dialect import Dialect
from voicespan_simulator.profiles import Accounting
from voicespan_simulator.tokens import Tokens, text_tokens
from voicespan_simulator.wire_json import JsonObject, JsonValue

AUDIO_TOKENS_PER_S = 25
_SPEECH_MARGIN_S = 0.35  # around the voiced part: 2.25 s from first to last sound were counted as 65 tokens
_FIRST_AUDIO_TOKENS, _LATER_AUDIO_TOKENS = 1, 6  # where speech is counted as text


def user_speech(accounting: Accounting, speech_s: float, *, first: bool) -> Tokens:
    """The prompt tokens of an utterance; only what was voiced counts, not the stream."""
    count = round((speech_s + _SPEECH_MARGIN_S) * AUDIO_TOKENS_PER_S)
    if accounting.hears_as_text:
        return Tokens(text=count, audio=_FIRST_AUDIO_TOKENS if first else _LATER_AUDIO_TOKENS)
    return Tokens(audio=count)


def model_speech(accounting: Accounting, audio_s: float, words: str) -> Tokens:
    """The response tokens of what was sent of an answer."""
    audio = round(audio_s * AUDIO_TOKENS_PER_S)
    return Tokens(audio=audio, text=text_tokens(len(words)) if accounting.transcript_as_text and audio else 0)


def function_calls(accounting: Accounting, calls: int) -> Tokens:
    """The response tokens of a message with that many calls."""
    return _tool_round(accounting, calls * accounting.call)


def function_results(accounting: Accounting, characters: int) -> Tokens:
    """The prompt tokens of what the tools answered."""
    return _tool_round(accounting, text_tokens(characters))


def _tool_round(accounting: Accounting, count: int) -> Tokens:
    return Tokens(unclassified=count) if accounting.tool_rounds_unclassified else Tokens(text=count)


def remembered(accounting: Accounting, response: Tokens) -> Tokens:
    """How a response returns in the prompts after it."""
    return Tokens(text=response.total) if accounting.hears_as_text else response


def usage_metadata(
    dialect: Dialect, prompt: Tokens, response: Tokens, thoughts: int = 0, *, audio_uncounted: bool = False
) -> JsonObject:
    """A report as on the wire: thoughts are outside the total, and a turn without a response has no count of one.

    `audio_uncounted` lists AUDIO in the response without a number, as Vertex does for a function call.
    """
    usage: JsonObject = {
        "promptTokenCount": prompt.total,
        "totalTokenCount": prompt.total + response.total,
        "promptTokensDetails": _details(prompt),
    }
    if response.total:
        details = _details(response)
        usage[dialect.response_count] = response.total
        usage[dialect.response_details] = [*details, {"modality": "AUDIO"}] if audio_uncounted else details
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    return usage


def _details(tokens: Tokens) -> list[JsonValue]:
    by_modality = (("TEXT", tokens.text), ("AUDIO", tokens.audio), ("IMAGE", tokens.image))
    return [{"modality": modality, "tokenCount": count} for modality, count in by_modality if count]
