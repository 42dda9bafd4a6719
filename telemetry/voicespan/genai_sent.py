"""What a program sends over a google-genai Live session, as neutral events. Audio is counted elsewhere, not told."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from google.genai import types
from pydantic import ValidationError

from voicespan import events as ev
from voicespan.events import Event, Scheduling, ToolOutcome
from voicespan.genai_setup import text_of

_SCHEDULING: dict[str, Scheduling] = {"INTERRUPT": "interrupt", "WHEN_IDLE": "when_idle", "SILENT": "silent"}


class Sender:
    """One session's side of the conversation. Remembers what is not in a single call: calls without an id, a seed."""

    def __init__(self, *, seeds_history: bool = False) -> None:
        self._seeds_history = seeds_history
        self._unnamed: dict[str, deque[str]] = {}

    def called(self, call: ev.ToolCall) -> None:
        """A call came in; one without an id of its own is answered by name."""
        if call.unnamed:
            self._unnamed.setdefault(call.name, deque()).append(call.call_id)

    def realtime_input(self, sent: Mapping[str, object]) -> list[Event]:
        """The arguments of `send_realtime_input`; audio and pictures are no events."""
        found: list[Event] = []
        if text := sent.get("text"):
            found.append(ev.UserText(str(text)))
        if sent.get("activity_start") is not None:
            found.append(ev.ActivityStart("client"))
        if sent.get("activity_end") is not None:
            found.append(ev.ActivityEnd("client"))
        if sent.get("audio_stream_end"):
            found.append(ev.AudioStreamEnd())
        return found

    def client_content(self, turns: object, *, complete: bool) -> list[Event]:
        """What `send_client_content` is given: an answer is expected where it completes the turn.

        Of a history that is sent along only the user's last words count; one that seeds the session is no word.
        """
        if not complete:
            return []
        if self._seeds_history:
            self._seeds_history = False
            return []
        contents = turns if isinstance(turns, (list, tuple)) else [turns]
        return [ev.UserText("\n".join(_last_words(contents)))]

    def tool_response(self, responses: object) -> list[Event]:
        """What `send_tool_response` is given: one response or several."""
        several = responses if isinstance(responses, (list, tuple)) else [responses]
        return [event for response in several if (event := self._response(response))]

    def message(self, sent: object, *, end_of_turn: bool) -> list[Event]:
        """What the deprecated `send` is given; its audio is in `media_chunks`."""
        first = sent[0] if isinstance(sent, (list, tuple)) and sent else sent
        if not sent:
            return self.client_content(None, complete=True)
        if isinstance(sent, types.LiveClientContent):
            return self.client_content(sent.turns, complete=bool(sent.turn_complete))
        if isinstance(sent, types.LiveClientToolResponse):
            return self.tool_response(sent.function_responses)
        if isinstance(first, types.FunctionResponse) or _has(first, "name", "response"):
            return self.tool_response(sent)
        if isinstance(sent, dict):
            if "function_responses" in sent:
                return self.tool_response(sent["function_responses"])
            if "turns" in sent or "content" in sent:
                turns = sent.get("turns", sent.get("content"))
                return self.client_content(turns, complete=bool(sent.get("turn_complete")))
        return self.client_content(sent, complete=end_of_turn) if isinstance(first, str) else []

    def _response(self, response: object) -> Event | None:
        if isinstance(response, dict):
            try:
                response = types.FunctionResponse(**response)
            except (ValidationError, TypeError):
                return None
        if not isinstance(response, types.FunctionResponse):
            return None
        waiting = self._unnamed.get(response.name or "")
        call_id = response.id or (waiting.popleft() if waiting else None)
        if call_id is None:
            return None
        result = response.response or {}
        error = result.get("error")
        return ev.ToolResponse(
            call_id,
            ToolOutcome.ERROR if error else ToolOutcome.OK,
            result,
            str(error) if error else None,
            _SCHEDULING.get(response.scheduling.value) if response.scheduling else None,
            final=not response.will_continue,
        )


def _last_words(contents: Sequence[object]) -> Iterable[str]:
    """The text of what follows the model's last content."""
    after: list[object] = []
    for content in contents:
        role = content.get("role") if isinstance(content, dict) else getattr(content, "role", None)
        after = [] if role == "model" else [*after, content]
    return filter(None, map(text_of, after))


def media_chunks(sent: object) -> Sequence[object]:
    """The blobs, or their dicts, in what the deprecated `send` is given."""
    if isinstance(sent, types.LiveClientRealtimeInput):
        return sent.media_chunks or ()
    if isinstance(sent, dict) and "media_chunks" in sent:
        return sent["media_chunks"] or ()
    chunks = sent if isinstance(sent, (list, tuple)) else [sent]
    return [chunk for chunk in chunks if isinstance(chunk, types.Blob) or _has(chunk, "data")]


def _has(value: object, *keys: str) -> bool:
    return isinstance(value, dict) and value.keys() >= set(keys)
