"""What the lifecycle asks to be told: spans to open and close, with the times and facts that go on them.

All times are nanoseconds since the epoch; durations are seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from voicespan.events import Close, ToolOutcome
from voicespan.usage import Usage


class StartSource(StrEnum):
    """What a turn's start was taken from, best known first."""

    ACTIVITY_END = "activity_end"
    AUDIO_STREAM_END = "audio_stream_end"
    ACOUSTIC = "acoustic"
    SERVER_ACTIVITY_END = "server_activity_end"
    CLIENT_CONTENT = "client_content"
    TOOL_RESPONSE = "tool_response"
    INPUT_TRANSCRIPTION = "input_transcription"
    FIRST_OUTPUT = "first_output"
    MODEL_INITIATED = "model_initiated"

    @property
    def measured(self) -> bool:
        """Whether this is the moment the user, or the program, was done, rather than a guess at it."""
        return self in _MEASURED

    @property
    def precedes_output(self) -> bool:
        """Whether time to first audio can be counted from here."""
        return self not in {StartSource.FIRST_OUTPUT, StartSource.MODEL_INITIATED}


_MEASURED = {
    StartSource.ACTIVITY_END,
    StartSource.AUDIO_STREAM_END,
    StartSource.ACOUSTIC,
    StartSource.CLIENT_CONTENT,
    StartSource.TOOL_RESPONSE,
}


class EndReason(StrEnum):
    """Why a turn ended."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    SESSION_CLOSED = "session_closed"
    GO_AWAY = "go_away"
    STALLED = "stalled"
    ERROR = "error"


class InterruptionCause(StrEnum):
    """Why the provider dropped an answer; only `speech` is a barge-in."""

    SPEECH = "speech"
    TEXT = "text"
    TOOL_RESPONSE = "tool_response"
    RETRACTED = "retracted"


@dataclass(frozen=True, slots=True)
class ToolRecord:
    """One tool call of a turn, as far as it got."""

    call_id: str
    name: str
    arguments: Mapping[str, object]
    outcome: ToolOutcome | None = None
    result: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """A turn from the user's words to the end of the model's answer.

    `first_audio_ns` is the first moment at which 10 ms of the answer had arrived: some models send a single
    sample ahead. `endpointing_s` is from the end of the user's sound to the provider's decision. `usage` is None
    where the provider reported none. `generation_times_ns` holds start and end of each generation, the first ones
    where there are very many.
    """

    index: int
    start_ns: int
    end_ns: int
    source: StartSource
    end_reason: EndReason
    first_output_ns: int | None = None
    first_audio_ns: int | None = None
    interruption_cause: InterruptionCause | None = None
    stall_kind: str | None = None
    error_type: str | None = None
    generations: int = 0
    usage: Usage | None = None
    user_text: str = ""
    model_text: str = ""
    output_audio_s: float = 0.0
    endpointing_s: float | None = None
    spoken_input: bool = False
    finish_reason: str | None = None
    generation_times_ns: tuple[tuple[int, int], ...] = ()
    tools: tuple[ToolRecord, ...] = ()

    @property
    def interrupted(self) -> bool:
        """Whether the provider dropped the rest of the answer."""
        return self.interruption_cause is not None

    @property
    def time_to_first_audio_s(self) -> float | None:
        """Seconds from the turn's start to its first audio; None where either was not seen."""
        if self.first_audio_ns is None or not self.source.precedes_output:
            return None
        return (self.first_audio_ns - self.start_ns) / 1e9


# How many times to first audio a session keeps for its percentiles: the latest.
MAX_TTFA_SAMPLES = 4096


@dataclass(slots=True)
class SessionTotals:
    """Counts over a whole session."""

    turns: int = 0
    generations: int = 0
    tool_calls: int = 0
    connections: int = 0
    reconnects: int = 0
    interruptions: int = 0
    barge_ins: int = 0
    turns_without_usage: int = 0
    output_audio_s: float = 0.0
    usage: Usage = field(default_factory=Usage)
    times_to_first_audio_s: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_TTFA_SAMPLES))


# --- operations ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartConnection:
    """Connection `index` begins; for a reconnection `at_ns` is when the former one stopped serving."""

    index: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class EndConnection:
    """Dial and setup of connection `index` are over.

    `close` is what ended the former connection, or this attempt where `error_type` is set.
    """

    index: int
    at_ns: int
    setup_s: float
    gap_s: float | None
    resumed: bool
    handle_age_s: float | None
    close: Close | None
    error_type: str | None
    go_away_time_left_s: float | None


@dataclass(frozen=True, slots=True)
class StartTurn:
    """A turn begins; `at_ns` may lie in the past."""

    index: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class EndTurn:
    """A turn's books are closed: all that will ever be known of it is in the record."""

    record: TurnRecord


@dataclass(frozen=True, slots=True)
class StartTool:
    """A tool call begins, inside turn `turn`."""

    call_id: str
    turn: int
    at_ns: int
    name: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class EndTool:
    """A tool call is over."""

    call_id: str
    at_ns: int
    outcome: ToolOutcome
    result: Mapping[str, object]
    error: str | None


@dataclass(frozen=True, slots=True)
class LooseUsage:
    """Usage that came when no turn's books were open: the session's."""

    at_ns: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Note:
    """Something to remember that has no duration."""

    name: str
    at_ns: int
    attributes: Mapping[str, str | bool | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndSession:
    """The session is over."""

    at_ns: int
    close: Close
    error_type: str | None
    totals: SessionTotals


Operation = StartConnection | EndConnection | StartTurn | EndTurn | StartTool | EndTool | LooseUsage | Note | EndSession
