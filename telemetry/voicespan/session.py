"""A voice session as the program sees it: feed it what happens, and its trace is written.

    session = VoiceSession(Identity(session_id="s-1"), Model("gemini-3.8-live"), tracer=tracer)
    session.feed(Dialing())
    ...
    for event in translator.events(message):
        session.feed(event)
    ...
    session.close(Close(1000, "bye", "client"))

Nothing here raises into the call or waits for anything. Not thread-safe: one session belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from time import perf_counter_ns, time_ns

from opentelemetry._logs import Logger
from opentelemetry.context import Context
from opentelemetry.trace import Tracer

from voicespan import events as ev
from voicespan.attributes import Model
from voicespan.content import Capture
from voicespan.emit import SessionSpans
from voicespan.events import Close, Event
from voicespan.guard import guarded, report
from voicespan.identity import Identity
from voicespan.lifecycle import Lifecycle
from voicespan.metrics import Metrics
from voicespan.operations import EndSession, Operation, SessionTotals, StartTurn
from voicespan.recent_audio import RecentAudio
from voicespan.recording import Recorder, Recordings
from voicespan.shape import TraceShape
from voicespan.stalls import STALL_AFTER_S

_NO_CODE = 1006  # where none was received


class VoiceSession:
    """One call: a state machine, its spans, and the clock they share.

    `parent` is the context of the span that the session is a child of; an empty one begins a trace of its own.
    `input_rate_hz` is the rate of the 16-bit mono audio that `audio_sent` counts. With a `logger` (of OpenTelemetry's
    Logs API) the session's events are log events too. `stall_after_s` is how long an answer may be due before it counts
    as missing; None looks for no stalls. `recordings` keep the sound of its turns, where content is captured on spans;
    by default nobody does. A `listener` is told each operation, for programs that show the call's progress to somebody.
    """

    __slots__ = (
        "__weakref__",
        "_epoch_ns",
        "_input_rate_hz",
        "_lifecycle",
        "_loop",
        "_metrics",
        "_recent",
        "_recorder",
        "_sent_before_turn",
        "_spans",
        "_timer",
        "_timer_due_ns",
        "began_ns",
        "listener",
    )

    def __init__(
        self,
        identity: Identity,
        model: Model,
        *,
        tracer: Tracer,
        capture: Capture | None = None,
        parent: Context | None = None,
        instructions: str = "",
        input_rate_hz: int = 16_000,
        metrics: Metrics | None = None,
        logger: Logger | None = None,
        shape: TraceShape | None = None,
        stall_after_s: float | None = STALL_AFTER_S,
        recordings: Recordings | None = None,
    ) -> None:
        # One wall-clock reading, then the monotonic clock: no duration in a trace can be bent by a clock that is set.
        self._epoch_ns = time_ns() - perf_counter_ns()
        self.began_ns = self.now_ns()
        _check_rate(input_rate_hz)
        self._lifecycle = Lifecycle(stall_after_s)
        self.listener: Callable[[Operation], None] | None = None
        self._input_rate_hz = input_rate_hz
        self._recent = RecentAudio(input_rate_hz, self._epoch_ns)
        self._sent_before_turn = 0  # bytes
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # the timer's
        self._timer_due_ns = 0
        capture = capture or Capture()
        self._recorder: Recorder | None = None
        if recordings and capture.on_spans:
            self._recorder = Recorder(recordings, identity.session_id, input_rate_hz)
        self._spans = SessionSpans(
            tracer,
            identity,
            model,
            capture,
            self._lifecycle.totals,
            parent=parent or Context(),
            start_ns=self.began_ns,
            instructions=instructions,
            shape=shape,
            logger=logger,
            recorder=self._recorder,
        )
        self._metrics = metrics.session(model, identity.backend, self.began_ns) if metrics else None

    def now_ns(self) -> int:
        """Nanoseconds since the epoch, monotonic within the session."""
        return self._epoch_ns + perf_counter_ns()

    @property
    def context(self) -> Context:
        """The session span's context: spans started in it belong to the session."""
        return self._spans.context

    @property
    def recorded(self) -> bool:
        """Whether the sound of its turns is kept."""
        return self._recorder is not None

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return self._spans.trace_id

    @property
    def totals(self) -> SessionTotals:
        """The counts so far."""
        return self._lifecycle.totals

    @property
    def cost_usd(self) -> float | None:
        """What the turns that are over have cost, in US dollars at list price; None while no price is known."""
        return self._spans.cost_usd

    @property
    def idle(self) -> bool:
        """Whether nobody speaks, answers, or is owed an answer."""
        return self._lifecycle.idle

    @property
    def turn(self) -> int | None:
        """The turn whose answer is being received, from 1; None between turns."""
        return self._lifecycle.turn_index

    def tool_context(self, call_id: str) -> Context | None:
        """The context to attach while a tool's handler runs; None for a call that is not open."""
        return self._spans.tool_context(call_id)

    @guarded(default=None)
    def input_rate(self, rate_hz: int) -> None:
        """The audio that follows has another rate than was said at the start, or before."""
        _check_rate(rate_hz)
        if rate_hz == self._input_rate_hz:
            return
        self._input_rate_hz = rate_hz
        self._recent.rate(rate_hz)
        if self._recorder:
            self._recorder.input_rate(rate_hz)

    def audio_sent(self, pcm: bytes | bytearray | memoryview, at_ns: int | None = None) -> None:
        """A frame of the user's audio went to the model, now or at `at_ns`: call it for each."""
        try:  # guarded here, as `guarded` would, at no cost
            if type(pcm) is not bytes:
                pcm = _samples(pcm)
            if self._recorder is not None:
                at_ns = self._epoch_ns + perf_counter_ns() if at_ns is None else int(at_ns)
                self._recorder.audio_sent(pcm, at_ns)
            self._recent.add(pcm, at_ns)
        except Exception as error:  # noqa: BLE001 - the edge: whatever it is, the call goes on
            report(error)

    @guarded(default=None)
    def audio_not_sent(self, size_bytes: int) -> None:
        """So much of what `audio_sent` was told never left: it is no audio sent, though the user may have said it."""
        self._recent.take_back(size_bytes)

    @property
    def unguarded_audio_sent(self) -> Callable[[bytes], None]:
        """`audio_sent` in the fewest steps, for who calls it from within a guard; the same for the whole session."""
        return self._recent.add if self._recorder is None else self.audio_sent

    def feed(self, event: Event, at_ns: int | None = None) -> None:
        """Something happened, now or at `at_ns`."""
        try:  # guarded here, as in `audio_sent`
            now_ns = self.now_ns() if at_ns is None else int(at_ns)  # a float's span no exporter takes
            # Most events are more of a voice, from which nothing follows.
            if type(event) is not ev.ModelAudio or not self._lifecycle.voice_goes_on(event, now_ns):
                self._step(event, now_ns)
            if self._recorder is not None:
                self._recorder.happened(event, now_ns, self._lifecycle.turn_index)
        except Exception as error:  # noqa: BLE001 - the edge: whatever it is, the call goes on
            report(error)

    def _step(self, event: Event, now_ns: int) -> None:
        goes_on = self._lifecycle.goes_on(event)
        if not goes_on:
            self._listen(event, now_ns)
        if operations := self._lifecycle.step(event, now_ns):
            self._carry_out(operations, event)
        # What goes on only puts off what is due, so a timer that is set comes early at worst.
        if not goes_on or self._timer is None:
            self._schedule()

    def _listen(self, event: Event, now_ns: int) -> None:
        """Look for the end of speech first, where that is due."""
        self._lifecycle.audio_since_turn = self._recent.sent_bytes > self._sent_before_turn
        if not self._lifecycle.wants_end_of_speech(event, now_ns):
            from_ns = self._lifecycle.listens_from_ns
            if from_ns is None or from_ns > now_ns:
                return
            self._lifecycle.listened(now_ns)
        if ended_ns := self._recent.end_of_speech_ns():
            ended = ev.EndOfSpeech()
            self._carry_out(self._lifecycle.step(ended, ended_ns), ended)

    def _carry_out(self, operations: Iterable[Operation], event: Event) -> None:
        for operation in operations:
            if isinstance(operation, StartTurn):
                self._sent_before_turn = self._recent.sent_bytes
                if not isinstance(event, ev.Interrupted):
                    # What was heard so far is this turn's; of an utterance that was taken back, more is to come.
                    self._recent.clear()
            self._emit(operation)
            if self.listener:
                self._tell(operation, self.listener)

    @staticmethod
    @guarded(default=None)
    def _tell(operation: Operation, listener: Callable[[Operation], None]) -> None:
        listener(operation)

    @guarded(default=None)
    def _emit(self, operation: Operation) -> None:
        context = self._spans.context_of(operation)
        input_audio_s = self._recent.duration_s
        self._spans.apply(operation, input_audio_s)
        if self._metrics:
            self._metrics.apply(operation, context, input_audio_s)
        if isinstance(operation, EndSession):
            self._recent.clear()  # tens of kilobytes, which are not to wait for whoever still holds the session

    def close(self, close: Close, error_type: str | BaseException | type[BaseException] | None = None) -> None:
        """The call is over: everything that is open ends. Later events are ignored.

        Of an exception the name of its class is told, and nothing of its words.
        """
        if isinstance(error_type, BaseException):
            error_type = type(error_type)
        if isinstance(error_type, type):
            error_type = error_type.__name__
        self.feed(ev.SessionClosed(_known_close(close), error_type))

    def _schedule(self) -> None:
        """Be there when books have to close, or an answer is overdue. Without a running loop the next event is."""
        due_ns = self._lifecycle.deadline_ns
        if self._timer:
            comes_early = due_ns is None or due_ns >= self._timer_due_ns
            # A resumed session may go on in another run of asyncio's, where the timer of the one before never comes.
            if comes_early and not self._lifecycle.closed and _running_loop() in (self._loop, None):
                return  # it looks again: a loop keeps what is cancelled until it would have come
            self._timer.cancel()
            self._timer = None
        if due_ns is None or (loop := _running_loop()) is None:
            return
        self._loop = loop
        self._timer_due_ns = due_ns
        self._timer = loop.call_later(max(0.0, (due_ns - self.now_ns()) / 1e9), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.feed(ev.Tick())


def _samples(pcm: bytes | bytearray | memoryview) -> bytes:
    """A copy of a sound card's buffer, say, which is filled again before it is looked at."""
    samples = memoryview(pcm)
    if samples.itemsize > 2:
        raise TypeError(f"audio_sent takes 16-bit samples, got {samples.itemsize} bytes each ({samples.format})")
    return bytes(samples)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _known_close(close: object) -> Close:
    """As it is told: the session's span is to end also where a program has no `Close`, or a framework no code."""
    if not isinstance(close, Close):
        report(TypeError(f"close takes a voicespan.Close(code, reason, initiator), got {type(close).__name__}"))
        return Close(_NO_CODE, "", "server")
    if None not in (close.code, close.reason):
        return close
    return Close(close.code or _NO_CODE, close.reason or "", close.initiator)


def _check_rate(rate_hz: int) -> None:
    if rate_hz <= 0:
        raise ValueError(f"input_rate_hz must be the samples per second of the user's audio, got {rate_hz}")
