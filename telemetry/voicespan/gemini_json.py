"""Gemini Live's wire frames as neutral events, for programs that hold the socket themselves.

    wire = GeminiJson()
    for event in wire.received(frame):
        session.feed(event)

The events are those of `GeminiTranslator`: this reads a frame, that one says what it means. google-genai is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, cast

from voicespan import events as ev
from voicespan.events import Event
from voicespan.gemini import GeminiTranslator
from voicespan.gemini_sent import Sender
from voicespan.wire_view import View

if TYPE_CHECKING:
    from google.genai import types

Frame = str | bytes | bytearray | Mapping[str, Any]

# What reading a message comes upon where something in it is of another kind.
_OTHER_SHAPE = (AttributeError, TypeError, ValueError)


class GeminiJson:
    """One connection's frames: text, bytes or what JSON made of them, keys in either case.

    `non_blocking` names the functions that were declared so. `seeds_history`: the session was set up to take its
    history from the first client content, which then expects no answer. The setup and its answer are no events: the
    program says itself when it dials (`Dialing`) and is connected (`Connected`).
    """

    def __init__(self, non_blocking: Collection[str] = (), *, seeds_history: bool = False) -> None:
        self._translator = GeminiTranslator(non_blocking)
        self._sender = Sender(seeds_history=seeds_history)

    def received(self, frame: Frame) -> list[Event]:
        """What a frame from the service says. One that is no JSON object says that it cannot be read."""
        message = _object(frame)
        if message is None:
            return [ev.Unreadable("not_json")]
        try:
            # A view has the attributes that the translator reads.
            found = self._translator.events(cast("types.LiveServerMessage", View(message)))
        except _OTHER_SHAPE as error:
            return [ev.Unreadable(type(error).__name__)]
        for event in found:
            if isinstance(event, ev.ToolCall):
                self._sender.called(event)
        return found

    def sent(self, frame: Frame) -> list[Event]:
        """What a frame to the service says; one that the service will refuse says nothing.

        Audio is no event: give each chunk of it to `VoiceSession.audio_sent`.
        """
        try:
            return self._sent(View(_object(frame) or {}))
        except _OTHER_SHAPE:
            return []

    def _sent(self, message: View) -> list[Event]:
        found: list[Event] = []
        if realtime := message.realtime_input:
            found += self._sender.realtime_input(realtime)
        if content := message.client_content:
            found += self._sender.client_content(content.turns, complete=bool(content.turn_complete))
        if answered := message.tool_response:
            found += self._sender.tool_response(answered.function_responses)
        return found


def _object(frame: Frame) -> Mapping[str, Any] | None:
    if isinstance(frame, (str, bytes, bytearray)):
        try:
            frame = json.loads(frame) if frame else {}
        except (ValueError, RecursionError):  # nested deeper than Python goes
            return None
    return frame if isinstance(frame, Mapping) else None
