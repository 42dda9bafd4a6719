"""The lifecycle of a live session: events in, operations out. Pure: no clock, no I/O, no OpenTelemetry.

Every order of events is legal. Whatever comes, each operation that was opened is ended exactly once, what is not
attributable to a turn is told as a happening or a total and to no turn, and after `SessionClosed` nothing happens.

How a turn runs. Its start is found when the model's first output arrives, from what is known of the user's words by
then. Its end is the end of generation (`GenerationComplete`, `Interrupted`, the last output, or the connection's
end); its books stay open for the provider's `TurnComplete`, which brings the usage, and for a short grace after it
where the usage, or the client's word on what was heard, is late. A turn is told once, when its books close.

An answer that is due and does not come is a stall: it is told when it is found, and its turn ends as stalled unless
the answer comes after all. Nothing is due while the user speaks, a tool runs, or the model said that it waits.
"""

from __future__ import annotations

from dataclasses import replace

from voicespan import events as ev
from voicespan import operations as op
from voicespan.books import Books
from voicespan.connections import Connections
from voicespan.operations import Anomaly, EndReason, InterruptionCause, StallKind, StartSource
from voicespan.stalls import STALL_AFTER_S, Watchdog
from voicespan.turns import MAX_TOOLS_IN_RECORD, Tool, Turn, Words
from voicespan.usage import counted

_MARKS_OF_THE_END = {StartSource.ACTIVITY_END, StartSource.AUDIO_STREAM_END, StartSource.ACOUSTIC}
_ANSWERED_NEXT = {None, InterruptionCause.TOOL_RESPONSE}
_OF_AN_ANSWER = ev.OUTPUTS | {ev.ToolResponse, ev.GenerationComplete, ev.UsageReport}


