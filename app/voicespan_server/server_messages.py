"""What a server of `voice.v1` tells its client, as values: the text frames of docs/protocol.md, read.

Fields of a later version are ignored, and so is a message of a kind that is not known: it is `Unrecognised`.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError


class UnreadableMessage(ValueError):  # noqa: N818 - what arrived, not what was done wrong
    """A server sent what the protocol does not allow."""


class Told(BaseModel):
    """A message, or a part of one."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ServerMessage(Told):
    """Any of the messages."""

    type: str


class Rate(Told):
    """Of audio, in Hz."""

    rate: int


class Input(Rate):
    """The client's audio; `turns` manual where the client says when its user speaks."""

    turns: Literal["auto", "manual"] = "auto"


class Resume(Told):
    """What goes into the next call's hello, should this one be lost."""

    token: str


class Limits(Told):
    """What the server allows: sizes in bytes, times in seconds; None where a server does not say."""

    max_frame_bytes: int
    idle_s: float
    max_s: float
    max_message_bytes: int | None = None
    max_text_chars: int | None = None
    max_image_bytes: int | None = None
    max_images_per_s: int | None = None
    max_uplink_ms: int | None = None
    max_downlink_bytes: int | None = None
    resume_s: float = 0.0


class Ready(ServerMessage):
    """The call is up."""

    type: Literal["ready"]
    v: int
    session_id: str
    trace_id: str
    model: str
    input: Input
    output: Rate
    limits: Limits
    resume: Resume | None = None
    resumed: bool = False
    restored: bool = False


class Transcript(ServerMessage):
    """A piece of what was said, to be joined to the pieces before it as it is; with `final` no more will come."""

    type: Literal["transcript"]
    role: Literal["user", "assistant"]
    text: str
    turn: int
    final: bool = False


class TurnStarted(ServerMessage):
    """An answer begins; audio from here on belongs to it."""

    type: Literal["turn.started"]
    turn: int


class TokenUsage(Told):
    """Tokens of a turn."""

    input: int
    output: int


class TurnMetrics(Told):
    """Times of a turn, in milliseconds. `time_to_first_audio_ms` is None where nobody measured it."""

    time_to_first_audio_ms: int | None = None
    audio_ms: int = 0


class TurnCompleted(ServerMessage):
    """A turn is over; `reason` is its `voicespan.turn.end_reason`."""

    type: Literal["turn.completed"]
    turn: int
    reason: str
    usage: TokenUsage | None = None
    metrics: TurnMetrics = TurnMetrics()


class Interrupted(ServerMessage):
    """The user talked over the answer: what has not been played of it is to be dropped."""

    type: Literal["interrupted"]
    turn: int


class ToolStarted(ServerMessage):
    """The model called a tool."""

    type: Literal["tool.started"]
    id: str
    name: str
    turn: int | None = None


class ToolCompleted(ServerMessage):
    """A tool call is over; `status` is ok, error, timeout, cancelled or orphaned."""

    type: Literal["tool.completed"]
    id: str
    status: str


class FoundPlace(Told):
    """A place that search_nearby found: how far and in which direction, as the crow flies."""

    name: str
    address: str = ""
    distance_m: float
    bearing_deg: int
    direction: str
    walking_minutes: int


class Places(ServerMessage):
    """What search_nearby found, nearest first."""

    type: Literal["places"]
    places: tuple[FoundPlace, ...]


class Coordinates(Told):
    """WGS 84, in degrees."""

    lat: float
    lon: float


class Navigate(ServerMessage):
    """Where navigate_to_location leads."""

    type: Literal["navigate"]
    destination: str
    position: Coordinates


class GoingAway(ServerMessage):
    """The model's service will close its connection; the server sees to it."""

    type: Literal["going_away"]
    in_ms: int


class Reconnecting(ServerMessage):
    """The connection to the model is being made anew."""

    type: Literal["session.reconnecting"]


class Resumed(ServerMessage):
    """The model is there again; `restored` where it knows what was said before."""

    type: Literal["session.resumed"]
    restored: bool = True


class Pong(ServerMessage):
    """The answer to a ping."""

    type: Literal["pong"]
    t: int | float


class Warning(ServerMessage):  # noqa: A001 - its name in the protocol
    """Something is not as it should be, and the call goes on.

    `ms` of audio were dropped; `kind` is a stall's; `turn` is the one that it is about.
    """

    type: Literal["warning"]
    code: str
    message: str
    ms: int | None = None
    kind: str | None = None
    turn: int | None = None


class Error(ServerMessage):
    """Something went wrong, in plain words; the close follows."""

    type: Literal["error"]
    code: str
    message: str
    retryable: bool = False
    retry_after_ms: int | None = None


class Goodbye(ServerMessage):
    """The last message of a call."""

    type: Literal["bye"]
    code: int
    reason: str = ""


class Unrecognised(ServerMessage):
    """A message of a later version."""


_KNOWN = (
    Ready
    | Transcript
    | TurnStarted
    | TurnCompleted
    | Interrupted
    | ToolStarted
    | ToolCompleted
    | Places
    | Navigate
    | GoingAway
    | Reconnecting
    | Resumed
    | Pong
    | Warning
    | Error
    | Goodbye
)
_READER: TypeAdapter[_KNOWN] = TypeAdapter(Annotated[_KNOWN, Field(discriminator="type")])


def parse_server_message(text: str) -> ServerMessage:
    """A server's text frame.

    Raises:
        UnreadableMessage: it is no JSON object with a type, or a known type with wrong fields.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableMessage(f"a text frame that is no JSON: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("type"), str):
        raise UnreadableMessage('a text frame that is no JSON object with a "type"')
    try:
        return _READER.validate_python(found)
    except ValidationError as error:
        fault = error.errors()[0]
        if fault["type"] == "union_tag_invalid":
            return Unrecognised(type=found["type"])
        where = ".".join(str(part) for part in fault["loc"])
        raise UnreadableMessage(f"{where}: {fault['msg']}") from None
