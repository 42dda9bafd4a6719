"""What a program sends to Gemini Live, as neutral events. Audio is counted elsewhere, not told.

It is read by attribute: google-genai's types have them, and so have views of dicts and of wire JSON.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any

from voicespan import events as ev
from voicespan.content import encodable
from voicespan.events import Event, Scheduling, ToolOutcome
from voicespan.wire_view import view

_SCHEDULING: dict[str, Scheduling] = {"INTERRUPT": "interrupt", "WHEN_IDLE": "when_idle", "SILENT": "silent"}


class Sender:
    """One connection's side of the conversation. Remembers what no single message tells: calls without ids, a seed."""

    __slots__ = ("_seeds_history", "_unnamed")

    def __init__(self, *, seeds_history: bool = False) -> None:
        self._seeds_history = seeds_history
        self._unnamed: defaultdict[str, deque[str]] | None = None  # few have any

    def called(self, call: ev.ToolCall) -> None:
        """A call came in; one without an id of its own is answered by name."""
        if call.unnamed:
            self._unnamed = self._unnamed or defaultdict(deque)
            self._unnamed[call.name].append(call.call_id)

    def realtime_input(self, sent: Any) -> list[Event]:
        """A realtimeInput, or the arguments of `send_realtime_input`; audio and pictures are no events."""
        sent = view(sent)
        found: list[Event] = []
        if sent.text:
            found.append(ev.UserText(str(sent.text)))
        if sent.activity_start is not None:
            found.append(ev.ActivityStart("client"))
        if sent.activity_end is not None:
            found.append(ev.ActivityEnd("client"))
        if sent.audio_stream_end:
            found.append(ev.AudioStreamEnd())
        return found

    def client_content(self, turns: Any, *, complete: bool) -> list[Event]:
        """A clientContent: an answer is expected where it completes the turn.

        Of a history that is sent along only the user's last words count; one that seeds the session is no word.
        """
        if not complete:
            return []
        if self._seeds_history:
            self._seeds_history = False
            return []
        return [ev.UserText("\n".join(_last_words(_several(turns))))]

    def tool_response(self, responses: Any) -> list[Event]:
        """The functionResponses of a toolResponse: one or several."""
        return [event for response in _several(responses) if (event := self._response(view(response)))]

    def message(self, sent: Any, *, end_of_turn: bool) -> list[Event]:
        """What google-genai's deprecated `send` is given; its audio is in `media_chunks`."""
        if not sent:
            return self.client_content(None, complete=True)
        first = _several(sent)[0]
        if isinstance(first, str):
            return self.client_content(sent, complete=end_of_turn)
        if _has(first, "name", "response"):
            return self.tool_response(sent)
        if _has(sent, "function_responses"):
            return self.tool_response(view(sent).function_responses)
        if _has(sent, "turns") or _has(sent, "content"):
            content = view(sent)
            return self.client_content(content.turns or content.content, complete=bool(content.turn_complete))
        return []

    def _response(self, response: Any) -> Event | None:
        waiting = self._unnamed.get(response.name or "") if self._unnamed else None
        call_id = response.id or (waiting.popleft() if waiting else None)
        if call_id is None:
            return None
        result = response.response or {}
        error = result.get("error")
        return ev.ToolResponse(
            encodable(str(call_id)),
            ToolOutcome.ERROR if error else ToolOutcome.OK,
            result,
            str(error) if error else None,
            _SCHEDULING.get(response.scheduling.value) if response.scheduling else None,
            final=not response.will_continue,
        )


def media_chunks(sent: Any) -> Sequence[Any]:
    """The blobs in what google-genai's deprecated `send` is given."""
    if _has(sent, "media_chunks"):
        return view(sent).media_chunks or ()
    return [chunk for chunk in _several(sent) if _has(chunk, "data")]


def text_of(content: Any) -> str:
    """The text in a content, however it is given: a string, a part, a content, their dicts, a list of these."""
    if isinstance(content, str):
        return str(content)
    if isinstance(content, (list, tuple)):
        return "\n".join(filter(None, map(text_of, content)))
    content = view(content)
    if _has(content, "text") and content.text:
        return str(content.text)
    return text_of(content.parts) if _has(content, "parts") else ""


def _last_words(contents: Sequence[Any]) -> Iterable[str]:
    """The text of what follows the model's last content."""
    after: list[Any] = []
    for content in map(view, contents):
        after = [] if getattr(content, "role", None) == "model" else [*after, content]
    return filter(None, map(text_of, after))


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


def _has(value: Any, *names: str) -> bool:
    """Whether a thing is of the kind that has these; a dict, where it holds them."""
    return all(getattr(view(value), name, None) is not None for name in names)
