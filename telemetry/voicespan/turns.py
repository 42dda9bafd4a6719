"""The state of a turn while it lasts, and of the user's words that one has not begun to answer. See `lifecycle`."""

from __future__ import annotations

from dataclasses import dataclass, field

from voicespan import events as ev
from voicespan import operations as op
from voicespan.answers import Answer
from voicespan.operations import EndReason, InterruptionCause, StallKind, StartSource
from voicespan.usage import Usage

# More calls than this in one turn is a loop; the record keeps the first ones, the totals count all.
MAX_TOOLS_IN_RECORD = 64
MAX_GENERATIONS_IN_RECORD = 64
# Bounds what one turn's transcript may hold in memory, in characters.
MAX_TEXT = 64_000

# Speech has some fifteen characters a second, less in scripts of syllables or words; nobody speaks twice as fast.
FASTEST_CHARS_PER_S = 30
# Shorter answers say too little of how fast they are spoken.
SENTENCE_CHARS = 40

# A mark this much older than the newest is about something else: a microphone that was muted a while ago.
STALE_NS = 5_000_000_000
_BEST_FIRST = tuple(StartSource)  # going through an enumeration takes microseconds
_NO_WORDS = {StartSource.AUDIO_STREAM_END, StartSource.TOOL_RESPONSE}
_ENDS = (
    StartSource.ACTIVITY_END,
    StartSource.AUDIO_STREAM_END,
    StartSource.ACOUSTIC,
    StartSource.SERVER_ACTIVITY_END,
    StartSource.TOOL_RESPONSE,
)


@dataclass(slots=True)
class Words:
    """What is known of the user's words for the turn that has not begun; times by what they were taken from."""

    at_ns: dict[StartSource, int] = field(default_factory=dict)
    text: str = ""
    spoken: bool = False
    speech_ns: tuple[int, int] | None = None
    tool_answer_due: bool = False
    # Whether what comes next is a message, or an utterance, of its own.
    apart: bool = False
    # Whether its text came when it was being answered already.
    late: bool = False

    @property
    def lacking(self) -> bool:
        """Whether they were spoken, and their text came late or has not come yet."""
        return self.spoken and (self.late or not self.text)

    @property
    def expect_answer(self) -> bool:
        """Whether the user said something; a microphone that was switched off, or a tool that answered, is no word."""
        return self.text != "" or not self.at_ns.keys() <= _NO_WORDS

    @property
    def newest_ns(self) -> int:
        """When the last of it was told."""
        return max(self.at_ns.values()) if self.at_ns else 0

    def add(self, piece: str) -> None:
        """More of their text, which is joined as it is and bounded."""
        if self.apart:
            self.apart = False
            piece = _apart(self.text, piece)
        self.text += piece[: MAX_TEXT - len(self.text)]

    def add_apart(self, message: str) -> None:
        """A whole message."""
        self.apart = True
        self.add(message)
        self.apart = True

    def go_on(self) -> None:
        """What was marked as the end was not."""
        self.apart = True
        for source in _ENDS:
            self.at_ns.pop(source, None)
        self.speech_ns = None

    def start(self, now: int, fallback: StartSource) -> tuple[StartSource, int]:
        """The best known end of the user's words; the output itself, at `now`, where none is known."""
        newest = self.newest_ns
        for source in _BEST_FIRST:
            at = self.at_ns.get(source)
            if at is not None and at >= newest - STALE_NS:
                return source, at
        return fallback, now


def _apart(text: str, piece: str) -> str:
    """What begins anew behind some text: with a space between them where neither has one."""
    return f" {piece}" if text and not text[-1].isspace() and not piece[:1].isspace() else piece


