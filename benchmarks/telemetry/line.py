"""A Live session whose other end costs nothing: google-genai's classes with their sockets and parsing cut out.

What is left of a send or a receive is one empty coroutine, so that what instrumentation adds is not lost in the noise
of what google-genai itself takes (some 90 us to send a frame, 175 us to receive a message).
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, cast

from google import genai
from google.genai import live, types

MODEL = "gemini-3.8-live"
FRAME = types.Blob(data=bytes(range(256)) * 2 + bytes(128), mime_type="audio/pcm;rate=16000")  # 20 ms
CHUNK = base64.b64encode(bytes([0, 64, 0, 192]) * 2400).decode()  # 200 ms at 24 kHz

# A turn of five frames up, ten chunks down, five pieces of transcript and one call of a tool.
FRAMES_UP = 5


def message(**fields: Any) -> types.LiveServerMessage:
    """A message of the service, parsed."""
    return types.LiveServerMessage.model_validate(fields)


AUDIO = message(
    serverContent={"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": CHUNK}}]}}
)
CALL_ID = "call-1"
TOOL_CALL = message(toolCall={"functionCalls": [{"id": CALL_ID, "name": "search", "args": {"query": "cafe"}}]})
ANSWER = types.FunctionResponse(id=CALL_ID, name="search", response={"places": ["a", "b"]})
BEFORE_TOOL = [
    message(serverContent={"inputTranscription": {"text": "Is there a cafe "}}),
    message(serverContent={"inputTranscription": {"text": "near here?"}}),
    TOOL_CALL,
]
AFTER_TOOL = [
    *(message(serverContent={"outputTranscription": {"text": piece}}) for piece in ("Yes, ", "there are ", "two.")),
    *[AUDIO] * 10,
    message(serverContent={"generationComplete": True}),
    message(
        serverContent={"turnComplete": True},
        usageMetadata={
            "promptTokenCount": 1200,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 400},
                {"modality": "AUDIO", "tokenCount": 800},
            ],
            "responseTokenCount": 50,
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}],
            "totalTokenCount": 1250,
        },
    ),
]


class Line:
    """What every session on it receives next, and google-genai's own side of it, without instrumentation."""

    def __init__(self) -> None:
        self.next: types.LiveServerMessage = AUDIO

    async def send(self, _session: live.AsyncSession, **_: Any) -> None:
        """What is left of a send."""

    async def receive(self, _session: live.AsyncSession) -> types.LiveServerMessage:
        """What is left of a receive."""
        return self.next


@contextmanager
def cut() -> Iterator[Line]:
    """google-genai without a network while the block lasts: instrument inside it."""
    line = Line()

    async def send(_self: live.AsyncSession, **_: Any) -> None:
        return None

    async def receive(_self: live.AsyncSession) -> types.LiveServerMessage:
        return line.next

    @contextlib.asynccontextmanager
    async def connect(_self: live.AsyncLive, **_: Any) -> AsyncIterator[live.AsyncSession]:
        yield live.AsyncSession(cast("Any", None), cast("Any", None), None, types.LiveServerSetupComplete())

    replaced = {
        (live.AsyncLive, "connect"): connect,
        (live.AsyncSession, "_receive"): receive,
        (live.AsyncSession, "send_realtime_input"): send,
        (live.AsyncSession, "send_tool_response"): send,
    }
    originals = {place: vars(place[0])[place[1]] for place in replaced}
    for (owner, name), stub in replaced.items():
        setattr(owner, name, stub)
    try:
        yield line
    finally:
        for (owner, name), original in originals.items():
            setattr(owner, name, original)


def dial() -> AbstractAsyncContextManager[live.AsyncSession]:
    """A session on the line."""
    return genai.Client(api_key="none").aio.live.connect(model=MODEL)


async def turn(session: live.AsyncSession, line: Line) -> None:
    """One turn as described above."""
    for _ in range(FRAMES_UP):
        await session.send_realtime_input(audio=FRAME)
    for part in BEFORE_TOOL:
        line.next = part
        await session._receive()
    await session.send_tool_response(function_responses=ANSWER)
    for part in AFTER_TOOL:
        line.next = part
        await session._receive()
