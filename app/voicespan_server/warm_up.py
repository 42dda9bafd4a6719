"""What google-genai builds at first use, built before the first call: else that call, and all beside it, would wait.

Its models are made when they are first needed: 50 ms for the first message with audio, 30 ms for the first setup and
some more for the first tool call, each of them inside the event loop.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from typing import Any

from google.genai import live, types

from voicespan import GeminiTranslator
from voicespan_server.live import Upstream, live_config
from voicespan_server.settings import Settings
from voicespan_server.upstream_leg import MIME_TYPE

logger = logging.getLogger(__name__)

_COUNTS = [{"modality": "AUDIO", "tokenCount": 1}, {"modality": "TEXT", "tokenCount": 1}]
MESSAGES: tuple[dict[str, Any], ...] = (
    {},
    {"setupComplete": {}},
    {"sessionResumptionUpdate": {"newHandle": "warm-up", "resumable": True}},
    {"voiceActivity": {"type": "ACTIVITY_START", "audioOffset": "0.1s"}},
    {"serverContent": {"inputTranscription": {"text": "Hello."}}},
    {
        "serverContent": {
            "modelTurn": {"role": "model", "parts": [{"inlineData": {"mimeType": "audio/pcm", "data": "AAAA"}}]},
            "outputTranscription": {"text": "Hello."},
        }
    },
    {"toolCall": {"functionCalls": [{"id": "c-1", "name": "search_nearby", "args": {"query": "cafe"}}]}},
    {"toolCallCancellation": {"ids": ["c-1"]}},
    {"serverContent": {"interrupted": True}},
    {"serverContent": {"generationComplete": True}},
    {"goAway": {"timeLeft": "9.5s"}},
    {
        "serverContent": {"turnComplete": True, "groundingMetadata": {}},
        "usageMetadata": {
            "promptTokenCount": 2,
            "promptTokensDetails": _COUNTS,
            "responseTokenCount": 2,
            "candidatesTokenCount": 2,
            "responseTokensDetails": _COUNTS,
            "candidatesTokensDetails": _COUNTS,
            "totalTokenCount": 4,
        },
    },
)


class _Nowhere:
    """A socket that says what it was made with, and keeps nothing."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.left = deque(map(json.dumps, messages))

    async def recv(self, decode: bool | None = None) -> bytes:
        return self.left.popleft().encode()

    async def send(self, text: str) -> None:
        pass


async def warm_up(upstream: Upstream, settings: Settings) -> int:
    """Take samples of all that a call sends and receives through the SDK, without a network; returns how many came."""
    socket: Any = _Nowhere(*MESSAGES)
    try:
        live_config(settings, "warm-up").model_dump(exclude_none=True)
        # What this class takes is not part of the SDK's documentation: it may change.
        session = live.AsyncSession(api_client=upstream.client._api_client, websocket=socket)
        await session.send_realtime_input(audio=types.Blob(data=bytes(2), mime_type=MIME_TYPE))
        await session.send_realtime_input(text="Hello.")
        await session.send_realtime_input(audio_stream_end=True)
        response = types.FunctionResponse(id="c-1", name="search_nearby", response={"places": []})
        await session.send_tool_response(function_responses=response)
        translator = GeminiTranslator()
        async for message in session.receive():
            translator.events(message)
    except Exception:
        logger.warning("google-genai could not be warmed up: the first call will be slower", exc_info=True)
    return len(MESSAGES) - len(socket.left)
