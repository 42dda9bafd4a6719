"""Whatever the model's side writes, the byte-level way and google-genai's own tell the same, in the same order."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.frames import Opcode

from support.examples import examples
from support.played import MODELS, SCENARIOS, played
from support.upstream_wire import close_frame, connected, frame, session_over
from voicespan import GeminiTranslator
from voicespan import events as ev
from voicespan_server import upstream_leg
from voicespan_server.failures import ConnectionFailed, failure_of
from voicespan_server.live_connection import LiveConnection
from voicespan_server.upstream_leg import UpstreamLeg
from voicespan_simulator.dialect import VERTEX


async def told(kind: type[ClientConnection], reads: Sequence[bytes], pauses: Sequence[int], *, vertex: bool) -> Told:
    """All that is heard of what comes in these reads, the loop turned so many times after each of them."""
    connection = connected(kind)
    session = session_over(connection, vertex=vertex)
    live, translator, heard = LiveConnection(session), GeminiTranslator(), Told()

    def hear(event: ev.Event) -> None:
        heard.log.append((event, event.pcm, event.rate_hz) if isinstance(event, ev.ModelAudio) else event)

    def on_audio(pcm: bytes, mime_type: str) -> None:
        heard.by_bytes += 1
        hear(translator.audio(pcm, mime_type))

    async def listen() -> None:
        async for message in live.messages(lambda error: heard.log.append(type(error))):
            for event in translator.events(message):
                hear(event)

    live.take_audio(on_audio)
    listening = asyncio.create_task(listen())
    await asyncio.sleep(0)
    for number, read in enumerate(reads):
        connection.data_received(read)
        for _ in range(pauses[number % len(pauses)]):
            await asyncio.sleep(0)
    connection.data_received(close_frame(1011, "over"))
    connection.eof_received()
    connection.connection_lost(None)
    try:
        await listening
    except ConnectionFailed as error:
        heard.log.append(failure_of(error).close)
    heard.sent = bytes(connection.transport.written[-2:])  # type: ignore[attr-defined]
    return heard


class Told:
    def __init__(self) -> None:
        self.log: list[object] = []
        self.by_bytes = 0
        self.sent = b""


async def agree(reads: Sequence[bytes], pauses: Sequence[int] = (3,), *, vertex: bool = False) -> Told:
    fast = await told(UpstreamLeg, reads, pauses, vertex=vertex)
    plain = await told(ClientConnection, reads, pauses, vertex=vertex)
    assert fast.log == plain.log
    assert plain.by_bytes == 0
    return fast


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("model", ["models/gemini-3.8-live", "publishers/google/models/gemini-live-2.5-flash"])
async def test_they_agree_on_every_message_of_every_scenario(scenario: str, model: str) -> None:
    messages = [message async for message in played(scenario, model)]
    alone = [message for message in messages if is_audio_alone(message)]
    reads = [frame(json.dumps(message, indent=2).encode()) for message in messages]
    heard = await agree(reads, vertex=MODELS[model] is VERTEX)
    assert heard.by_bytes == len(alone)


def is_audio_alone(message: Any) -> bool:
    match message:
        case {"serverContent": {"modelTurn": {"parts": [{"inlineData": _}]}, **content}, **rest}:
            return not content and not rest
    return False


def audio(pcm: bytes = b"\x10\x27" * 24, mime_type: str = "audio/pcm;rate=24000", **turn: Any) -> dict[str, Any]:
    data = {"mimeType": mime_type, "data": base64.b64encode(pcm).decode()}
    return {"serverContent": {"modelTurn": {"parts": [{"inlineData": data}], **turn}}}


USAGE = {"promptTokenCount": 3, "totalTokenCount": 3}
OTHERS: tuple[dict[str, Any], ...] = (
    {},
    {"serverContent": {}},
    {"serverContent": {"interrupted": True}},
    {"serverContent": {"generationComplete": True}},
    {"serverContent": {"turnComplete": True}, "usageMetadata": USAGE},
    {"serverContent": {"outputTranscription": {"text": "data"}}},
    {"serverContent": {**audio()["serverContent"], "outputTranscription": {"text": '"data"'}}},
    {**audio(), "usageMetadata": USAGE},
    {"serverContent": {"modelTurn": {"parts": [{"text": '{"data":"AAAA"}'}]}}},
    {"toolCall": {"functionCalls": [{"id": "f-1", "name": "search_nearby", "args": {"data": "AAAA"}}]}},
    {"unheardOf": {"data": "AAAA"}},
    {"goAway": {"timeLeft": "9.5s"}},
)
spacings = st.sampled_from(({}, {"indent": 2}, {"separators": (",", ":")}, {"indent": "\t"}))
sound = st.builds(
    audio,
    st.binary(min_size=0, max_size=99).map(lambda pcm: pcm * 9),
    st.sampled_from(("audio/pcm;rate=24000", "audio/pcm", "audio/pcm;rate=16000", "image/png")),
) | st.just(audio(role="model"))
messages = st.builds(
    lambda message, spacing: json.dumps(message, **spacing).encode(), sound | st.sampled_from(OTHERS), spacings
)
SCRAPS = (b"", b"", b"", b'"', b"{", b"}", b"=", b"\\", b",", b'"data":"', b" ", b"A", b"-", b"{}", b"\xff")
# What is read at once, by how often the loop turns until the next.
pauses = st.lists(st.integers(0, 4), min_size=1, max_size=5)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A message with some bytes changed, taken out or put in: most of all what JSON, base64 and frames are made of."""
    text = draw(messages)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        until = min(len(text), at + draw(st.sampled_from((0, 0, 1, 1, 2, 9))))
        text = text[:at] + draw(st.sampled_from(SCRAPS)) + text[until:]
    return text


@st.composite
def written(draw: st.DrawFn) -> list[bytes]:
    """Messages in frames of all kinds, in reads that end anywhere."""
    stream = b""
    for text in draw(st.lists(mutated(), max_size=8)):
        opcode = draw(st.sampled_from((Opcode.BINARY, Opcode.BINARY, Opcode.TEXT)))
        match draw(st.sampled_from(("whole", "whole", "whole", "fragments", "after a ping"))):
            case "whole":
                stream += frame(text, opcode)
            case "fragments":
                half = len(text) // 2
                stream += frame(text[:half], opcode, fin=False) + frame(b"", Opcode.PONG)
                stream += frame(text[half:], Opcode.CONT)
            case "after a ping":
                stream += frame(b"ping", Opcode.PING) + frame(text, opcode)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    parts = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    return [part for part in parts if part]


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(mutated(), min_size=1, max_size=6), pauses, st.booleans())
def test_they_agree_on_messages_that_were_tampered_with(texts: list[bytes], pauses: list[int], vertex: bool) -> None:
    asyncio.run(agree_on([frame(text) for text in texts], pauses, vertex=vertex))


@settings(max_examples=examples(150), deadline=None)
@given(written(), pauses, st.sampled_from((8, 200, upstream_leg.MAX_FRAME_BYTES)))
def test_they_agree_however_the_stream_is_framed_and_cut(reads: list[bytes], pauses: list[int], longest: int) -> None:
    with mock.patch.object(upstream_leg, "MAX_FRAME_BYTES", longest):
        asyncio.run(agree_on(reads, pauses))


async def agree_on(reads: Sequence[bytes], pauses: Sequence[int], *, vertex: bool = False) -> None:
    await agree(reads, pauses, vertex=vertex)