@dataclass(slots=True)
class Tool:
    """A tool call of a turn."""

    call: ev.ToolCall
    outcome: ev.ToolOutcome | None = None
    response: ev.ToolResponse | None = None
    responses: int = 0

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
    words: Words
    model_text: str = ""
    wrote: bool = False
    answer: Answer = field(default_factory=Answer)
    first_output_ns: int | None = None
    last_output_ns: int | None = None
    generated_ns: int | None = None
    interrupted_ns: int | None = None
    cause: InterruptionCause | None = None
    generations: int = 0
    generating: bool = False
    first_generations: list[op.GenerationRecord] = field(default_factory=list)
    tool_response_ns: int | None = None
    # Whether a tool response was the last thing that happened in it; of one moment, times do not tell.
    awaits_output: bool = False
    interrupting_response_ns: int | None = None
    tools: list[Tool] = field(default_factory=list)
    open_tools: int = 0
    tools_began_ns: int = 0
    tools_end_ns: int = 0
    tool_ns: int = 0
    usage: Usage | None = None
    report: Usage | None = None
    waiting: bool = False
    in_progress: bool = False
    searches: int = 0
    finish_reason: str | None = None
    reason: EndReason | None = None
    error_type: str | None = None
    stall_kind: StallKind | None = None
    stalled_ns: int | None = None
    deadline_ns: int | None = None
    _generated_until_ns: int = 0
    # Whether the words that come next are of another generation than those before.
    _apart: bool = False

    def output(self, now: int) -> None:
        """The model said, wrote, thought or called something."""
        if not self.generating:
            self._end_generation()
            self.generating = self._apart = True
            self.generations += 1
            self.generated_ns = None
            self.book_report()
            if len(self.first_generations) < MAX_GENERATIONS_IN_RECORD:
                # What was reported before it put anything out is the first one's.
                usage = None if self.first_generations else self.usage
                self.first_generations.append(op.GenerationRecord(self._generation_start_ns(now), now, usage))
        self._generated_until_ns = now
        if self.first_output_ns is None:
            self.first_output_ns = now
        self.last_output_ns = now
        self.stalled_ns = None
        self.in_progress = self.awaits_output = False

    def said(self, piece: str) -> None:
        """More of the model's words, which are joined as they are within a generation, and bounded."""
        if self._apart:
            self._apart = False
            piece = _apart(self.model_text, piece)
        self.model_text += piece[: MAX_TEXT - len(self.model_text)]

    def voice_goes_on(self, event: ev.ModelAudio, now: int) -> bool:
        """A chunk of a voice that was heard already, in a generation that goes on; False where it is not that."""
        answer = self.answer
        if (
            not self.generating
            or self.interrupted_ns is not None
            or self.stalled_ns is not None
            or answer.audible_ns is None
            or answer.first_ns is None
        ):
            return False
        self._generated_until_ns = self.last_output_ns = now
        answer.audio_s += event.duration_s
        return True

    def audio(self, event: ev.ModelAudio, now: int) -> None:
        """A chunk of its voice; what a tool took until the first of it is known by then."""
        if self.answer.add(event, now) and self.open_tools:
            self._book_tools(now)

    def generation_goes_on(self, until: int) -> None:
        """The current generation lasted until then at least."""
        self._generated_until_ns = until

    def _end_generation(self) -> None:
        if len(self.first_generations) == self.generations > 0:
            self.first_generations[-1].end_ns = self._generated_until_ns

    def _generation_start_ns(self, now: int) -> int:
        """The model begins when it has what it needs: the user's words, or a tool's response."""
        if self.generations == 1:
            return self.start_ns
        return self.tool_response_ns if self.awaits_output and self.tool_response_ns is not None else now

    def book_report(self) -> None:
        """A generation is over: its last report counts, and the next one is another's."""
        if self.report is None:
            return
        self.usage = self.report if self.usage is None else self.usage + self.report
        if self.first_generations:
            last = self.first_generations[-1]
            last.usage = last.usage + self.report if last.usage else self.report
        self.report = None

    def tool_began(self, now: int) -> None:
        """A call that it waits for."""
        if not self.open_tools:
            self.tools_began_ns = now
        self.open_tools += 1

    def tool_ended(self, now: int) -> None:
        """One of them is over."""
        self.open_tools -= 1
        self.tools_end_ns = now
        if not self.open_tools:
            self._book_tools(now)

    def _book_tools(self, now: int) -> None:
        """Parallel calls are waited for once, and only what comes before the voice is part of its latency."""
        until = min(now, self.answer.first_ns or now)
        self.tool_ns += max(0, until - self.tools_began_ns)
        self.tools_began_ns = now

    @property
    def stalled(self) -> bool:
        """Whether its answer was found missing, and has not come since."""
        return self.stalled_ns is not None

    @property
    def given_up(self) -> bool:
        """Whether what the user says next is of no concern to it."""
        return self.stalled or (self.waiting and self.first_output_ns is None)

    @property
    def owes_usage(self) -> bool:
        """Whether the provider has reported nothing for it."""
        return self.usage is None and self.report is None

    @property
    def cut_short(self) -> bool:
        """Whether there is far less of its audio than its words take to say, though nobody interrupted it."""
        chars = len(self.model_text)
        audio_s = self.answer.audio_s
        return self.cause is None and chars >= SENTENCE_CHARS and 0 < audio_s * FASTEST_CHARS_PER_S < chars

    def end_ns(self, now: int) -> int:
        """The end of its generation, or of its last tool; `now` where neither was seen."""
        if self.interrupted_ns is not None and self.generated_ns is None:
            end = self.interrupted_ns
        else:
            end = self.generated_ns or self.last_output_ns or self.stalled_ns or now
        return max(end, self.tools_end_ns, self.start_ns)

    def latency(self) -> op.Latency:
        """What the user waited for until the first audio, in parts; see `operations.Latency`."""
        acoustic = self.source is StartSource.ACOUSTIC
        decided = self.words.at_ns.get(StartSource.SERVER_ACTIVITY_END, -1) if acoustic else self.start_ns
        told = decided >= self.start_ns
        endpointing_s = (decided - self.start_ns) / 1e9 if told and acoustic else None
        first_ns = self.answer.first_ns
        if first_ns is None or not self.source.precedes_output:
            return op.Latency(endpointing_s)
        model_s = max(0, first_ns - decided - self.tool_ns) / 1e9 if told and decided <= first_ns else None
        return op.Latency(endpointing_s, self.tool_ns / 1e9, model_s, self.answer.transport_s())

    def record(self, now: int) -> op.TurnRecord:
        """All that will ever be known of it."""
        answer = self.answer
        self._end_generation()
        return op.TurnRecord(
            index=self.index,
            start_ns=self.start_ns,
            end_ns=self.end_ns(now),
            source=self.source,
            end_reason=self.reason or self._end_reason(),
            first_output_ns=self.first_output_ns,
            first_audio_ns=answer.first_ns,
            audible_ns=answer.audible_ns,
            interruption_cause=self.cause,
            stall_kind=self.stall_kind,
            error_type=self.error_type,
            generations=self.generations,
            usage=self.usage,
            user_text=self.words.text.strip(),
            model_text=self.model_text.strip(),
            written=self.wrote and not answer.audio_s,
            output_audio_s=answer.audio_s,
            latency=self.latency(),
            heard=answer.heard(self.interrupted_ns),
            silenced_s=answer.silenced_s(),
            playback_ns=None if answer.playback_ns is None else (answer.playback_ns, answer.stopped_ns),
            speech_ns=self.words.speech_ns,
            spoken_input=self.words.spoken,
            searches=self.searches,
            finish_reason=self.finish_reason,
            records=tuple(self.first_generations),
            tools=tuple([tool.record() for tool in self.tools]),
        )

    def _end_reason(self) -> EndReason:
        if self.cause is not None:
            return EndReason.CANCELLED if self.cause is InterruptionCause.RETRACTED else EndReason.INTERRUPTED
        if self.stalled or self.stall_kind is StallKind.EMPTY_TURN:
            return EndReason.STALLED
        return EndReason.COMPLETED
