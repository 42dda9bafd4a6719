"""Tokens of a turn for which the provider reported none: an estimate from what was said, heard and billed before.

Each turn bills the whole conversation again, so most of its tokens are known from the report before it. What is new is
counted from the length of the words and of the audio. The numbers here were read off public recordings of the service.
"""

from __future__ import annotations

from dataclasses import dataclass

from voicespan.operations import TurnRecord
from voicespan.usage import Usage

# The model's voice is billed at this rate, exactly; the user's only while it sounds, some 2.5 tokens a letter.
AUDIO_TOKENS_PER_S = 25
SPEECH_TOKENS_PER_LETTER = 2.5
LETTERS_PER_TEXT_TOKEN = 4
TOOL_CALL_TOKENS = 12


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model reads before a word is said, and how it bills what it hears."""

    text: int = 0
    audio: int = 0
    hears_audio: bool = True
    sums_calls: bool = False


# By the beginning of the model's name. 2.5 bills speech as text; 3.x bills the prompt of each call in a tool round.
PROMPTS = {
    "gemini-3.8-live": Prompt(text=329, audio=222, sums_calls=True),
    "gemini-3.1-flash-live": Prompt(text=130, sums_calls=True),
    "gemini-2.5-flash-native-audio-preview": Prompt(text=1120, hears_audio=False),
    "gemini-2.5-flash-native-audio": Prompt(text=365, hears_audio=False),
    "gemini-live-2.5-flash": Prompt(hears_audio=False),
}


class Estimator:
    """One session's. Tell it every turn, in order; `instructions` is what the setup said, in letters."""

    def __init__(self, model: str, instructions: str) -> None:
        self._prompt = next((prompt for name, prompt in PROMPTS.items() if model.startswith(name)), Prompt())
        self._context = Usage(
            input_text=self._prompt.text + len(instructions) // LETTERS_PER_TEXT_TOKEN,
            input_audio=self._prompt.audio,
        )

    def turn(self, record: TurnRecord) -> Usage | None:
        """The estimate for a turn without a report that the model had a part in; None for any other."""
        if record.usage is not None:
            self._grow(record.usage, record)
            return None
        if not record.generations:
            return None
        estimated = self._estimate(record)
        self._grow(estimated, record)
        return estimated

    def _estimate(self, record: TurnRecord) -> Usage:
        letters = len(record.user_text)
        spoken = round(letters * SPEECH_TOKENS_PER_LETTER) if record.spoken_input else 0
        written = 0 if record.spoken_input else letters // LETTERS_PER_TEXT_TOKEN
        in_audio = spoken if self._prompt.hears_audio else 0
        calls = self._calls(record)
        audio = round(record.output_audio_s * AUDIO_TOKENS_PER_S)
        return Usage(
            input_text=(self._context.input_text + written + spoken - in_audio) * calls,
            input_audio=(self._context.input_audio + in_audio) * calls,
            output_text=len(record.tools) * TOOL_CALL_TOKENS
            + (0 if audio else len(record.model_text) // LETTERS_PER_TEXT_TOKEN),
            output_audio=audio,
        )

    def _grow(self, usage: Usage, record: TurnRecord) -> None:
        """The next prompt is this one and the answer, which comes back as text."""
        calls = self._calls(record)
        answer = usage.output_tokens - usage.output_reasoning
        self._context = Usage(
            input_text=(usage.input_tokens - usage.input_audio) // calls + answer,
            input_audio=usage.input_audio // calls,
        )

    def _calls(self, record: TurnRecord) -> int:
        """How often the prompt was billed in the turn."""
        return max(1, record.generations) if self._prompt.sums_calls and record.tools else 1
