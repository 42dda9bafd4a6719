"""Any order of events is legal input: what holds of the lifecycle whatever comes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import examples
from voicespan import events as ev
from voicespan import operations as op
from voicespan.lifecycle import Lifecycle
from voicespan.usage import Usage

ids = st.sampled_from(["1", "2"])
closes = st.builds(
    ev.Close,
    st.sampled_from([1000, 1001, 1006, 1007, 1008, 1011, 1012]),
    initiator=st.sampled_from(["client", "server", "provider", "process"]),
)
tokens = st.integers(0, 1000)
anything: st.SearchStrategy[ev.Event] = st.one_of(
    st.builds(ev.Dialing, resumed=st.booleans()),
    st.builds(ev.Connected),
    st.builds(ev.Disconnected, closes),
    st.builds(ev.GoAway, st.none() | st.floats(0, 60)),
    st.builds(ev.Resumption, st.booleans()),
    st.builds(ev.ActivityStart, st.sampled_from(["client", "server"])),
    st.builds(ev.ActivityEnd, st.sampled_from(["client", "server"])),
    st.just(ev.AudioStreamEnd()),
    st.just(ev.EndOfSpeech()),
    st.builds(ev.UserText, st.just("typed ")),
    st.builds(ev.InputTranscript, st.just("spoken ")),
    st.builds(ev.ModelAudio, st.sampled_from([1 / 24_000, 0.04, 0.3]), st.sampled_from([0.0, 0.02, 1.0])),
    st.builds(ev.ModelText, st.just("written ")),
    st.just(ev.Thought()),
    st.builds(ev.OutputTranscript, st.just("said ")),
    st.builds(ev.ToolCall, ids, st.just("search_nearby"), blocking=st.booleans()),
    st.builds(
        ev.ToolResponse,
        ids,
        st.sampled_from(ev.ToolOutcome),
        scheduling=st.sampled_from([None, "interrupt", "when_idle", "silent"]),
        final=st.booleans(),
    ),
    st.builds(ev.ToolCancelled, ids),
    st.builds(
        ev.UsageReport, st.builds(Usage, input_text=tokens, output_audio=tokens, provider_total=tokens), st.booleans()
    ),
    st.builds(ev.Grounded, st.integers(0, 3)),
    st.builds(ev.PlaybackStarted, st.integers(1, 3)),
    st.builds(ev.PlaybackStopped, st.integers(1, 3), st.floats(0, 5)),
    st.builds(ev.InputDropped, st.floats(0, 1)),
    st.builds(ev.Unreadable, st.just("TypeError")),
    st.just(ev.WaitingForInput()),
    st.just(ev.Interrupted()),
    st.just(ev.GenerationComplete()),
    st.builds(ev.TurnComplete, st.booleans()),
    st.just(ev.Tick()),
)
# Plausible turns, whole, cut short, or with two neighbours swapped, among single events of any kind.
TURNS: list[list[ev.Event]] = [
    [ev.UserText("typed "), ev.ModelAudio(0.2), ev.GenerationComplete(), ev.UsageReport(Usage(1)), ev.TurnComplete()],
    [
        ev.InputTranscript("spoken "),
        ev.ToolCall("1", "search_nearby"),
        ev.ToolResponse("1", ev.ToolOutcome.OK),
        ev.OutputTranscript("said "),
        ev.ModelAudio(0.2),
        ev.GenerationComplete(),
        ev.Interrupted(),
        ev.UsageReport(Usage(1)),
        ev.TurnComplete(),
    ],
]


# Longer than an answer may be due.
SILENCES = st.integers(9_000_000_000, 31_000_000_000)


@st.composite
def fragment(draw: st.DrawFn) -> list[ev.Event]:
    turn = list(draw(st.sampled_from(TURNS)))
    i = draw(st.integers(0, len(turn) - 2))
    turn[i], turn[i + 1] = turn[i + 1], turn[i]
    return turn[: draw(st.integers(1, len(turn)))]


stories = st.lists(st.one_of(fragment(), anything.map(lambda e: [e])), max_size=12).flatmap(
    lambda parts: st.tuples(
        *(st.tuples(st.just(event), st.integers(0, 400_000_000) | SILENCES) for part in parts for event in part)
    ).map(list)
)


def run(story: list[tuple[ev.Event, int]]) -> tuple[list[op.Operation], int]:
    """The operations of a story that ends with a hang-up, and when it ended."""
    lifecycle = Lifecycle()
    now = 1_000
    found: list[op.Operation] = []
    for event, passed in story:
        now += passed
        found += lifecycle.step(event, now)
    now += 1
    found += lifecycle.step(ev.SessionClosed(ev.Close(1000, "", "client")), now)
    return found, now


@settings(max_examples=examples(150))
@given(stories)
def test_whatever_is_opened_is_ended_exactly_once_and_after_it_was_opened(story: list[tuple[ev.Event, int]]) -> None:
    open_: set[tuple[str, object]] = set()
    turns_told: set[int] = set()
    tool_turns: dict[str, int] = {}
    blocking: dict[str, bool] = {}
    for operation in run(story)[0]:
        match operation:
            case op.StartConnection(index):
                assert ("connection", index) not in open_
                open_.add(("connection", index))
            case op.EndConnection(index):
                open_.remove(("connection", index))
            case op.StartTurn(index):
                assert index not in turns_told
                turns_told.add(index)
                open_.add(("turn", index))
            case op.EndTurn(record):
                open_.remove(("turn", record.index))
            case op.StartTool(call_id, turn):
                assert ("turn", turn) in open_
                blocking[call_id] = operation.blocking
                assert ("tool", call_id) not in open_
                open_.add(("tool", call_id))
                tool_turns[call_id] = turn
            case op.EndTool(call_id):
                assert ("turn", tool_turns[call_id]) in open_ or not blocking[call_id]
                open_.remove(("tool", call_id))
            case op.EndSession():
                assert not open_
            case op.Stalled(turn=turn):
                assert ("turn", turn) in open_
            case _:
                pass
    assert not open_


@settings(max_examples=examples(150))
@given(stories)
def test_the_session_ends_last_and_once(story: list[tuple[ev.Event, int]]) -> None:
    found = run(story)[0]
    assert [i for i, o in enumerate(found) if isinstance(o, op.EndSession)] == [len(found) - 1]


@settings(max_examples=examples(150))
@given(stories)
def test_children_lie_inside_their_parents(story: list[tuple[ev.Event, int]]) -> None:
    found, ended = run(story)
    turns = {o.record.index: o.record for o in found if isinstance(o, op.EndTurn)}
    tool_starts = {o.call_id: o for o in found if isinstance(o, op.StartTool)}
    for record in turns.values():
        assert 0 < record.start_ns <= record.end_ns <= ended
        if record.first_audio_ns is not None:
            assert record.first_output_ns is not None
            assert record.start_ns <= record.first_output_ns <= record.first_audio_ns <= record.end_ns
    running: dict[str, op.StartTool] = {}
    for operation in found:
        if isinstance(operation, op.StartTool):
            running[operation.call_id] = operation
        elif isinstance(operation, op.EndTool):
            started = running.pop(operation.call_id)
            assert operation.at_ns <= turns[started.turn].end_ns or not started.blocking
    for start in tool_starts.values():
        assert turns[start.turn].start_ns <= start.at_ns


@settings(max_examples=examples(150))
@given(stories)
def test_the_sum_of_the_turns_and_of_what_no_turn_owns_is_the_session(story: list[tuple[ev.Event, int]]) -> None:
    found = run(story)[0]
    end = found[-1]
    assert isinstance(end, op.EndSession)
    records = [o.record for o in found if isinstance(o, op.EndTurn)]
    in_turns = sum((r.usage for r in records if r.usage), Usage())
    loose = sum(o.usage.total for o in found if isinstance(o, op.LooseUsage))
    assert end.totals.usage.total == in_turns.total + loose
    assert end.totals.turns == len(records)
    assert end.totals.generations == sum(r.generations for r in records)
    assert end.totals.tool_calls == sum(isinstance(o, op.StartTool) for o in found)
    assert end.totals.turns_without_usage == sum(r.usage is None for r in records)
    assert abs(end.totals.output_audio_s - sum(r.output_audio_s for r in records)) < 1e-6


@settings(max_examples=examples(150))
@given(stories)
def test_nothing_that_was_said_is_lost_or_told_twice(story: list[tuple[ev.Event, int]]) -> None:
    found = run(story)[0]
    records = [o.record for o in found if isinstance(o, op.EndTurn)]
    said = sum(isinstance(event, ev.OutputTranscript) for event, _ in story)
    late = sum(isinstance(o, op.Odd) and o.anomaly is op.Anomaly.LATE_TRANSCRIPT for o in found)
    assert sum(record.model_text.count("said") for record in records) + late == said


@settings(max_examples=examples(150))
@given(stories)
def test_nothing_that_the_user_said_is_lost_or_told_twice(story: list[tuple[ev.Event, int]]) -> None:
    records = [o.record for o in run(story)[0] if isinstance(o, op.EndTurn)]
    told = " ".join(record.user_text for record in records)
    heard = [event for event, _ in story if isinstance(event, ev.InputTranscript | ev.UserText)]
    assert told.count("spoken") + told.count("typed") == len(heard)


@settings(max_examples=examples(150))
@given(stories, st.integers(2, 5))
def test_how_the_audio_is_cut_into_chunks_changes_nothing(story: list[tuple[ev.Event, int]], pieces: int) -> None:
    chopped: list[tuple[ev.Event, int]] = []
    for event, passed in story:
        if isinstance(event, ev.ModelAudio) and event.duration_s >= 0.04 * pieces:
            chopped.append((ev.ModelAudio(event.duration_s / pieces), passed))
            chopped += [(ev.ModelAudio(event.duration_s / pieces), 0)] * (pieces - 1)
        else:
            chopped.append((event, passed))

    def shape(found: list[op.Operation]) -> list[object]:
        return [
            (o.record.index, o.record.start_ns, o.record.end_ns, o.record.end_reason, o.record.first_audio_ns)
            if isinstance(o, op.EndTurn)
            else type(o)
            for o in found
        ]

    assert shape(run(story)[0]) == shape(run(chopped)[0])


@settings(max_examples=examples(150))
@given(stories, st.integers(0, 1_000_000_000) | SILENCES)
def test_a_chunk_that_only_goes_on_is_told_as_any_other_is(story: list[tuple[ev.Event, int]], apart_ns: int) -> None:
    longer: list[tuple[ev.Event, int]] = []
    for event, passed in story:
        longer.append((event, passed))
        if isinstance(event, ev.ModelAudio):
            longer += [(event, 1), (ev.Tick(), apart_ns), (event, 1)]
    quick, thorough = Lifecycle(), Lifecycle()
    now = 1_000
    for event, passed in [*longer, (ev.SessionClosed(ev.Close(1000)), 1)]:
        now += passed
        goes_on = isinstance(event, ev.ModelAudio) and quick.voice_goes_on(event, now)
        found = [] if goes_on else quick.step(event, now)
        assert (found, quick.deadline_ns) == (thorough.step(event, now), thorough.deadline_ns)


@settings(max_examples=examples(150))
@given(stories)
def test_what_goes_on_makes_nothing_due_sooner(story: list[tuple[ev.Event, int]]) -> None:
    lifecycle = Lifecycle()
    now, timer_ns = 1_000, None
    for event, passed in story:
        now += passed
        happens: list[tuple[ev.Event, int]] = [(event, now)]
        if timer_ns is not None and timer_ns <= now:
            happens, timer_ns = [(ev.Tick(), timer_ns), *happens], None
        for each, at_ns in happens:
            goes_on = lifecycle.goes_on(each)
            lifecycle.step(each, at_ns)
            due_ns = lifecycle.deadline_ns
            if timer_ns is None or not (goes_on or due_ns is None or due_ns >= timer_ns):
                timer_ns = due_ns
            assert due_ns is None or (timer_ns is not None and timer_ns <= due_ns)
