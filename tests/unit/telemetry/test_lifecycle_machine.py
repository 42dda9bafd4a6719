"""A live session as a machine that hypothesis drives: at every moment, not only at its end, the books are in order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.examples import examples
from voicespan import events as ev
from voicespan import operations as op
from voicespan.lifecycle import Lifecycle
from voicespan.usage import Usage

USAGE = Usage(input_text=10, output_audio=5, provider_total=15)


class Session(RuleBasedStateMachine):
    """Follows a provider that mostly keeps to its protocol, and a user who keeps to none."""

    @initialize(after_s=st.sampled_from([None, 2.0, 10.0]))
    def begin(self, after_s: float | None) -> None:
        self.lifecycle = Lifecycle(after_s)
        self.now = 1_000_000_000
        self.open_turns: dict[int, int] = {}
        self.open_tools: dict[str, op.StartTool] = {}
        self.records: list[op.TurnRecord] = []
        self.stalls = self.reported = self.loose = 0
        self.said = 0
        self.calls = 0
        self.connected = self.closed = False

    def tell(self, event: ev.Event) -> None:
        for operation in self.lifecycle.step(event, self.now):
            self.follow(operation)

    def follow(self, operation: op.Operation) -> None:
        match operation:
            case op.StartTurn(index, at_ns):
                assert index == len(self.open_turns) + len(self.records) + 1, "turns are numbered as they begin"
                self.open_turns[index] = at_ns
            case op.EndTurn(record):
                assert self.open_turns.pop(record.index) == record.start_ns
                assert not any(tool.turn == record.index and tool.blocking for tool in self.open_tools.values())
                assert record.end_ns <= self.now
                self.records.append(record)
            case op.StartTool(call_id, turn):
                assert turn in self.open_turns
                self.open_tools[call_id] = operation
            case op.EndTool(call_id):
                assert operation.at_ns >= self.open_tools.pop(call_id).at_ns
            case op.Stalled(turn=turn):
                assert turn in self.open_turns
                self.stalls += 1
            case op.LooseUsage(usage=usage):
                self.loose += usage.total

    # --- time and connections ---------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.6, 3.0, 12.0]))
    def time_passes(self, seconds: float) -> None:
        """As a timer does: never past what is due."""
        until = self.now + round(seconds * 1e9)
        while (due := self.lifecycle.deadline_ns) is not None and due <= until:
            self.now = max(self.now, due)
            before = self.lifecycle.deadline_ns
            if self.lifecycle.listens_from_ns is not None and self.lifecycle.listens_from_ns <= self.now:
                self.lifecycle.listened(self.now)
            self.tell(ev.Tick())
            assert self.lifecycle.deadline_ns != before, "a tick that was asked for settles what it was asked for"
        self.now = until

    @precondition(lambda self: not self.connected)
    @rule(resumed=st.booleans())
    def connects(self, resumed: bool) -> None:
        self.tell(ev.Dialing(resumed))
        self.tell(ev.Connected())
        self.connected = True

    @precondition(lambda self: self.connected)
    @rule(code=st.sampled_from([1000, 1006, 1011]), warned=st.booleans())
    def connection_ends(self, code: int, warned: bool) -> None:
        if warned:
            self.tell(ev.GoAway(5.0))
        self.tell(ev.Disconnected(ev.Close(code)))
        self.connected = False
        assert not self.open_turns
        assert not self.open_tools

    # --- the user ---------------------------------------------------------------------------------------------------

    @rule()
    def speaks(self) -> None:
        self.lifecycle.audio_since_turn = True
        self.tell(ev.ActivityStart("server"))
        self.now += 1_000_000
        self.tell(ev.InputTranscript("spoken "))
        self.tell(ev.ActivityEnd("server"))

    @rule()
    def types(self) -> None:
        self.tell(ev.UserText("typed"))

    @rule(turn=st.integers(1, 4), stops=st.booleans())
    def plays(self, turn: int, stops: bool) -> None:
        self.tell(ev.PlaybackStopped(turn, 0.3) if stops else ev.PlaybackStarted(turn))

    # --- the model --------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.connected)
    @rule(chunks=st.integers(1, 3))
    def answers(self, chunks: int) -> None:
        for _ in range(chunks):
            self.tell(ev.ModelAudio(0.1))
            self.said += 1
            self.now += 1_000_000

    @precondition(lambda self: self.connected)
    @rule(blocking=st.booleans())
    def calls_a_tool(self, blocking: bool) -> None:
        self.calls += 1
        self.tell(ev.ToolCall(str(self.calls), "search_nearby", blocking=blocking))

    @precondition(lambda self: bool(self.open_tools))
    @rule(data=st.data(), final=st.booleans(), interrupts=st.booleans())
    def tool_answers(self, data: st.DataObject, final: bool, interrupts: bool) -> None:
        call_id = data.draw(st.sampled_from(sorted(self.open_tools)))
        scheduling: ev.Scheduling = "interrupt" if interrupts else "when_idle"
        self.tell(ev.ToolResponse(call_id, ev.ToolOutcome.OK, scheduling=scheduling, final=final))

    @precondition(lambda self: bool(self.open_tools))
    @rule(data=st.data())
    def tool_is_taken_back(self, data: st.DataObject) -> None:
        self.tell(ev.ToolCancelled(data.draw(st.sampled_from(sorted(self.open_tools)))))

    @precondition(lambda self: self.connected)
    @rule(reports=st.booleans(), late=st.booleans(), cut=st.booleans())
    def turn_completes(self, reports: bool, late: bool, cut: bool) -> None:
        self.tell(ev.Interrupted() if cut else ev.GenerationComplete())
        if reports and not late:
            self.tell(ev.UsageReport(USAGE, completes_turn=True))
            self.reported += USAGE.total
        self.tell(ev.TurnComplete())
        if reports and late:
            self.tell(ev.UsageReport(USAGE))
            self.reported += USAGE.total

    # --- what holds at every moment ---------------------------------------------------------------------------------

    @invariant()
    def totals_are_sums(self) -> None:
        totals = self.lifecycle.totals
        in_turns = sum(record.usage.total for record in self.records if record.usage)
        assert totals.usage.total == in_turns + self.loose
        assert totals.turns == len(self.records) + len(self.open_turns)
        assert totals.tool_calls == self.calls
        assert totals.stalls == self.stalls
        assert totals.generations == sum(record.generations for record in self.records)

    @invariant()
    def no_deadline_has_passed_unseen(self) -> None:
        due = self.lifecycle.deadline_ns
        assert due is None or due >= self.now - 1_000_000 * 4

    def teardown(self) -> None:
        """The hang-up closes all that is open, and nothing that was said or reported is lost."""
        if not hasattr(self, "lifecycle"):
            return
        self.now += 1
        self.tell(ev.SessionClosed(ev.Close(1000, "bye", "client")))
        assert not self.open_turns
        assert not self.open_tools
        assert round(sum(record.output_audio_s for record in self.records) * 10) == self.said
        assert self.lifecycle.totals.usage.total == self.reported
        assert self.lifecycle.deadline_ns is None


TestSession = Session.TestCase
TestSession.settings = settings(max_examples=examples(200), stateful_step_count=30, deadline=None)
