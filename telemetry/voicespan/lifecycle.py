"""The lifecycle of a live session: events in, operations out. Pure: no clock, no I/O, no OpenTelemetry.

Every order of events is legal. Whatever comes, each operation that was opened is ended exactly once, what is not
attributable to a turn is told as a note or a total and to no turn, and after `SessionClosed` nothing happens.

How a turn runs. Its start is found when the model's first output arrives, from what is known of the user's words by
then. Its end is the end of generation (`GenerationComplete`, `Interrupted`, the last output, or the connection's
end); its books stay open for the provider's `TurnComplete`, which brings the usage, and for a short grace after it
where the usage is late. A turn is told once, when its books close.
"""

from __future__ import annotations

from dataclasses import replace

from voicespan import events as ev
from voicespan import operations as op
from voicespan.operations import EndReason, InterruptionCause, StartSource
from voicespan.turns import AUDIBLE_S, MAX_TOOLS_IN_RECORD, Heard, Tool, Turn

# How long a turn's books stay open after TurnComplete for usage that did not come with it.
USAGE_GRACE_NS = 500_000_000


class Lifecycle:
    """The state machine of one session. `step` takes what happened and when, and says what is to be told."""

    def __init__(self) -> None:
        self._heard = Heard()
        self._turn: Turn | None = None
        self._closing: list[Turn] = []
        self._tools: dict[str, Tool] = {}
        self._totals = op.SessionTotals()
        self._connection = 0
        self._dialing: tuple[ev.Dialing, int] | None = None
        self._served_until_ns: int | None = None
        self._former_close: ev.Close | None = None
        self._go_away: ev.GoAway | None = None
        self._audio_since_turn = False
        self._speech_began_ns = self._speech_ended_ns = -1
        self._closed = False
        self._ops: list[op.Operation] = []

    @property
    def deadline_ns(self) -> int | None:
        """When the next `Tick` is due; None where nothing waits for time to pass."""
        return min((t.deadline_ns for t in self._closing if t.deadline_ns is not None), default=None)

    @property
    def turn_index(self) -> int | None:
        """The turn whose answer is being received, from 1; None between turns."""
        return self._turn.index if self._turn else None

    @property
    def wants_end_of_speech(self) -> bool:
        """Whether an output that came now would begin a turn that answers speech whose end nobody marked."""
        if self._turn and self._turn.interrupted_ns is None:
            return False
        heard = self._heard
        marked = {StartSource.ACTIVITY_END, StartSource.AUDIO_STREAM_END, StartSource.ACOUSTIC} & heard.at_ns.keys()
        return not marked and (heard.spoken or (self._audio_since_turn and not heard.at_ns))

    @property
    def totals(self) -> op.SessionTotals:
        """The counts so far."""
        return self._totals

    @property
    def idle(self) -> bool:
        """Whether nobody speaks, answers, or is owed an answer."""
        speaking = self._speech_began_ns > self._speech_ended_ns
        return self._turn is None and not self._tools and not self._heard.expects_answer and not speaking

    def audio_sent(self) -> None:
        """The user's microphone is open; called as often as one likes."""
        self._audio_since_turn = True

    def step(self, event: ev.Event, at_ns: int) -> list[op.Operation]:
        """Tell what happened at `at_ns`; returns the operations that follow, in order."""
        if self._closed:
            return []
        self._expire(at_ns)
        self._apply(event, at_ns)
        done, self._ops = self._ops, []
        return done

    def _apply(self, event: ev.Event, now: int) -> None:
        match event:
            case ev.ModelAudio():
                self._on_audio(event, now)
            case ev.OutputTranscript(text) | ev.ModelText(text):
                self._answering(now).model_text.add(text)
            case ev.Thought():
                self._answering(now)
            case ev.InputTranscript(text):
                self._on_input_transcript(text, now)
            case ev.ActivityEnd(origin):
                source = StartSource.ACTIVITY_END if origin == "client" else StartSource.SERVER_ACTIVITY_END
                self._on_spoken(source, now)
            case ev.EndOfSpeech():
                self._on_spoken(StartSource.ACOUSTIC, now)
            case ev.AudioStreamEnd():
                self._on_spoken(StartSource.AUDIO_STREAM_END, now)
            case ev.UserText(text):
                self._heard.at_ns = {StartSource.CLIENT_CONTENT: now}
                self._heard.text.add(text)
            case ev.ToolCall():
                self._on_tool_call(event, now)
            case ev.ToolResponse():
                self._on_tool_response(event, now)
            case ev.ToolCancelled(call_id):
                self._end_tool(call_id, ev.ToolOutcome.CANCELLED, now)
            case ev.UsageReport():
                self._on_usage(event, now)
            case ev.Interrupted():
                self._on_interrupted(now)
            case ev.GenerationComplete():
                self._on_generation_complete(now)
            case ev.TurnComplete():
                self._on_turn_complete(event, now)
            case ev.WaitingForInput():
                if self._turn or self._heard.expects_answer:
                    (self._turn or self._begin_turn(now)).waiting = True
            case ev.ActivityStart():
                self._speech_began_ns = now
                self._heard.speaks_again()
            case ev.Dialing() | ev.Connected() | ev.Disconnected():
                self._on_connection(event, now)
            case ev.GoAway(time_left_s):
                self._go_away = event
                self._note("go_away", now, {} if time_left_s is None else {"time_left": time_left_s})
            case ev.SessionClosed():
                self._on_session_closed(event, now)
            case ev.Resumption() | ev.Tick():
                pass

    # --- the user -------------------------------------------------------------------------------------------------

    def _on_spoken(self, source: StartSource, now: int) -> None:
        self._speech_ended_ns = max(now, self._speech_began_ns)
        self._heard.at_ns[source] = now
        self._heard.spoken = True

    def _on_input_transcript(self, text: str, now: int) -> None:
        # Recorded: a turn's input transcript comes before its first output; one that comes later is the next turn's.
        heard = self._heard
        if self._turn and self._turn.first_output_ns is None:
            heard = self._turn.heard
        heard.text.add(text)
        heard.spoken = True
        heard.at_ns[StartSource.INPUT_TRANSCRIPTION] = now

    # --- the model ------------------------------------------------------------------------------------------------

    def _on_audio(self, event: ev.ModelAudio, now: int) -> None:
        turn = self._answering(now)
        turn.audio_s += event.duration_s
        if turn.first_audio_ns is None and turn.audio_s >= AUDIBLE_S:
            turn.first_audio_ns = now

    def _answering(self, now: int) -> Turn:
        """The turn that an output belongs to; begins one where none is open."""
        if self._turn and self._turn.interrupted_ns is not None:
            # Output after an interruption answers something else, whether or not TurnComplete came between.
            self._retire(now)
        turn = self._turn or self._begin_turn(now)
        turn.output(now)
        return turn

    def _begin_turn(self, now: int) -> Turn:
        fallback = StartSource.FIRST_OUTPUT if self._audio_since_turn else StartSource.MODEL_INITIATED
        source, start_ns = self._heard.start(now, fallback)
        turn = Turn(self._totals.turns + 1, source, start_ns, self._heard)
        self._heard = Heard()
        self._audio_since_turn = False
        self._turn = turn
        self._totals.turns += 1
        self._ops.append(op.StartTurn(turn.index, turn.start_ns))
        return turn

    def _on_usage(self, event: ev.UsageReport, now: int) -> None:
        owed = next((t for t in self._closing if t.deadline_ns is not None), None)
        if event.completes_turn:
            if self._turn is None and self._heard.expects_answer:
                self._begin_turn(now)
            owner = self._turn or owed
        else:
            owner = owed or self._turn
        if owner is None:
            self._totals.usage += event.usage
            self._ops.append(op.LooseUsage(now, event.usage))
            return
        owner.report = event.usage
        if owner is not self._turn:
            self._close_books(owner, now)

    def _on_interrupted(self, now: int) -> None:
        turn = self._turn
        if turn is None and self._heard.text and self._heard.spoken:
            # The end of an utterance taken back: what follows is its empty turn.
            turn = self._begin_turn(now)
        if turn is None:
            # The answer was already told and exported; it was cut while it was being played.
            self._totals.interruptions += 1
            cause = self._interrupted_by()
            self._totals.barge_ins += cause is InterruptionCause.SPEECH
            self._note("late_interruption", now, {"cause": cause.value})
            return
        if turn.interrupted_ns is not None:
            return
        if turn.generating:
            turn.generation_goes_on(now)
        turn.interrupted_ns = now
        turn.generating = False
        if turn.first_output_ns is None:
            turn.cause = InterruptionCause.RETRACTED
        elif turn.awaits_output and self._speech_began_ns < (turn.tool_response_ns or 0):
            turn.cause = InterruptionCause.TOOL_RESPONSE
        else:
            turn.cause = self._interrupted_by()
            self._totals.barge_ins += turn.cause is InterruptionCause.SPEECH
        self._totals.interruptions += 1

    def _interrupted_by(self) -> InterruptionCause:
        typed_ns = self._heard.at_ns.get(StartSource.CLIENT_CONTENT)
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
            if not self._heard.expects_answer:
                self._note("turn_complete_without_turn", now)
                return
            turn = self._begin_turn(now)
        turn.generating = False
        if event.in_progress:
            return
        turn.finish_reason = event.reason
        if turn.first_output_ns is None and turn.cause is None and not turn.waiting and event.reason is None:
            turn.stall_kind = "empty_turn"
        self._retire(now)

    # --- closing a turn's books -----------------------------------------------------------------------------------

    def _retire(self, now: int) -> None:
        """No more output will come for the current turn: close its books, or wait for what is owed."""
        turn = self._turn
        if turn is None:
            return
        self._turn = None
        answered_next = turn.cause in {None, InterruptionCause.TOOL_RESPONSE}
        if turn.awaits_output and answered_next and turn.tool_response_ns is not None:
            # Vertex closes the half of a turn that called the tool after it was answered, and a tool that did not
            # block interrupts the filler: the answer is another turn.
            self._heard.at_ns.setdefault(StartSource.TOOL_RESPONSE, turn.tool_response_ns)
        self._closing.append(turn)
        if turn.usage is None and turn.report is None:
            turn.deadline_ns = now + USAGE_GRACE_NS
        else:
            self._close_books(turn, now)

    def _expire(self, now: int) -> None:
        for turn in [t for t in self._closing if t.deadline_ns is not None and t.deadline_ns <= now]:
            self._close_books(turn, now)

    def _close_books(self, turn: Turn, now: int) -> None:
        turn.deadline_ns = None
        if turn.open_tools:
            return  # Children lie inside their parents: the last tool to end closes the turn.
        self._closing.remove(turn)
        turn.book_report()
        record = turn.record(now)
        if record.time_to_first_audio_s is not None:
            self._totals.times_to_first_audio_s.append(record.time_to_first_audio_s)
        self._totals.generations += turn.generations
        self._totals.output_audio_s += turn.audio_s
        if turn.usage is None:
            self._totals.turns_without_usage += 1
        else:
            self._totals.usage += turn.usage
        self._ops.append(op.EndTurn(record))

    # --- tools ----------------------------------------------------------------------------------------------------

    def _on_tool_call(self, call: ev.ToolCall, now: int) -> None:
        if call.call_id in self._tools:
            self._note("duplicate_tool_call", now, {"call_id": call.call_id})
            return
        turn = self._answering(now)
        tool = Tool(call, turn)
        self._tools[call.call_id] = tool
        turn.open_tools += 1
        if len(turn.tools) < MAX_TOOLS_IN_RECORD:
            turn.tools.append(tool)
        self._totals.tool_calls += 1
        self._ops.append(op.StartTool(call.call_id, turn.index, now, call.name, call.arguments))

    def _on_tool_response(self, response: ev.ToolResponse, now: int) -> None:
        tool = self._tools.get(response.call_id)
        if tool is None:
            self._note("tool_response_without_call", now, {"call_id": response.call_id})
            return
        tool.response = response
        tool.turn.tool_response_ns = now
        tool.turn.generating = False
        if tool.turn is not self._turn:
            self._heard.at_ns[StartSource.TOOL_RESPONSE] = now
        self._end_tool(response.call_id, response.outcome, now)

    def _end_tool(self, call_id: str, outcome: ev.ToolOutcome, now: int) -> None:
        tool = self._tools.pop(call_id, None)
        if tool is None:
            return
        tool.outcome = outcome
        response = tool.response
        self._ops.append(
            op.EndTool(
                call_id,
                now,
                outcome,
                response.result if response else {},
                response.error if response else None,
            )
        )
        turn = tool.turn
        turn.open_tools -= 1
        turn.tools_end_ns = now
        if not turn.open_tools and turn in self._closing and turn.deadline_ns is None:
            self._close_books(turn, now)

    # --- connection and session -----------------------------------------------------------------------------------

    def _on_connection(self, event: ev.Dialing | ev.Connected | ev.Disconnected, now: int) -> None:
        match event:
            case ev.Dialing():
                if self._dialing:
                    self._end_dial(now, close=None, error_type="abandoned")
                self._connection += 1
                self._totals.connections += 1
                self._totals.reconnects += self._connection > 1
                self._dialing = (event, now)
                self._ops.append(op.StartConnection(self._connection, self._served_until_ns or now))
            case ev.Connected():
                if self._dialing:
                    self._end_dial(now, close=self._former_close, error_type=None)
            case ev.Disconnected(close, error_type):
                if self._dialing:
                    self._end_dial(now, close, error_type or f"close_{close.code}")
                else:
                    self._stop_serving(close, error_type, now)

    def _end_dial(self, now: int, close: ev.Close | None, error_type: str | None) -> None:
        if self._dialing is None:
            return
        dial, dialed_ns = self._dialing
        served_until = self._served_until_ns
        self._ops.append(
            op.EndConnection(
                index=self._connection,
                at_ns=now,
                setup_s=(now - dialed_ns) / 1e9,
                gap_s=None if served_until is None else (now - served_until) / 1e9,
                resumed=dial.resumed,
                handle_age_s=dial.handle_age_s,
                close=close,
                error_type=error_type,
                go_away_time_left_s=self._go_away.time_left_s if self._go_away else None,
            )
        )
        self._dialing = None
        if error_type is None:
            self._served_until_ns = self._former_close = self._go_away = None

    def _stop_serving(self, close: ev.Close, error_type: str | None, now: int) -> None:
        if self._served_until_ns is not None or not self._connection:
            return
        self._served_until_ns = now
        self._former_close = close
        self._note("disconnected", now, {"code": close.code, "reason": close.reason, "initiator": close.initiator})
        if self._go_away:
            self._cut(EndReason.GO_AWAY, None, now)
        elif close.initiator == "provider":
            self._cut(EndReason.ERROR, error_type or f"close_{close.code}", now)
        else:
            self._cut(EndReason.SESSION_CLOSED, None, now)

    def _cut(self, reason: EndReason, error_type: str | None, now: int) -> None:
        """Nothing more will come over this connection: end what is open."""
        for call_id in list(self._tools):
            self._end_tool(call_id, ev.ToolOutcome.ORPHANED, now)
        if self._turn is None and self._heard.expects_answer:
            self._begin_turn(now)
        turn = self._turn
        if turn:
            if turn.interrupted_ns is None and turn.generated_ns is None:
                turn.reason, turn.error_type = reason, error_type
                turn.generated_ns = now if turn.first_output_ns is None else turn.last_output_ns
            self._turn = None
            self._closing.append(turn)
        for open_turn in list(self._closing):
            self._close_books(open_turn, now)

    def _on_session_closed(self, event: ev.SessionClosed, now: int) -> None:
        reason = EndReason.ERROR if event.error_type else EndReason.SESSION_CLOSED
        if self._dialing:
            self._end_dial(now, event.close, event.error_type or "session_closed")
        self._cut(reason, event.error_type, now)
        self._ops.append(op.EndSession(now, event.close, event.error_type, replace(self._totals)))
        self._closed = True

    # --- bookkeeping ----------------------------------------------------------------------------------------------

    def _note(self, name: str, now: int, attributes: dict[str, str | bool | int | float] | None = None) -> None:
        self._ops.append(op.Note(name, now, attributes or {}))
