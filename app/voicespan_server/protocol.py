"""The client protocol `voice.v1`: binary frames are audio, text frames are one JSON object with a `type`.

docs/protocol.md is its description. What a client sends is checked here; what the server sends is built here.
"""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from voicespan.content import encodable

SUBPROTOCOL = "voice.v1"
BEARER = "bearer."  # ahead of a session token that is offered beside it
INPUT_RATE_HZ = 16_000
OUTPUT_RATE_HZ = 24_000
MAX_TOKEN_CHARACTERS = 2_048
MAX_TEXT_CHARS = 8_000
MAX_REASON_BYTES = 123  # of a WebSocket close frame

Message = dict[str, object]
# Who says when the user speaks: the service's detector, or the client (push to talk).
TurnTaking = Literal["auto", "manual"]


class CloseCode(IntEnum):
    """Close codes that the server uses; below 4000 they have RFC 6455's meaning. uvicorn sends 1009 and 1012."""

    BYE = 1000
    MOVED = 1001
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    OVERLOADED = 1013
    BAD_MESSAGE = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    TIMEOUT = 4408
    TOO_LONG = 4410
    LIMITED = 4429
    MODEL_CLOSED = 4502
    MODEL_TIMEOUT = 4504


class ProtocolError(Exception):
    """A client sent what the protocol does not allow; the message tells it what."""


class _ClientMessage(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class HelloInput(_ClientMessage):
    """The audio the client will send: 16-bit little-endian mono PCM, and who says when its user speaks."""

    rate: Literal[16_000] = 16_000
    turns: TurnTaking = "auto"


class HelloUser(_ClientMessage):
    """Who is calling, as a pseudonym of the client's choice."""

    id_hash: str | None = Field(default=None, min_length=1, max_length=200)


class HelloResume(_ClientMessage):
    """The call to go on with, after its connection was lost: from its `ready`."""

    session_id: str = Field(min_length=1, max_length=200)
    token: str = Field(min_length=1, max_length=200)


class Hello(_ClientMessage):
    """The first message of a call."""

    type: Literal["hello"]
    v: Literal[1] = 1
    input: HelloInput = HelloInput()
    user: HelloUser = HelloUser()
    token: str | None = Field(default=None, max_length=MAX_TOKEN_CHARACTERS, repr=False)
    resume: HelloResume | None = None
    traceparent: str | None = None
    tracestate: str | None = None


class Text(_ClientMessage):
    """The user typed something and wants an answer."""

    type: Literal["text"]
    text: str = Field(min_length=1, max_length=MAX_TEXT_CHARS)


class Image(_ClientMessage):
    """A picture for the model to look at; `data` is base64 in the message, and bytes here."""

    type: Literal["image"]
    mime: Literal["image/jpeg", "image/png", "image/webp"]
    data: bytes = Field(min_length=1)

    @field_validator("data", mode="before")
    @classmethod
    def _decoded(cls, data: object) -> bytes:
        if not isinstance(data, str):
            raise ValueError("base64 text is needed")
        try:
            return base64.b64decode(data, validate=True)
        except ValueError:  # binascii's, and that of text which is not ASCII
            raise ValueError("base64 is needed") from None


class AudioEnd(_ClientMessage):
    """The microphone was switched off."""

    type: Literal["audio.end"]


class ActivityStart(_ClientMessage):
    """The user begins to speak, where turns are manual."""

    type: Literal["activity.start"]


class ActivityEnd(_ClientMessage):
    """The user is done, where turns are manual: an answer is due."""

    type: Literal["activity.end"]


class Playback(_ClientMessage):
    """The loudspeaker began to play a turn's answer, or fell silent `ms` into it."""

    type: Literal["playback"]
    turn: int = Field(ge=1)
    event: Literal["started", "stopped"]
    ms: float = Field(default=0, ge=0, allow_inf_nan=False)


class Ping(_ClientMessage):
    """Answered with a pong that carries `t` back."""

    type: Literal["ping"]
    t: int | float = 0

    @field_validator("t", mode="plain")
    @classmethod
    def _number(cls, t: object) -> int | float:
        if isinstance(t, bool) or not isinstance(t, int | float) or not -math.inf < t < math.inf:
            raise ValueError("a number is needed")
        return t


class Bye(_ClientMessage):
    """The user hung up."""

    type: Literal["bye"]


class Unknown(_ClientMessage):
    """A message of a later version: ignored."""

    type: str


_Known = Hello | Text | Image | AudioEnd | ActivityStart | ActivityEnd | Playback | Ping | Bye
ClientMessage = _Known | Unknown
_KNOWN: TypeAdapter[_Known] = TypeAdapter(Annotated[_Known, Field(discriminator="type")])
_KNOWN_TYPES = {
    *("hello", "text", "image", "audio.end", "activity.start", "activity.end", "playback", "ping", "bye"),
}
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def parse(text: str) -> ClientMessage:
    """A client's text frame.

    Raises:
        ProtocolError: it is no JSON object with a type, or a known type with wrong fields.
    """
    try:
        found = json.loads(text)
        if "\\ud" in text.lower():
            # Half a character, of which no frame, span or row can be made, is taken for the replacement character.
            found = json.loads(encodable(json.dumps(found, ensure_ascii=False)))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a text frame must be JSON: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("type"), str):
        raise ProtocolError('a text frame must be a JSON object with a "type"')
    if found["type"] not in _KNOWN_TYPES:
        return Unknown(type=found["type"][:64])
    try:
        return _KNOWN.validate_python(found)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"][1:])
        why = fault["msg"].removeprefix("Value error, ")
        raise ProtocolError(f"{found['type']}: {where}: {why}") from None


