"""A conversation as chat messages, in the two shapes that backends read: OpenAI's (Langfuse) and OTel GenAI's parts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from voicespan.content import Capture, to_json
from voicespan.operations import ToolRecord, TurnRecord

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

# What a turn's input shows of the conversation before it: enough for an evaluator to understand the question.
CONTEXT_MESSAGES = 6
# What a session remembers of its conversation.
MAX_MESSAGES = 200


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message. An assistant's may carry tool calls; a tool's says which call it answers."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | Mapping[str, object] = ""
    tool_calls: tuple[ToolRecord, ...] = ()
    tool_call_id: str = ""


def question(record: TurnRecord) -> list[Message]:
    """What the user said in a turn; empty where nothing was transcribed."""
    return [Message("user", record.user_text)] if record.user_text else []


def answer(record: TurnRecord) -> list[Message]:
    """What the model did and said in a turn: its tool calls, their results, its words."""
    messages: list[Message] = []
    if record.tools:
        messages.append(Message("assistant", tool_calls=record.tools))
        messages += [Message("tool", tool.result, tool_call_id=tool.call_id) for tool in record.tools if tool.outcome]
    if record.model_text:
        messages.append(Message("assistant", record.model_text))
    return messages


class Conversation:
    """The messages of a session so far, bounded."""

    def __init__(self, instructions: str = "") -> None:
        self._system = [Message("system", instructions)] if instructions else []
        self._messages: deque[Message] = deque(maxlen=MAX_MESSAGES)

    def extend(self, messages: Iterable[Message]) -> None:
        """Append what was said."""
        self._messages.extend(messages)

    def recent(self) -> list[Message]:
        """The instructions and the last few messages, from a user's words on: a tool's result needs its call."""
        messages = list(self._messages)[-CONTEXT_MESSAGES:]
        while messages and messages[0].role != "user":
            messages.pop(0)
        return self._system + messages

    def without_last_answer(self) -> tuple[list[Message], list[Message]]:
        """The whole conversation, split before the model's last words."""
        messages = list(self._messages)
        last = next((i for i in reversed(range(len(messages))) if messages[i].role == "assistant"), len(messages))
        return self._system + messages[:last], messages[last:]


def openai(messages: Iterable[Message], capture: Capture) -> str:
    """A JSON list of {role, content}, with tool_calls and tool_call_id where there are any."""
    return to_json([_openai(message, capture) for message in messages])


def parts(messages: Iterable[Message], capture: Capture, finish_reason: str | None = None) -> str:
    """A JSON list of {role, parts}, and finish_reason where the messages are a model's."""
    return to_json(
        [
            {
                "role": message.role,
                "parts": _parts(message, capture),
                **({"finish_reason": finish_reason} if finish_reason else {}),
            }
            for message in messages
        ]
    )


def _openai(message: Message, capture: Capture) -> dict[str, Json]:
    shown: dict[str, Json] = {"role": message.role, "content": _text(message, capture)}
    if message.tool_calls:
        shown["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": capture.json(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        shown["tool_call_id"] = message.tool_call_id
    return shown


def _parts(message: Message, capture: Capture) -> list[Json]:
    if message.role == "tool":
        return [{"type": "tool_call_response", "id": message.tool_call_id, "response": _text(message, capture)}]
    shown: list[Json] = [
        {
            "type": "tool_call",
            "id": call.call_id,
            "name": call.name,
            "arguments": capture.json(call.arguments),
        }
        for call in message.tool_calls
    ]
    if message.content:
        shown.append({"type": "text", "content": _text(message, capture)})
    return shown


def _text(message: Message, capture: Capture) -> str:
    return capture.text(message.content) if isinstance(message.content, str) else capture.json(message.content)
