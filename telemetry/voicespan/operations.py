"""What the lifecycle asks to be told: spans to open and close, with the times and facts that go on them.

All times are nanoseconds since the epoch; durations are seconds. The larger things that every turn makes are
tuples: a frozen dataclass takes three times as long to make.
"""

from __future__ import annotations

from array import array
from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from voicespan.events import Close, ToolOutcome
from voicespan.usage import NOTHING, Usage


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
        return self not in _THE_OUTPUT


_MEASURED = {
    StartSource.ACTIVITY_END,
    StartSource.AUDIO_STREAM_END,
    StartSource.ACOUSTIC,
    StartSource.CLIENT_CONTENT,
    StartSource.TOOL_RESPONSE,
}
_THE_OUTPUT = {StartSource.FIRST_OUTPUT, StartSource.MODEL_INITIATED}


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


class StallKind(StrEnum):
    """How an answer that was due failed to come."""

    EMPTY_TURN = "empty_turn"
    NO_ANSWER = "no_answer"
    NO_GENERATION = "no_generation"
    TOOL_RESPONSE_IGNORED = "tool_response_ignored"
    UNFINISHED = "unfinished"
    RESUMED_DEAD = "resumed_dead"


class Anomaly(StrEnum):
    """What should not have come, or not so."""

    DUPLICATE_TOOL_CALL = "duplicate_tool_call"
    TOOL_RESPONSE_WITHOUT_CALL = "tool_response_without_call"
    TURN_COMPLETE_WITHOUT_TURN = "turn_complete_without_turn"
    LATE_TRANSCRIPT = "late_transcript"
    UNREADABLE_MESSAGE = "unreadable_message"
    ANSWER_CUT_SHORT = "answer_cut_short"


class ToolRecord(NamedTuple):
    """One tool call of a turn, as far as it got."""

    call_id: str
    name: str
    arguments: Mapping[str, object]
    outcome: ToolOutcome | None = None
    result: Mapping[str, object] = MappingProxyType({})


@dataclass(slots=True)
class GenerationRecord:
    """One stretch of the model's output, and what the provider reported while it was the latest.

    It grows until its turn is told; then nobody changes it.
    """

    start_ns: int
    end_ns: int
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class HeardAudio:
    """How much of an answer the user heard; `reported` by the client, else inferred from the clock."""

    duration_s: float
    reported: bool

    @property
    def source(self) -> str:
        """`reported` or `inferred`."""
        return "reported" if self.reported else "inferred"


class Latency(NamedTuple):
    """What a user waited for, in seconds: parts that sum to the time to first audio, with `transport_s` to playback.

    `endpointing_s` is from the end of the user's sound to the provider's decision. `model_s` is known only where the
    decision is: without it, the provider's waiting and its thinking cannot be told apart.
    """

    endpointing_s: float | None = None
    tool_s: float | None = None
    model_s: float | None = None
    transport_s: float | None = None


