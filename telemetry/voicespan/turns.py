"""The state of a turn while it lasts, and of the user's words that one has not begun to answer. See `lifecycle`."""

from __future__ import annotations

from dataclasses import dataclass, field

from voicespan import events as ev
from voicespan import operations as op
from voicespan.operations import EndReason, InterruptionCause, StartSource
from voicespan.usage import Usage

# Less than this has not been heard: Gemini 3.x may send a single sample ahead of the answer.
AUDIBLE_S = 0.010
# More calls than this in one turn is a loop; the record keeps the first ones, the totals count all.
MAX_TOOLS_IN_RECORD = 64
MAX_GENERATIONS_IN_RECORD = 64
# Bounds what one turn's transcript may hold in memory, in characters.
MAX_TEXT = 64_000


class Transcript:
    """Text that arrives in pieces, joined as it is and bounded."""

    __slots__ = ("_length", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0

    def add(self, piece: str) -> None:
        """Append a piece, up to the bound."""
        piece = piece[: MAX_TEXT - self._length]
        if piece:
            self._pieces.append(piece)
            self._length += len(piece)

    def __bool__(self) -> bool:
        return self._length > 0

    def __str__(self) -> str:
        return "".join(self._pieces).strip()


# A mark this much older than the newest is about something else: a microphone that was muted a while ago.
STALE_NS = 5_000_000_000
_ENDS = (
    StartSource.ACTIVITY_END,
    StartSource.AUDIO_STREAM_END,
    StartSource.ACOUSTIC,
    StartSource.SERVER_ACTIVITY_END,
    StartSource.TOOL_RESPONSE,
)


@dataclass(slots=True)
class Heard:
    """What is known of the user's words for the turn that has not begun."""

    at_ns: dict[StartSource, int] = field(default_factory=dict)
    text: Transcript = field(default_factory=Transcript)
    spoken: bool = False

    @property
    def expects_answer(self) -> bool:
        """Whether the user said something; a microphone that was switched off, or a tool that answered, is no word."""
        return bool(self.text) or bool(self.at_ns.keys() - {StartSource.AUDIO_STREAM_END, StartSource.TOOL_RESPONSE})

    def speaks_again(self) -> None:
        """What was marked as the end was not."""
        for source in _ENDS:
            self.at_ns.pop(source, None)

    def endpointing_s(self) -> float | None:
        """From the end of the sound to the detector's decision, where both are known."""
        sound, decision = (self.at_ns.get(s) for s in (StartSource.ACOUSTIC, StartSource.SERVER_ACTIVITY_END))
        return None if sound is None or decision is None or decision < sound else (decision - sound) / 1e9

    def start(self, now: int, fallback: StartSource) -> tuple[StartSource, int]:
        """The best known end of the user's words; the output itself, at `now`, where none is known."""
        newest = max(self.at_ns.values(), default=0)
        for source in StartSource:
            at = self.at_ns.get(source)
            if at is not None and at >= newest - STALE_NS:
                return source, at
        return fallback, now


@dataclass(slots=True)
class Tool:
    """A tool call of a turn."""

    call: ev.ToolCall
    turn: Turn
    outcome: ev.ToolOutcome | None = None
    response: ev.ToolResponse | None = None

    def record(self) -> op.ToolRecord:
        """The call, as far as it got."""
        result = self.response.result if self.response else {}
        return op.ToolRecord(self.call.call_id, self.call.name, self.call.arguments, self.outcome, result)


@dataclass(slots=True)
class Turn:
    """A turn whose books are open. `usage` is booked, `report` is the current generation's."""

    index: int
    source: StartSource
    start_ns: int
    heard: Heard
    model_text: Transcript = field(default_factory=Transcript)
    first_output_ns: int | None = None
    last_output_ns: int | None = None
    first_audio_ns: int | None = None
    audio_s: float = 0.0
    generated_ns: int | None = None
    interrupted_ns: int | None = None
    cause: InterruptionCause | None = None
    generations: int = 0
    generating: bool = False
    generation_times_ns: list[tuple[int, int]] = field(default_factory=list)
    tool_response_ns: int | None = None
    tools: list[Tool] = field(default_factory=list)
    open_tools: int = 0
    tools_end_ns: int = 0
    usage: Usage | None = None
    report: Usage | None = None
    waiting: bool = False
    finish_reason: str | None = None
    reason: EndReason | None = None
    error_type: str | None = None
    stall_kind: str | None = None
    deadline_ns: int | None = None

    def output(self, now: int) -> None:
        """The model said, wrote, thought or called something."""
        if not self.generating:
            self.generating = True
            self.generations += 1
            self.generated_ns = None
            self.book_report()
            if len(self.generation_times_ns) < MAX_GENERATIONS_IN_RECORD:
                self.generation_times_ns.append((self._generation_start_ns(now), now))
        self.generation_goes_on(now)
        if self.first_output_ns is None:
            self.first_output_ns = now
        self.last_output_ns = now

    def generation_goes_on(self, until: int) -> None:
        """The current generation lasted until then at least."""
        if len(self.generation_times_ns) == self.generations > 0:
            self.generation_times_ns[-1] = (self.generation_times_ns[-1][0], until)

    def _generation_start_ns(self, now: int) -> int:
        """The model begins when it has what it needs: the user's words, or a tool's response."""
        if self.generations == 1:
            return self.start_ns
        return self.tool_response_ns if self.awaits_output and self.tool_response_ns is not None else now

    def book_report(self) -> None:
        """A generation is over: its last report counts, and the next one is another's."""
        if self.report is not None:
            self.usage = self.report if self.usage is None else self.usage + self.report
            self.report = None

    @property
    def awaits_output(self) -> bool:
        """Whether a tool response was the last thing that happened in it."""
        return self.tool_response_ns is not None and self.tool_response_ns >= (self.last_output_ns or 0)

    def end_ns(self, now: int) -> int:
        """The end of its generation, or of its last tool; `now` where neither was seen."""
        if self.interrupted_ns is not None and self.generated_ns is None:
            end = self.interrupted_ns
        else:
            end = self.generated_ns or self.last_output_ns or now
        return max(end, self.tools_end_ns, self.start_ns)

    def record(self, now: int) -> op.TurnRecord:
        """All that will ever be known of it."""
        return op.TurnRecord(
            index=self.index,
            start_ns=self.start_ns,
            end_ns=self.end_ns(now),
            source=self.source,
            end_reason=self.reason or self._end_reason(),
            first_output_ns=self.first_output_ns,
            first_audio_ns=self.first_audio_ns,
            interruption_cause=self.cause,
            stall_kind=self.stall_kind,
            error_type=self.error_type,
            generations=self.generations,
            usage=self.usage,
            endpointing_s=self.heard.endpointing_s(),
            user_text=str(self.heard.text),
            model_text=str(self.model_text),
            output_audio_s=self.audio_s,
            spoken_input=self.heard.spoken,
            finish_reason=self.finish_reason,
            generation_times_ns=tuple(self.generation_times_ns),
            tools=tuple(tool.record() for tool in self.tools),
        )

    def _end_reason(self) -> EndReason:
        if self.cause is InterruptionCause.RETRACTED:
            return EndReason.CANCELLED
        if self.cause is not None:
            return EndReason.INTERRUPTED
        if self.stall_kind is not None:
            return EndReason.STALLED
        return EndReason.COMPLETED
