"""A conversation as chat messages, in the two shapes that backends read: OpenAI's (Langfuse) and OTel GenAI's parts."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from voicespan.content import Capture, to_json
from voicespan.operations import TurnRecord

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

# What a turn's input shows of the conversation before it: enough for an evaluator to understand the question.
CONTEXT_MESSAGES = 6
# What a session remembers of its conversation, and what one attribute may hold of it, in characters: gRPC receivers
# take 4 MiB in a message, and a turn carries its words twice.
MAX_MESSAGES = 200
MAX_LIST = 256_000


# Why a message of the model's ended that calls tools.
TOOL_CALL = "tool_call"


@dataclass(frozen=True, slots=True)
class Called:
    """A tool call in a message; `arguments` is JSON."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message, as it may leave. An assistant's may carry tool calls; a tool's says which call it answers.

    `sound` is the token of its recording.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    tool_calls: tuple[Called, ...] = ()
    tool_call_id: str = ""
    sound: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A turn's messages: what was `shown` to the model, and what it `answered`.

    `asked`: the last one shown is the user's words in this turn; `said`: the last one answered is the model's words.
    """

    shown: Sequence[Message] = ()
    answered: Sequence[Message] = ()
    asked: bool = False
    said: bool = False

    def sounding(self, user: str, model: str) -> Exchange:
        """With the tokens of what the user, and the model, said; a side without words has a message for its sound."""
        shown = _with_sound(self.shown, "user", user, last=self.asked)
        return replace(self, shown=shown, answered=_with_sound(self.answered, "assistant", model, last=self.said))


def _with_sound(
    messages: Sequence[Message], role: Literal["user", "assistant"], token: str, *, last: bool
) -> Sequence[Message]:
    if not token:
        return messages
    if last:
        return [*messages[:-1], replace(messages[-1], sound=token)]
    return [*messages, Message(role, sound=token)]


def question(record: TurnRecord, capture: Capture) -> list[Message]:
    """What the user said in a turn; empty where nothing was transcribed."""
    return [Message("user", capture.text(record.user_text))] if record.user_text else []


def answer(record: TurnRecord, capture: Capture) -> list[Message]:
    """What the model did and said in a turn: its tool calls, their results, its words."""
    messages: list[Message] = []
    if record.tools:
        called = (Called(tool.call_id, tool.name, capture.json(tool.arguments)) for tool in record.tools)
        messages.append(Message("assistant", tool_calls=tuple(called)))
        messages += [
            Message("tool", capture.json(tool.result), tool_call_id=tool.call_id)
            for tool in record.tools
            if tool.outcome
        ]
    if record.model_text:
        messages.append(Message("assistant", capture.text(record.model_text)))
    return messages


class Conversation:
    """The messages of a session so far, bounded, in the order of its turns: one may be told after the next."""

    __slots__ = ("_messages", "_system", "_turns")

    def __init__(self, instructions: str, capture: Capture) -> None:
        self._system = (Message("system", capture.text(instructions)),) if instructions else ()
        self._messages: list[Message] = []
        self._turns: list[int] = []  # of each message

    def extend(self, messages: Sequence[Message], turn: int) -> None:
        """Add what was said in a turn."""
        at = bisect_right(self._turns, turn)
        self._messages[at:at] = messages
        self._turns[at:at] = [turn] * len(messages)
        del self._messages[:-MAX_MESSAGES], self._turns[:-MAX_MESSAGES]

    def recent(self, turn: int) -> list[Message]:
        """The instructions and the last few messages before a turn, from a user's words on: a result needs its call."""
        before = bisect_left(self._turns, turn)
        messages = self._messages[max(0, before - CONTEXT_MESSAGES) : before]
        while messages and messages[0].role != "user":
            messages.pop(0)
        return [*self._system, *messages]

    def without_last_answer(self) -> tuple[list[Message], list[Message]]:
        """The whole conversation but for the model's last words, and these."""
        messages = list(self._messages)
        last = next((i for i in reversed(range(len(messages))) if messages[i].role == "assistant"), None)
        if last is None:
            return [*self._system, *messages], []
        after = last + 1
        while after < len(messages) and messages[after].role == "tool":
            after += 1  # a tool's result stays with its call
        return [*self._system, *messages[:last], *messages[after:]], messages[last:after]


def openai(messages: Iterable[Message]) -> str:
    """A JSON list of {role, content}, with tool_calls and tool_call_id where there are any. Bounded: see `_fitting`."""
    return _bounded([_openai(message) for message in messages])


def parts(messages: Iterable[Message], finish_reason: str | None = None) -> str:
    """A JSON list of {role, parts}, and finish_reason where the messages are a model's."""
    return _bounded(
        [
            {
                "role": message.role,
                "parts": _parts(message),
                **({"finish_reason": TOOL_CALL if message.tool_calls else finish_reason} if finish_reason else {}),
            }
            for message in messages
        ]
    )


def _bounded(shown: list[dict[str, Json]]) -> str:
    text = to_json(shown)
    return text if len(text) <= MAX_LIST else to_json(_fitting(shown))


def _fitting(shown: list[dict[str, Json]]) -> list[dict[str, Json]]:
    """Leave out the oldest messages but the instructions until all fits in `MAX_LIST` characters, and say how many."""
    first = 1 if shown and shown[0]["role"] == "system" else 0
    sizes = [len(to_json(message)) for message in shown]
    total, left_out = sum(sizes), 0
    # The newest message stays: it is no longer than a field may be.
    while total > MAX_LIST and first + left_out < len(shown) - 1:
        total -= sizes[first + left_out]
        left_out += 1
    while left_out and shown[first + left_out]["role"] == "tool" and first + left_out < len(shown) - 1:
        left_out += 1  # a tool's result needs its call
    if left_out:
        shown = [*shown[:first], *shown[first + left_out :]]
        shown[-1] = {**shown[-1], "left_out": left_out}
    return shown


def _openai(message: Message) -> dict[str, Json]:
    shown: dict[str, Json] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        shown["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        shown["tool_call_id"] = message.tool_call_id
    if message.sound and message.role == "user":
        words: list[Json] = [{"type": "text", "text": message.content}] if message.content else []
        shown["content"] = [*words, {"type": "input_audio", "input_audio": {"data": message.sound}}]
    elif message.sound:
        shown["audio"] = {"data": message.sound, "transcript": message.content}
    return shown


def _parts(message: Message) -> list[Json]:
    if message.role == "tool":
        return [{"type": "tool_call_response", "id": message.tool_call_id, "response": message.content}]
    shown: list[Json] = [
        {
            "type": "tool_call",
            "id": call.call_id,
            "name": call.name,
            "arguments": call.arguments,
        }
        for call in message.tool_calls
    ]
    if message.content:
        shown.append({"type": "text", "content": message.content})
    return shown