@dataclass(slots=True)  # a tuple has another `index`; nobody changes it
class TurnRecord:
    """A turn from the user's words to the end of the model's answer.

    `first_audio_ns` is the first moment at which 10 ms of the answer had arrived: some models send a single
    sample ahead; `audible_ns` is when its leading silence is over. `playback_ns` is from where to where the client
    said that it played. `speech_ns` is the user's speech where the client marked both of its ends. `usage` is None
    where the provider reported none. `written`: the model wrote instead of speaking. `records` holds the first
    generations where there are very many.
    """

    index: int
    start_ns: int
    end_ns: int
    source: StartSource
    end_reason: EndReason
    first_output_ns: int | None = None
    first_audio_ns: int | None = None
    audible_ns: int | None = None
    interruption_cause: InterruptionCause | None = None
    stall_kind: StallKind | None = None
    error_type: str | None = None
    generations: int = 0
    usage: Usage | None = None
    user_text: str = ""
    model_text: str = ""
    written: bool = False
    output_audio_s: float = 0.0
    latency: Latency = field(default_factory=Latency)
    heard: HeardAudio | None = None
    silenced_s: float | None = None
    playback_ns: tuple[int, int | None] | None = None
    speech_ns: tuple[int, int] | None = None
    spoken_input: bool = False
    searches: int = 0
    finish_reason: str | None = None
    records: tuple[GenerationRecord, ...] = ()
    tools: tuple[ToolRecord, ...] = ()

    @property
    def interrupted(self) -> bool:
        """Whether the provider dropped the rest of the answer."""
        return self.interruption_cause is not None

    @property
    def time_to_first_audio_s(self) -> float | None:
        """Seconds from the turn's start to its first audio; None where either was not seen."""
        return self._since_start(self.first_audio_ns)

    @property
    def time_to_audible_audio_s(self) -> float | None:
        """Seconds from the turn's start to the first sound in its audio."""
        return self._since_start(self.audible_ns)

    @property
    def time_to_playback_s(self) -> float | None:
        """Seconds from the turn's start until the client said that it plays."""
        return self._since_start(self.playback_ns[0] if self.playback_ns else None)

    def _since_start(self, at_ns: int | None) -> float | None:
        if at_ns is None or not self.source.precedes_output:
            return None
        return (at_ns - self.start_ns) / 1e9


# How many times to first audio a session keeps for its percentiles: its first ones.
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
    stalls: int = 0
    turns_without_usage: int = 0
    output_audio_s: float = 0.0
    dropped_audio_s: float = 0.0
    usage: Usage = NOTHING
    # In ascending order: their percentiles are told with every turn.
    times_to_first_audio_s: array[float] = field(default_factory=lambda: array("d"))

    def answered(self, time_to_first_audio_s: float) -> None:
        """A turn's time to first audio."""
        if len(self.times_to_first_audio_s) < MAX_TTFA_SAMPLES:
            insort(self.times_to_first_audio_s, time_to_first_audio_s)


# --- operations ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartConnection:
    """Connection `index` begins; for a reconnection `at_ns` is when the former one stopped serving."""

    index: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class EndConnection:
    """Dial and setup of connection `index` are over, by which it is `connected` or not.

    `close` is what ended the former connection, or this attempt where it came to nothing.
    """

    index: int
    at_ns: int
    connected: bool
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


class StartTool(NamedTuple):
    """A tool call begins in turn `turn`; one that is not `blocking` may outlive it."""

    call_id: str
    turn: int
    at_ns: int
    name: str
    arguments: Mapping[str, object]
    blocking: bool = True


class EndTool(NamedTuple):
    """A tool call is over; `responses` were sent."""

    call_id: str
    at_ns: int
    outcome: ToolOutcome
    result: Mapping[str, object]
    error: str | None
    responses: int = 0


# What has no duration: each is told once, as an event.


@dataclass(frozen=True, slots=True)
class GoingAway:
    """The provider announced that it will cut the connection."""

    at_ns: int
    time_left_s: float | None


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """Connection `index` had served, and ended."""

    index: int
    at_ns: int
    close: Close
    error_type: str | None


@dataclass(frozen=True, slots=True)
class Stalled:
    """An answer has been due for too long; `turn` is where it was."""

    at_ns: int
    kind: StallKind
    turn: int


@dataclass(frozen=True, slots=True)
class LateInterruption:
    """An answer was cut, while it was played, whose turn had been told."""

    at_ns: int
    cause: InterruptionCause
    turn: int


@dataclass(frozen=True, slots=True)
class LooseUsage:
    """Usage that came when no turn's books were open: the session's."""

    at_ns: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Odd:
    """Something came that should not have; `detail` is a low-cardinality name where there is more to say."""

    at_ns: int
    anomaly: Anomaly
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class EndSession:
    """The session is over."""

    at_ns: int
    close: Close
    error_type: str | None
    totals: SessionTotals


Happening = GoingAway | ConnectionEnded | Stalled | LateInterruption | LooseUsage | Odd
Operation = StartConnection | EndConnection | StartTurn | EndTurn | StartTool | EndTool | Happening | EndSession