def check_audio(frame: bytes, max_bytes: int) -> None:
    """Refuse what cannot be 16-bit audio.

    Raises:
        ProtocolError: an odd number of bytes, or too many.
    """
    if len(frame) % 2:
        raise ProtocolError(f"an audio frame has {len(frame)} bytes: 16-bit samples need an even number")
    if len(frame) > max_bytes:
        raise ProtocolError(f"an audio frame has {len(frame)} bytes, more than {max_bytes}")


def is_traceparent(value: str | None) -> bool:
    """Whether it is a W3C traceparent of version 00: what a client sends wrong is ignored."""
    return value is not None and _TRACEPARENT.fullmatch(value) is not None


def close_reason(text: str) -> str:
    """A reason cut to what fits in a close frame."""
    return encodable(text).encode()[:MAX_REASON_BYTES].decode(errors="ignore")


def encode(message: Message) -> str:
    """A server message as a text frame, which has to be UTF-8 whatever the model said."""
    return encodable(json.dumps(message, ensure_ascii=False))


def error(code: str, message: str, *, retryable: bool = False, retry_after_ms: int | None = None) -> Message:
    """Something went wrong, in plain words; a close follows where the call cannot go on."""
    told: Message = {"type": "error", "code": code, "message": message, "retryable": retryable}
    return told if retry_after_ms is None else {**told, "retry_after_ms": retry_after_ms}


def warning(code: str, message: str, **more: object) -> Message:
    """Something is not as it should be, in plain words; the call goes on."""
    return {"type": "warning", "code": code, "message": message, **more}


@dataclass(frozen=True, slots=True)
class Ready:
    """The call is up: audio may flow. `resume_token` is for a `hello` after a lost connection; None where it is off."""

    session_id: str
    trace_id: str
    model: str
    turns: TurnTaking
    limits: Message
    resume_token: str | None = None
    resumed: bool = False

    def message(self, *, restored: bool) -> Message:
        """As it is sent; `restored` where the model knows what was said in the call that is resumed."""
        return {
            "type": "ready",
            "v": 1,
            "session_id": self.session_id,
            "trace_id": self.trace_id,
            "model": self.model,
            "input": {"rate": INPUT_RATE_HZ, "turns": self.turns},
            "output": {"rate": OUTPUT_RATE_HZ},
            "limits": self.limits,
            "resume": {"token": self.resume_token} if self.resume_token else None,
            "resumed": self.resumed,
            "restored": self.resumed and restored,
        }