class Lifecycle:
    """The state machine of one session. `step` takes what happened and when, and says what is to be told.

    `stall_after_s` is how long an answer may be due; None looks for no stalls.
    """

    __slots__ = (
        "_books",
        "_client_marks_speech",
        "_closed",
        "_connections",
        "_lacking_ns",
        "_ops",
        "_speech_began_ns",
        "_speech_ended_ns",
        "_stepped_ns",
        "_tools",
        "_totals",
        "_turn",
        "_watchdog",
        "_words",
        "audio_since_turn",
    )

    def __init__(self, stall_after_s: float | None = STALL_AFTER_S) -> None:
        self._watchdog = Watchdog(stall_after_s)
        self._words = Words()
        self._turn: Turn | None = None
        self._books = Books()
        self._tools: dict[str, tuple[Tool, Turn]] = {}  # those that run, and whose they are
        self._totals = self._books.totals
        self._connections = Connections()
        # Whether audio of the user's was sent since a turn last began: set by whoever knows, before a `step`.
        self.audio_since_turn = False
        self._speech_began_ns = self._speech_ended_ns = -1
        # When a turn that is over, and lacks the words it answers, began to answer.
        self._lacking_ns = -1
        self._client_marks_speech = False
        self._stepped_ns = 0
        self._closed = False
        self._ops: list[op.Operation] = []

    @property
    def deadline_ns(self) -> int | None:
        """When the next `Tick` is due; None where nothing waits for time to pass."""
        if self._closed:
            return None
        due_ns = self._books.deadline_ns if self._books.open else None
        if self._watchdog.after_ns is None:
            return due_ns
        if (stall := self._stall()) and (due_ns is None or stall[0] < due_ns):
            due_ns = stall[0]
        listens_ns = self.listens_from_ns
        if listens_ns is not None and (due_ns is None or listens_ns < due_ns):
            due_ns = listens_ns
        return due_ns

    @property
    def closed(self) -> bool:
        """Whether the session is over."""
        return self._closed

    @property
    def turn_index(self) -> int | None:
        """The turn whose answer is being received, from 1; None between turns."""
        return self._turn.index if self._turn else None

    def goes_on(self, event: ev.Event) -> bool:
        """Whether an event is of the words or the answer that are being received.

        Then there is nothing to look for first, and nothing is due sooner than it was.
        """
        turn = self._turn
        if turn is None:
            return type(event) is ev.InputTranscript and self._connections.silent_since_ns is None
        return turn.interrupted_ns is None and type(event) in _OF_AN_ANSWER

    def wants_end_of_speech(self, event: ev.Event, at_ns: int) -> bool:
        """Whether to look first for the end of speech, which nobody marked.

        Due when the provider decides that speech has ended, and, where that told nothing, when a turn begins.
        """
        output = type(event) in ev.OUTPUTS
        if self._turn and (self._turn.interrupted_ns is None or not output):
            return False
        if not output and not self._ends_speech(event, at_ns):
            return False
        words = self._words
        marked = words.at_ns and _MARKS_OF_THE_END & words.at_ns.keys()
        return not marked and (words.spoken or (self.audio_since_turn and not words.at_ns))

    def _ends_speech(self, event: ev.Event, at_ns: int) -> bool:
        """Whether an event that is no output tells of the end of speech, or of a turn without output."""
        match event:
            case ev.ActivityEnd(origin):
                return origin == "server"
            case ev.TurnComplete() | ev.WaitingForInput() | ev.UsageReport(completes_turn=True):
                return self._words.expect_answer
            case ev.Tick():
                return (stall := self._stall()) is not None and stall[0] <= at_ns
            case _:
                return False

    @property
    def listens_from_ns(self) -> int | None:
        """When to look for speech in the audio that was sent, though the provider tells of none; see `stalls`."""
        return self._watchdog.listens_from_ns(self._turn, self._words, self._connections)

    @property
    def totals(self) -> op.SessionTotals:
        """The counts so far."""
        return self._totals

    @property
    def idle(self) -> bool:
        """Whether nobody speaks, answers, or is owed an answer."""
        return self._turn is None and not self._tools and not self._words.expect_answer and not self._speaking

    @property
    def _speaking(self) -> bool:
        return self._speech_began_ns > self._speech_ended_ns

    def listened(self, at_ns: int) -> None:
        """Speech was looked for, as `listens_from_ns` asked; whether there was any is told by an `EndOfSpeech`."""
        self._watchdog.listened_ns = at_ns

    def step(self, event: ev.Event, at_ns: int) -> list[op.Operation]:
        """Tell what happened at `at_ns`; returns the operations that follow, in order."""
        if self._closed:
            return []
        if self._books.open:
            self._ops += self._books.expire(at_ns)
        # A stall is a silence: where something happened a moment ago, only a Tick that was asked for can find one.
        after_ns = self._watchdog.after_ns
        if after_ns is not None and (isinstance(event, ev.Tick) or at_ns - self._stepped_ns >= after_ns):
            self._look_for_stall(at_ns)
        self._stepped_ns = at_ns
        self._apply(event, at_ns)
        if not self._ops:
            return []
        done, self._ops = self._ops, []
        return done

    def voice_goes_on(self, event: ev.ModelAudio, now: int) -> bool:
        """Whether all that a chunk tells is that the answer goes on, which nearly all do: then that is noted.

        The same as `step` does with it, in a third of the steps; nothing follows from it, and nothing new is due.
        """
        turn, after_ns = self._turn, self._watchdog.after_ns
        if turn is None or self._books.open or (after_ns is not None and now - self._stepped_ns >= after_ns):
            return False
        if not turn.voice_goes_on(event, now):
            return False
        self._connections.silent_since_ns = None
        self._stepped_ns = now
        return True

    def _apply(self, event: ev.Event, now: int) -> None:
        if type(event) in ev.FROM_PROVIDER:
            self._connections.silent_since_ns = None
        match event:
            # What comes with every turn first: each pattern that does not match takes its time.
            case ev.OutputTranscript(text):
                self._on_output_transcript(text, now)
            case ev.InputTranscript(text):
                self._on_input_transcript(text, now)
            case ev.ModelAudio():
                self._answering(now).audio(event, now)
            case ev.ToolCall():
                self._on_tool_call(event, now)
            case ev.ToolResponse():
                self._on_tool_response(event, now)
            case ev.UsageReport():
                self._on_usage(event, now)
            case ev.GenerationComplete():
                self._on_generation_complete(now)
            case ev.TurnComplete():
                self._on_turn_complete(event, now)
            case ev.ModelText(text):
                writing = self._answering(now)
                writing.said(text)
                writing.wrote = True
            case ev.Thought():
                self._answering(now)
            case ev.ActivityStart(origin):
                self._on_speech_began(origin, now)
            case ev.ActivityEnd(origin):
                self._on_speech_ended(origin, now)
            case ev.EndOfSpeech():
                self._on_end_of_speech(now)
            case ev.AudioStreamEnd():
                self._on_spoken(StartSource.AUDIO_STREAM_END, now)
            case ev.UserText(text):
                self._give_up_silent(now)
                self._speech_ended_ns = max(now, self._speech_began_ns)  # who types speaks no more
                self._words.at_ns = {StartSource.CLIENT_CONTENT: now}
                self._words.add_apart(text)
            case ev.ToolCancelled(call_id):
                self._end_tool(call_id, ev.ToolOutcome.CANCELLED, now)
            case ev.Grounded(searches):
                if turn := self._turn:
                    turn.searches = max(turn.searches, searches)
            case ev.Interrupted():
                self._on_interrupted(now)
            case ev.WaitingForInput():
                if self._turn or self._words.expect_answer:
                    (self._turn or self._begin_turn(now)).waiting = True
            case _:
                self._apply_around(event, now)

    def _apply_around(self, event: ev.Event, now: int) -> None:
        """What is not of the conversation itself: the client's playback, the connections, the session."""
        match event:
            case ev.PlaybackStarted() | ev.PlaybackStopped():
                self._on_playback(event, now)
            case ev.Dialing():
                self._ops += self._connections.on_dialing(event, now)
                self._totals.connections += 1
                self._totals.reconnects += self._connections.index > 1
            case ev.Connected():
                self._ops += self._connections.on_connected(now)
            case ev.Disconnected():
                self._on_disconnected(event, now)
            case ev.GoAway(time_left_s):
                self._connections.going_away = event
                self._ops.append(op.GoingAway(now, time_left_s))
            case ev.InputDropped(duration_s):
                self._totals.dropped_audio_s += duration_s
            case ev.Unreadable(error_type):
                self._ops.append(op.Odd(now, Anomaly.UNREADABLE_MESSAGE, error_type))
            case ev.SessionClosed():
                self._on_session_closed(event, now)
            case ev.Resumption() | ev.Tick():
                pass
            case _:
                given = event if isinstance(event, type) else type(event)
                raise TypeError(f"feed takes an event of voicespan.events, such as TurnComplete(), got {given}")

    # --- the user -------------------------------------------------------------------------------------------------

    def _on_speech_began(self, origin: ev.Origin, now: int) -> None:
        marked = StartSource.ACTIVITY_END in self._words.at_ns
        if origin == "server" and self._client_marks_speech and marked and self._turn is None:
            return  # the echo of the client's mark of a short utterance, behind the mark of its end
        self._give_up_silent(now)
        self._speech_began_ns = now
        self._client_marks_speech = origin == "client"
        self._words.go_on()
        if self._turn and self._turn.answer.first_ns is not None:
            self._turn.answer.talked_over_ns = now

    def _on_speech_ended(self, origin: ev.Origin, now: int) -> None:
        began = self._speech_began_ns
        if origin == "client" and self._client_marks_speech and self._speaking:
            self._words.speech_ns = (began, max(began, now))
        self._on_spoken(StartSource.ACTIVITY_END if origin == "client" else StartSource.SERVER_ACTIVITY_END, now)

    def _on_spoken(self, source: StartSource, now: int) -> None:
        self._give_up_silent(now)
        self._speech_ended_ns = max(now, self._speech_began_ns)
        self._words.at_ns[source] = now
        self._words.spoken = True

    def _on_end_of_speech(self, now: int) -> None:
        """What was found in the audio: the end of what was heard and transcribed, unless it is later than that."""
        heard = (StartSource.SERVER_ACTIVITY_END, StartSource.INPUT_TRANSCRIPTION)
        if any(now > self._words.at_ns.get(source, now) for source in heard):
            return  # the user speaks again; where the words ended that this answers cannot be told
        self._on_spoken(StartSource.ACOUSTIC, now)

    def _on_input_transcript(self, text: str, now: int) -> None:
        turn = self._turn
        if turn and self._transcribes(turn):
            words = turn.words
            words.late = turn.first_output_ns is not None
        elif 0 <= self._speech_began_ns < self._lacking_ns:
            waiting = self._books.waiting_for_question()
            if waiting is None:
                self._ops.append(op.Odd(now, Anomaly.LATE_TRANSCRIPT))
                return
            words = waiting.words
            words.late = True
        else:
            self._give_up_silent(now)
            words = self._words
        words.add(text)
        words.spoken = self._books.hears = True
        words.at_ns[StartSource.INPUT_TRANSCRIPTION] = now

    def _transcribes(self, turn: Turn) -> bool:
        """Whether an input transcript that comes now is of the words that this turn answers.

        Recorded: it comes before the turn's first output, and one that comes later is the next turn's. Where nobody
        spoke since, and the turn lacks its words or speech is marked, they are late; but not as late as an answer that
        is overdue.
        """
        if turn.stalled:
            return False
        if turn.first_output_ns is None and turn.cause is None:
            return True
        began_ns, since_ns = self._speech_began_ns, turn.first_output_ns or turn.start_ns
        told_late = turn.words.lacking or began_ns >= 0
        return turn.words.spoken and told_late and turn.cause is None and began_ns < since_ns

    def _give_up_silent(self, now: int) -> None:
        """The user says something new, whatever became of the answer that was due."""
        if self._turn and self._turn.given_up:
            self._retire(now)

    # --- the model ------------------------------------------------------------------------------------------------

    def _answering(self, now: int) -> Turn:
        """The turn that an output belongs to; begins one where none is open."""
        if self._turn and self._turn.interrupted_ns is not None:
            # Output after an interruption answers something else, whether or not TurnComplete came between.
            self._retire(now)
        turn = self._turn or self._begin_turn(now)
        turn.output(now)
        return turn

    def _on_output_transcript(self, text: str, now: int) -> None:
        """Words of the model: output, but for those that come behind the voice that said them."""
        self._books.transcribes = True
        turn = self._turn
        if (
            turn
            and turn.generated_ns is not None
            and not turn.in_progress
            and not turn.awaits_output
            and not turn.cause
        ):
            turn.said(text)
            return
        nothing_new = not turn and not self._words.expect_answer and not self._words.tool_answer_due
        if nothing_new and (late := self._books.waiting_for_words()):
            late.said(text)
            return
        if not turn and self._speaking:
            # Nobody is answered before they are done: it is of an answer that was told.
            self._ops.append(op.Odd(now, Anomaly.LATE_TRANSCRIPT))
            return
        self._answering(now).said(text)

    def _begin_turn(self, now: int) -> Turn:
        fallback = StartSource.FIRST_OUTPUT if self.audio_since_turn else StartSource.MODEL_INITIATED
        source, start_ns = self._words.start(now, fallback)
        turn = Turn(self._totals.turns + 1, source, start_ns, self._words)
        self._words = Words()
        self.audio_since_turn = False
        self._turn = turn
        self._totals.turns += 1
        self._ops.append(op.StartTurn(turn.index, turn.start_ns))
        return turn

    def _on_usage(self, event: ev.UsageReport, now: int) -> None:
        usage = counted(event.usage)
        owed = self._books.waiting_for_usage()
        if event.completes_turn:
            if self._turn is None and self._words.expect_answer:
                self._begin_turn(now)
            owner = self._turn or owed
        else:
            owner = owed or self._turn
        if owner is None:
            self._totals.usage += usage
            self._ops.append(op.LooseUsage(now, usage))
            return
        owner.report = usage
        self._ops += self._books.settle(owner, now)

    def _on_interrupted(self, now: int) -> None:
        turn = self._turn
        if turn is None and self._words.text and self._words.spoken:
            # The end of an utterance taken back: what follows is its empty turn.
            turn = self._begin_turn(now)
        if turn is None:
            # The answer was already told and exported; it was cut while it was being played.
            self._totals.interruptions += 1
            cause = self._interrupted_by()
            self._totals.barge_ins += cause is InterruptionCause.SPEECH
            self._ops.append(op.LateInterruption(now, cause, self._totals.turns))
            return
        if turn.interrupted_ns is not None:
            return
        if turn.generating:
            turn.generation_goes_on(now)
        turn.interrupted_ns = now
        turn.generating = False
        responded_ns = turn.interrupting_response_ns or (turn.tool_response_ns if turn.awaits_output else None)
        if turn.first_output_ns is None:
            turn.cause = InterruptionCause.RETRACTED
        elif responded_ns is not None and self._speech_began_ns < responded_ns:
            turn.cause = InterruptionCause.TOOL_RESPONSE
        else:
            turn.cause = self._interrupted_by()
            self._totals.barge_ins += turn.cause is InterruptionCause.SPEECH
        self._totals.interruptions += 1

    def _interrupted_by(self) -> InterruptionCause:
        typed_ns = self._words.at_ns.get(StartSource.CLIENT_CONTENT)
        typed = typed_ns is not None and typed_ns > self._speech_began_ns
        return InterruptionCause.TEXT if typed else InterruptionCause.SPEECH

    def _on_generation_complete(self, now: int) -> None:
        turn = self._turn
        if turn and turn.interrupted_ns is None and turn.first_output_ns is not None:
            turn.generated_ns = now
            turn.generating = False
            turn.generation_goes_on(now)

    def _on_turn_complete(self, event: ev.TurnComplete, now: int) -> None:
        turn = self._turn
        if turn is None:
            if not self._words.expect_answer:
                self._ops.append(op.Odd(now, Anomaly.TURN_COMPLETE_WITHOUT_TURN))
                return
            turn = self._begin_turn(now)
        turn.generating = False
        if event.in_progress:
            turn.in_progress = True
            return
        turn.finish_reason = event.reason
        if turn.first_output_ns is None and turn.cause is None and not turn.waiting and event.reason is None:
            turn.stalled_ns = None
            self._found_stall(turn, StallKind.EMPTY_TURN, now)
        if turn.cut_short:
            self._ops.append(op.Odd(now, Anomaly.ANSWER_CUT_SHORT))
        self._retire(now)

    # --- stalls ---------------------------------------------------------------------------------------------------

    def _stall(self) -> tuple[int, StallKind] | None:
        """When an answer will have been due for too long, and what it would be; None where none is due."""
        return None if self._speaking else self._watchdog.stall(self._turn, self._words, self._connections)

    def _look_for_stall(self, now: int) -> None:
        if (stall := self._stall()) and stall[0] <= now:
            found_ns, kind = stall
            self._found_stall(self._turn or self._begin_turn(found_ns), kind, found_ns)

    def _found_stall(self, turn: Turn, kind: StallKind, now: int) -> None:
        turn.stall_kind = kind
        turn.stalled_ns = now
        self._totals.stalls += 1
        self._ops.append(op.Stalled(now, kind, turn.index))

    def _retire(self, now: int) -> None:
        """No more output will come for the current turn."""
        turn, self._turn = self._turn, None
        if turn is None:
            return
        self._watchdog.free_ns = now
        if turn.words.spoken and turn.first_output_ns is not None:
            self._lacking_ns = turn.first_output_ns if turn.words.lacking else -1
        answered_next = turn.cause in _ANSWERED_NEXT
        if turn.awaits_output and answered_next and not turn.stalled and turn.tool_response_ns is not None:
            # Vertex closes the half of a turn that called the tool after it was answered, and a tool that did not
            # block interrupts the filler: the answer is another turn.
            self._words.at_ns.setdefault(StartSource.TOOL_RESPONSE, turn.tool_response_ns)
            self._words.tool_answer_due = True
        self._ops += self._books.add(turn, now)

    # --- what the client plays ------------------------------------------------------------------------------------

    def _on_playback(self, event: ev.PlaybackStarted | ev.PlaybackStopped, now: int) -> None:
        self._books.reports_playback = True
        turn = next((t for t in (self._turn, *self._books.open) if t and t.index == event.turn), None)
        if turn is None:
            return  # it was told, or never was
        if isinstance(event, ev.PlaybackStarted):
            turn.answer.playback_ns = turn.answer.playback_ns or now
            return
        turn.answer.stopped_ns, turn.answer.played_s = now, event.played_s
        self._ops += self._books.settle(turn, now)

    # --- tools ----------------------------------------------------------------------------------------------------

    def _on_tool_call(self, call: ev.ToolCall, now: int) -> None:
        if call.call_id in self._tools:
            self._ops.append(op.Odd(now, Anomaly.DUPLICATE_TOOL_CALL))
            return
        turn = self._answering(now)
        tool = Tool(call)
        self._tools[call.call_id] = tool, turn
        if call.blocking:
            turn.tool_began(now)
        if len(turn.tools) < MAX_TOOLS_IN_RECORD:
            turn.tools.append(tool)
        self._totals.tool_calls += 1
        self._ops.append(op.StartTool(call.call_id, turn.index, now, call.name, call.arguments, call.blocking))

    def _on_tool_response(self, response: ev.ToolResponse, now: int) -> None:
        found = self._tools.get(response.call_id)
        if found is None:
            self._ops.append(op.Odd(now, Anomaly.TOOL_RESPONSE_WITHOUT_CALL))
            return
        tool, turn = found
        tool.response = response
        tool.responses += 1
        if tool.call.blocking:
            turn.tool_response_ns = now
            turn.awaits_output = True
            turn.generating = False
        elif response.scheduling == "interrupt" and self._turn:
            self._turn.interrupting_response_ns = now
        if (turn is not self._turn or not tool.call.blocking) and response.scheduling != "silent":
            self._words.at_ns[StartSource.TOOL_RESPONSE] = now
            # An answer under way may have room for it; otherwise one is due.
            self._words.tool_answer_due = self._turn is None or response.scheduling == "interrupt"
        if response.final:
            self._end_tool(response.call_id, response.outcome, now)

    def _end_tool(self, call_id: str, outcome: ev.ToolOutcome, now: int) -> None:
        found = self._tools.pop(call_id, None)
        if found is None:
            return
        tool, turn = found
        if not self._tools:
            self._tools.clear()  # lets go of its table
        tool.outcome = outcome
        response = tool.response
        result, error = (response.result, response.error) if response else ({}, None)
        self._ops.append(op.EndTool(call_id, now, outcome, result, error, tool.responses))
        if not tool.call.blocking:
            return
        turn.tool_ended(now)
        if not turn.open_tools:
            self._ops += self._books.tool_ended(turn, now)

    # --- connection and session -----------------------------------------------------------------------------------

    def _on_disconnected(self, event: ev.Disconnected, now: int) -> None:
        going_away = self._connections.going_away
        ops = self._connections.on_disconnected(event, now)
        self._ops += ops
        if not any(isinstance(operation, op.ConnectionEnded) for operation in ops):
            return
        close = event.close
        if going_away:
            self._cut(EndReason.GO_AWAY, None, now)
        elif close.initiator == "provider":
            self._cut(EndReason.ERROR, event.error_type or f"close_{close.code}", now)
        else:
            self._cut(EndReason.SESSION_CLOSED, None, now)

    def _cut(self, reason: EndReason, error_type: str | None, now: int) -> None:
        """Nothing more will come over this connection: end what is open."""
        self._lacking_ns = -1  # what is heard over another connection may have begun before it
        for call_id in list(self._tools):
            self._end_tool(call_id, ev.ToolOutcome.ORPHANED, now)
        if self._turn is None and self._words.expect_answer:
            self._begin_turn(now)
        turn = self._turn
        if turn:
            told = turn.cause is not None or turn.generated_ns is not None
            if not told and not (turn.stalled and reason is EndReason.SESSION_CLOSED):
                turn.reason, turn.error_type = reason, error_type
                turn.generated_ns = now if turn.first_output_ns is None else turn.last_output_ns
            self._turn = None
            self._books.open.append(turn)
        for open_turn in list(self._books.open):
            self._ops += self._books.close(open_turn, now)

    def _on_session_closed(self, event: ev.SessionClosed, now: int) -> None:
        reason = EndReason.ERROR if event.error_type else EndReason.SESSION_CLOSED
        self._ops += self._connections.end_dial(now, event.close, event.error_type)
        self._cut(reason, event.error_type, now)
        if self._words.text:
            self._cut(reason, event.error_type, now)  # what was said over that answer, which nobody answers now
        self._ops.append(op.EndSession(now, event.close, event.error_type, replace(self._totals)))
        self._closed = True
