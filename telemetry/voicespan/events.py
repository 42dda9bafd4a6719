"""Neutral things that happen in a live session. A provider's messages are turned into these; nothing else is known.

An event carries no time: whoever feeds it says when it happened, in nanoseconds since the epoch.
Any order is legal input to the lifecycle, also one that no provider should ever send.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from voicespan.usage import Usage

Initiator = Literal["client", "server", "provider", "process"]
Origin = Literal["client", "server"]


class ToolOutcome(StrEnum):
    """How a tool call ended. `orphaned`: nobody is left who could receive its response."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    ORPHANED = "orphaned"


@dataclass(frozen=True, slots=True)
class Close:
    """The end of a socket: a WebSocket close code (1006 where none was received) and its reason."""

    code: int
    reason: str = ""
    initiator: Initiator = "provider"


# --- the connection to the provider -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dialing:
    """A connection to the provider is being made; `resumed` says that a resumption handle was presented."""

    resumed: bool = False
    handle_age_s: float | None = None


@dataclass(frozen=True, slots=True)
class Connected:
    """The provider answered the setup: the session can be used."""

    provider_session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection, or the attempt to make one, ended."""

    close: Close
    error_type: str | None = None


@dataclass(frozen=True, slots=True)
class GoAway:
    """The provider will cut this connection after `time_left_s` seconds."""

    time_left_s: float | None = None


@dataclass(frozen=True, slots=True)
class Resumption:
    """The provider gave, or withheld, a handle to resume by. The handle is a credential and never part of an event."""

    resumable: bool


# --- the user -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ActivityStart:
    """The user began to speak, as the client marked it or the provider's detector decided."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class ActivityEnd:
    """The user stopped: marked by the client (`client`), or decided by the provider's detector (`server`).

    The detector's decision comes about a second after the speech itself ended.
    """

    origin: Origin


@dataclass(frozen=True, slots=True)
class EndOfSpeech:
    """The sound of the user's speech ended, as found in the audio that was sent. It is told after the fact."""


@dataclass(frozen=True, slots=True)
class AudioStreamEnd:
    """The client switched the microphone off."""


@dataclass(frozen=True, slots=True)
class UserText:
    """The user typed, and an answer is expected."""

    text: str


@dataclass(frozen=True, slots=True)
class InputTranscript:
    """A piece of what the provider heard the user say; pieces are joined as they are."""

    text: str


# --- the model ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelAudio:
    """A chunk of the model's voice; `leading_silence_s` of it, up to all, cannot be heard.

    `pcm` is the chunk itself, 16-bit little-endian mono, for a session that is recorded; nothing else looks at it.
    """

    duration_s: float
    leading_silence_s: float = 0.0
    pcm: bytes = field(default=b"", compare=False, repr=False)
    rate_hz: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ModelText:
    """Text that the model wrote instead of speaking."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """The model reasons; not speech, and not kept."""


@dataclass(frozen=True, slots=True)
class OutputTranscript:
    """A piece of what the model says, in words."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model calls a tool. `call_id` is unique in the session; made up where the provider gave none (`unnamed`).

    A call that is not `blocking` may be answered when its turn is long over: the model goes on talking.
    """

    call_id: str
    name: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    unnamed: bool = False
    blocking: bool = True


Scheduling = Literal["interrupt", "when_idle", "silent"]


@dataclass(frozen=True, slots=True)
class ToolResponse:
    """A response to a call was sent back, with how the tool fared and what it returned.

    `scheduling` says what the model is to do with the response to a call that does not block; where more responses to
    the same call will follow, this one is not `final`.
    """

    call_id: str
    outcome: ToolOutcome
    result: Mapping[str, object] = field(default_factory=dict)
    error: str | None = None
    scheduling: Scheduling | None = None
    final: bool = True


@dataclass(frozen=True, slots=True)
class ToolCancelled:
    """The model took a call back; no response will be sent."""

    call_id: str


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What the provider counted for one generation; `completes_turn` where the same message closes the turn."""

    usage: Usage
    completes_turn: bool = False


@dataclass(frozen=True, slots=True)
class Grounded:
    """The answer rests on so many web searches, counted since its turn began."""

    searches: int


@dataclass(frozen=True, slots=True)
class WaitingForInput:
    """The model chose to stay silent."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The provider dropped the rest of the answer."""


@dataclass(frozen=True, slots=True)
class GenerationComplete:
    """The model has produced its answer; it is usually still being played."""


@dataclass(frozen=True, slots=True)
class TurnComplete:
    """The provider closed the turn; with `in_progress` more output follows in the same turn."""

    in_progress: bool = False
    reason: str | None = None


# --- what the client says of its loudspeaker --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlaybackStarted:
    """The client began to play the answer of a turn."""

    turn: int


@dataclass(frozen=True, slots=True)
class PlaybackStopped:
    """The client's loudspeaker fell silent, `played_s` seconds into the answer of a turn."""

    turn: int
    played_s: float


# --- the session --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InputDropped:
    """So much of the user's audio never reached the provider, which did not take it fast enough."""

    duration_s: float


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message came that is not of the protocol; `error_type` is a low-cardinality name for what is wrong with it."""

    error_type: str


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The call is over."""

    close: Close
    error_type: str | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; `Lifecycle.deadline_ns` says when one is due."""


Event = (
    Dialing
    | Connected
    | Disconnected
    | GoAway
    | Resumption
    | ActivityStart
    | ActivityEnd
    | EndOfSpeech
    | AudioStreamEnd
    | UserText
    | InputTranscript
    | ModelAudio
    | ModelText
    | Thought
    | OutputTranscript
    | ToolCall
    | ToolResponse
    | ToolCancelled
    | UsageReport
    | Grounded
    | WaitingForInput
    | Interrupted
    | GenerationComplete
    | TurnComplete
    | PlaybackStarted
    | PlaybackStopped
    | InputDropped
    | Unreadable
    | SessionClosed
    | Tick
)

# What the model puts out: with the first of it a turn begins.
OUTPUTS = frozenset({ModelAudio, OutputTranscript, ModelText, Thought, ToolCall})
# What tells that the provider is alive.
FROM_PROVIDER = OUTPUTS | {
    InputTranscript,
    ToolCancelled,
    UsageReport,
    WaitingForInput,
    Interrupted,
    GenerationComplete,
    TurnComplete,
}
