"""The frames of the load, made beforehand: what a voice client and the Live service write, and where frames end."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from array import array
from typing import Any

from websockets.frames import Frame, Opcode

UP_S, UP_BYTES = 0.020, 640  # 16 kHz
DOWN_S, DOWN_BYTES = 0.040, 1_920  # 24 kHz
# An exchange: the user's words once, the answer's in pieces, and what ends it. The audio never pauses.
TURN_S = 10.0
POOL = 64  # different frames, so that what arrives can be told apart

# Of the pool's 1.3 s a voice is heard for 0.8, then a quiet room: what looks for the end of speech finds one.
SPOKEN, LOUD, QUIET = 40, 6_000, 40

_random = random.Random(7)


def _pcm(size: int) -> list[bytes]:
    return [_noise(size, index, LOUD if index < SPOKEN else QUIET) for index in range(POOL)]


def _noise(size: int, index: int, peak: int) -> bytes:
    samples = array("h", [index, *(_random.randint(-peak, peak) for _ in range(size // 2 - 1))])
    return samples.tobytes()


UP_PCM, DOWN_PCM = _pcm(UP_BYTES), _pcm(DOWN_BYTES)
UP_FRAMES = [Frame(Opcode.BINARY, pcm).serialize(mask=True) for pcm in UP_PCM]


def _said(message: dict[str, Any]) -> bytes:
    """As the service writes it: indented JSON in a binary frame."""
    return Frame(Opcode.BINARY, json.dumps(message, indent=2).encode() + b"\n").serialize(mask=False)


def _audio(pcm: bytes) -> dict[str, Any]:
    blob = {"mimeType": "audio/pcm;rate=24000", "data": base64.b64encode(pcm).decode()}
    return {"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}]}}}


DOWN_FRAMES = [_said(_audio(pcm)) for pcm in DOWN_PCM]
SETUP_COMPLETE = _said({"setupComplete": {}})
_USAGE = {
    "promptTokenCount": 500,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 300}, {"modality": "AUDIO", "tokenCount": 200}],
    "responseTokenCount": 250,
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 250}],
    "totalTokenCount": 750,
}
# What comes at which part of a turn, between chunks of audio.
TURN: list[tuple[float, bytes]] = [
    (0.0, _said({"serverContent": {"inputTranscription": {"text": "Is there a cafe near here?"}}})),
    (0.1, _said({"serverContent": {"outputTranscription": {"text": "Yes, there are several"}}})),
    (0.4, _said({"serverContent": {"outputTranscription": {"text": " cafes close by. I have put"}}})),
    (0.7, _said({"serverContent": {"outputTranscription": {"text": " the nearest ones on your map."}}})),
    (0.95, _said({"serverContent": {"generationComplete": True}})),
    (0.98, _said({"serverContent": {"turnComplete": True}, "usageMetadata": _USAGE})),
]
HELLO = Frame(Opcode.TEXT, json.dumps({"type": "hello", "v": 1, "input": {"rate": 16000}}).encode()).serialize(
    mask=True
)
READY = b'"ready"'  # in the first text that a relay sends once the model can be talked to

KEY = base64.b64encode(bytes(16)).decode()


def upgrade(host: str) -> bytes:
    """A client's request for /ws/voice."""
    return (
        f"GET /ws/voice HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: voice.v1\r\n\r\n"
    ).encode()


def accept(request: bytes) -> bytes:
    """The service's answer to an upgrade."""
    for line in request.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "sec-websocket-key":
            found = hashlib.sha1(f"{value.strip()}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
            return (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {base64.b64encode(found).decode()}\r\n\r\n"
            ).encode()
    raise ValueError("no WebSocket upgrade")


def end_of_frame(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload begins (behind a mask) and the frame ends; None where not all of it is there."""
    size = len(data)
    if size - at < 2:
        return None
    length, payload = data[at + 1] & 0x7F, at + 2
    if length == 126:
        if size - at < 4:
            return None
        length, payload = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
    elif length == 127:
        if size - at < 10:
            return None
        length, payload = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
    if data[at + 1] & 0x80:
        payload += 4
    return (payload, payload + length) if payload + length <= size else None
