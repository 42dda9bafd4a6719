"""What a turn is billed for: what the provider reported or, where it reported nothing, an estimate; and how much of it
was billed before.

Each turn bills the whole conversation again, so most of its tokens are known from the report before it. What is new is
counted from the length of the words and of the audio. The numbers here were read off public recordings of the service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

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


class Bill(NamedTuple):
    """A turn's tokens, and how many of those that were read had been read or written before, where that is known."""

    usage: Usage
    rebilled_input_tokens: int | None = None
    estimated: bool = False

    @property
    def fresh_input_tokens(self) -> int | None:
        """Tokens that were read for the first time."""
        return None if self.rebilled_input_tokens is None else self.usage.input_tokens - self.rebilled_input_tokens


class Estimator:
    """One session's. Tell it every turn, in order; `instructions` is what the setup said, in letters.

    Of another provider than Google nothing is estimated: how it counts was not read off anything.
    """

    __slots__ = ("_billed", "_context_audio", "_context_text", "_prompt")

    def __init__(self, model: str, instructions: str, provider: str = "gcp.gemini") -> None:
        prompt = next((prompt for name, prompt in PROMPTS.items() if model.startswith(name)), Prompt())
        self._prompt = prompt if provider.startswith("gcp.") else None
        # What the next prompt holds of the conversation, in tokens.
        self._context_text = prompt.text + len(instructions) // LETTERS_PER_TEXT_TOKEN
        self._context_audio = prompt.audio
        self._billed = False

    def turn(self, record: TurnRecord) -> Bill | None:
        """The turn's bill; None where nothing was reported and the model had no part in it."""
        usage = record.usage
        if usage is None and not record.generations:
            return None
        calls = self._calls(record)
        if usage is None:
            if self._prompt is None:
                return None
            usage = self._estimate(record, calls, self._prompt)
        read = usage.input_tokens
        bill = Bill(usage, self._rebilled(read, calls), estimated=record.usage is None)
        # The next prompt is this one and the answer, which comes back as text.
        self._billed = True
        answer = usage.output_tokens - usage.output_reasoning
        self._context_text = (read - usage.input_audio) // calls + answer
        self._context_audio = usage.input_audio // calls
        return bill

    def _rebilled(self, read: int, calls: int) -> int:
        """The conversation before the turn and, where a tool round bills each prompt, those before the last one.

        Never more than was read: a compressed context is shorter than what was said.
        """
        before = self._context_text + self._context_audio if self._billed else 0
        return min(read, before + read * (calls - 1) // calls)

    def _estimate(self, record: TurnRecord, calls: int, prompt: Prompt) -> Usage:
        letters = len(record.user_text)
        spoken = round(letters * SPEECH_TOKENS_PER_LETTER) if record.spoken_input else 0
        written = 0 if record.spoken_input else letters // LETTERS_PER_TEXT_TOKEN
        in_audio = spoken if prompt.hears_audio else 0
        audio = round(record.output_audio_s * AUDIO_TOKENS_PER_S)
        return Usage(
            input_text=(self._context_text + written + spoken - in_audio) * calls,
            input_audio=(self._context_audio + in_audio) * calls,
            output_text=len(record.tools) * TOOL_CALL_TOKENS
            + (0 if audio else len(record.model_text) // LETTERS_PER_TEXT_TOKEN),
            output_audio=audio,
        )

    def _calls(self, record: TurnRecord) -> int:
        """How often the prompt was billed in the turn."""
        return max(1, record.generations) if self._prompt and self._prompt.sums_calls and record.tools else 1
