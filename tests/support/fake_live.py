"""google-genai's Live client over a scripted socket: what the service would send is put in, what it got is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from google import genai
from google.genai import live
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.frames import Close as Frame

MODEL = "gemini-3.8-live"
SETUP: dict[str, Any] = {"setupComplete": {}}


@dataclass
class Socket:
    """One connection. `incoming` takes messages, and exceptions to raise."""

    incoming: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    sent: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False
    may_send: asyncio.Event = field(default_factory=asyncio.Event)
    listened_to: asyncio.Event = field(default_factory=asyncio.Event)
    on_send: Callable[[dict[str, Any]], None] | None = None

    def __post_init__(self) -> None:
        self.may_send.set()

    async def send(self, text: str) -> None:
        if self.closed:
            raise ConnectionClosedOK(Frame(1000, ""), Frame(1000, ""), rcvd_then_sent=False)
        self.sent.append(json.loads(text))
        if self.on_send:
            self.on_send(self.sent[-1])
        await self.may_send.wait()

    async def recv(self, decode: bool | None = None) -> bytes:
        if self.incoming.empty():
            self.listened_to.set()
        item = await self.incoming.get()
        if isinstance(item, BaseException):
            raise item
        return item if isinstance(item, bytes) else json.dumps(item).encode()

    async def close(self) -> None:
        self.closed = True

    def push(self, *messages: Any) -> None:
        for message in messages:
            self.incoming.put_nowait(message)

    def drop(self, code: int | None = 1011, reason: str = "") -> None:
        """The service closes; without a code the connection is lost."""
        frame = None if code is None else Frame(code, reason)
        self.push(ConnectionClosedError(frame, frame, rcvd_then_sent=True if frame else None))


@dataclass
class Wire:
    """What dials: each connect gets the next socket; `refusal` is raised instead."""

    sockets: list[Socket] = field(default_factory=list)
    dialed: list[Socket] = field(default_factory=list)
    refusal: BaseException | None = None
    answers_setup: bool = True

    @asynccontextmanager
    async def connect(self, _uri: str, **_: Any) -> AsyncIterator[Socket]:
        if self.refusal:
            raise self.refusal
        socket = self.sockets.pop(0) if self.sockets else Socket()
        self.dialed.append(socket)
        if socket.incoming.empty() and self.answers_setup:
            socket.push(SETUP)
        try:
            yield socket
        finally:
            await socket.close()

    @property
    def last(self) -> Socket:
        return self.dialed[-1]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    found = Wire()
    monkeypatch.setattr(live, "ws_connect", found.connect)
    return found


def client(*, vertex: bool = False) -> genai.Client:
    return genai.Client(api_key="none", vertexai=vertex)


def content(**parts: Any) -> dict[str, Any]:
    return {"serverContent": parts}


def audio(seconds: float = 0.2) -> dict[str, Any]:
    import base64

    pcm = b"\x10\x27" * round(24_000 * seconds)
    data = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": base64.b64encode(pcm).decode()}}
    return content(modelTurn={"parts": [data]})


USAGE: dict[str, Any] = {
    "promptTokenCount": 120,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}, {"modality": "AUDIO", "tokenCount": 20}],
    "responseTokenCount": 30,
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}],
    "totalTokenCount": 150,
}
GENERATED = content(generationComplete=True)
COMPLETE = {**content(turnComplete=True), "usageMetadata": USAGE}


def call(name: str = "search_nearby", call_id: str | None = "c-1") -> dict[str, Any]:
    known = {"id": call_id} if call_id else {}
    return {"toolCall": {"functionCalls": [{**known, "name": name, "args": {"query": "cafe"}}]}}


def handle(value: str) -> dict[str, Any]:
    return {"sessionResumptionUpdate": {"newHandle": value, "resumable": True}}


ANSWER = (content(inputTranscription={"text": "Is there a cafe?"}), audio(), GENERATED, COMPLETE)
