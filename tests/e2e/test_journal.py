"""The journal: a session whose process died is closed by whoever comes next, once, as far as is known."""

import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.context import Context
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider

from support.received import attributes_of, decode_logs
from support.story import events
from support.telling import IDENTITY, MODEL, Recorder
from voicespan import VoiceSession
from voicespan import conventions as c
from voicespan.sdk.processors import StoreProcessor
from voicespan.sdk.reading import StoredSpan, reader
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store

# A session in its second turn, with a tool at work, and a span of the program's own; each line of input is a step.
PROGRAM = """
import sys, time
from pathlib import Path
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from voicespan import conventions as c
from voicespan.identity import Identity, in_context
from voicespan.sdk.processors import IdentityProcessor, StoreProcessor
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store

store = Store(Path(sys.argv[1]), send=[Signal.TRACES] if sys.argv[2] == "sends" else [])
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(IdentityProcessor())
provider.add_span_processor(StoreProcessor(store))
tracer = provider.get_tracer(c.SCOPE)

def start(name, parent, **attributes):
    span = tracer.start_span(name, parent, attributes={**identity.attributes(), **attributes})
    return span, trace.set_span_in_context(span, parent)

identity = Identity("s-1", user_id="u-1")
session, in_session = start(c.WEBSOCKET_SESSION, in_context(identity, Context()), **{c.ENTRY: True})
first, _ = start("Turn 1", in_session)
session.set_attributes({c.SESSION_TURNS: 1, c.SESSION_COST: 0.25})
first.set_attribute(c.TURN_INDEX, 1)
first.end()
second, in_turn = start("Turn 2", in_session)
tool, in_tool = start("tool-search", in_turn, **{c.TOOL_CALL_ID: "call-1"})
own = provider.get_tracer("program").start_span("query", in_tool)
store.flush(5)
print("open", flush=True)
sys.stdin.readline()
tool.end(); second.set_attribute(c.TURN_INDEX, 2); second.end(); session.end()
store.flush(5)
print("ended", flush=True)
sys.stdin.readline()
"""

pytestmark = pytest.mark.e2e


@contextmanager
def process(path: Path, sends: str = "sends") -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(path), sends]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "open\n"
        try:
            yield running
        finally:
            running.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traces.db"


def stored(path: Path) -> list[StoredSpan]:
    with reader(path) as traces:
        [summary] = traces.latest(10)
        return traces.spans(summary.trace_id)


def waiting(store: Store) -> list[Span]:
    batch = store.next_batch(Signal.TRACES, 100, 1 << 20)
    decoded = ExportTraceServiceRequest.FromString(batch.request if batch else b"")
    return [s for r in decoded.resource_spans for scope in r.scope_spans for s in scope.spans]


def test_what_was_open_when_the_process_was_killed_is_closed_at_the_next_start(path: Path) -> None:
    with process(path) as running:
        running.kill()
        running.wait()
    died_ns = time.time_ns()
    before = stored(path)
    assert [span.name for span in before] == ["Turn 1"]
    store = Store(path, send=[Signal.TRACES])
    assert store.stats().recovered_sessions == 1
    session, first, second, tool = stored(path)
    assert [s.name for s in (session, first, second, tool)] == [
        c.WEBSOCKET_SESSION,
        "Turn 1",
        "Turn 2",
        "tool-search",
    ]
    assert (first.parent_id, second.parent_id, tool.parent_id) == (session.span_id, session.span_id, second.span_id)
    for span in (session, second, tool):
        assert (span.status, span.attributes[c.ERROR_TYPE]) == ("ERROR", "process_died")
        assert span.attributes[c.SESSION_ID] == "s-1"
        # The last that is known of this session is when the tool began.
        assert span.end_ns == tool.start_ns < died_ns
    assert session.attributes[c.SESSION_CLOSE_INITIATOR] == "process"
    assert session.attributes[c.LF_METADATA + "turns"] == 1
    assert session.attributes[c.LF_METADATA + "close_initiator"] == "process"
    assert (session.attributes[c.SESSION_TURNS], session.attributes[c.SESSION_COST]) == (1, 0.25)
    assert (second.attributes[c.TURN_INDEX], second.attributes[c.TURN_END_REASON]) == (2, "error")
    assert tool.attributes[c.TOOL_OUTCOME] == "orphaned"
    # All of it leaves, children before parents, each once; the program's own span ended nowhere.
    assert [span.name for span in waiting(store)] == ["Turn 1", "tool-search", "Turn 2", c.WEBSOCKET_SESSION]
    store.close()
    again = Store(path, send=[Signal.TRACES])
    assert again.stats().recovered_sessions == 0
    assert len(waiting(again)) == len(stored(path)) == 4
    again.close()


def test_a_living_neighbour_closes_it_within_seconds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicespan.sdk.store.ADOPT_EVERY_S", 0.05)
    neighbour = Store(path, send=[Signal.TRACES])
    woken: list[float] = []
    neighbour.on_commit(Signal.TRACES, lambda: woken.append(time.monotonic()))
    with process(path) as running:
        running.kill()
        running.wait()
    deadline = time.monotonic() + 10
    while not woken and time.monotonic() < deadline:
        neighbour.flush(5)
    assert neighbour.stats().recovered_sessions == 1
    assert len(waiting(neighbour)) == 4
    neighbour.close()


def test_a_stopped_process_is_not_dead(path: Path) -> None:
    with process(path) as running:
        running.send_signal(signal.SIGSTOP)
        neighbour = Store(path, send=[Signal.TRACES])
        neighbour._adopt()
        assert neighbour.stats().recovered_sessions == 0
        assert waiting(neighbour) == []
        running.send_signal(signal.SIGCONT)
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write("\n")
        running.stdin.flush()
        assert running.stdout.readline() == "ended\n"
        running.kill()
        running.wait()
        neighbour._adopt()
        # It had ended its session itself, and nobody does that again.
        assert neighbour.stats().recovered_sessions == 0
        assert [span.name for span in waiting(neighbour)] == ["Turn 1", "tool-search", "Turn 2", c.WEBSOCKET_SESSION]
        neighbour.close()
    assert {span.name: span.status for span in stored(path)}[c.WEBSOCKET_SESSION] == "UNSET"


def test_two_neighbours_close_it_once(path: Path) -> None:
    one, two = Store(path, send=[Signal.TRACES]), Store(path, send=[Signal.TRACES])
    with process(path) as running:
        running.kill()
        running.wait()
    one._adopt()
    two._adopt()
    assert one.stats().recovered_sessions + two.stats().recovered_sessions == 1
    assert len(waiting(one)) + len(waiting(two)) == 4
    one.close()
    two.close()


def test_who_does_not_send_closes_it_and_leaves_the_sending_to_those_who_do(path: Path) -> None:
    with process(path) as running:
        running.kill()
        running.wait()
    Store(path).close()
    assert len(stored(path)) == 4
    store = Store(path, send=[Signal.TRACES])
    assert (store.stats().recovered_sessions, len(waiting(store))) == (0, 4)
    store.close()


def test_what_its_owner_did_not_send_is_not_sent_for_it(path: Path) -> None:
    with process(path, "keeps") as running:
        running.kill()
        running.wait()
    store = Store(path, send=[Signal.TRACES])
    assert len(stored(path)) == 4
    assert waiting(store) == []
    store.close()


def test_the_session_is_summed_up_in_a_log_record_too(path: Path) -> None:
    with process(path) as running:
        running.kill()
        running.wait()
    store = Store(path, send=[Signal.TRACES, Signal.LOGS])
    batch = store.next_batch(Signal.LOGS, 100, 1 << 20)
    assert batch is not None
    [log] = decode_logs(ExportLogsServiceRequest.FromString(batch.request), 0)
    session = next(span for span in stored(path) if span.name == c.WEBSOCKET_SESSION)
    assert (log.event_name, log.scope, log.severity) == ("voicespan.session.summary", "voicespan", "INFO")
    assert (log.trace_id, log.span_id, log.time_ns) == (session.trace_id, session.span_id, session.end_ns)
    told = {c.SESSION_ID: "s-1", c.USER_ID: "u-1", c.SESSION_TURNS: 1, c.SESSION_COST: 0.25}
    told |= {c.SESSION_CLOSE_INITIATOR: "process", c.ERROR_TYPE: "process_died"}
    assert {name: log.attributes[name] for name in told} == told
    assert c.ENTRY not in log.attributes
    store.close()


def test_a_session_without_a_turn_says_so(path: Path) -> None:
    first = Store(path, send=[Signal.TRACES])
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(StoreProcessor(first))
    provider.get_tracer(c.SCOPE).start_span(c.WEBSOCKET_SESSION, attributes={c.SESSION_ID: "s-1"})
    first.close()
    second = Store(path, send=[Signal.TRACES])
    [session] = stored(path)
    assert session.attributes[c.SESSION_TURNS] == session.attributes[c.LF_METADATA + "turns"] == 0
    assert session.end_ns == session.start_ns
    second.close()


def test_a_session_that_was_cut_off_says_what_it_would_have_said_of_its_turns(path: Path) -> None:
    first = Store(path, send=[Signal.TRACES])
    recorder = Recorder()
    recorder.provider.add_span_processor(StoreProcessor(first))
    session = VoiceSession(IDENTITY, MODEL, tracer=recorder.tracer)
    session.audio_sent(bytes(32_000))
    for event, at in events("ON I VAE CALL1 RESP1 A T GC U TC I VAE A GC VAS INT U TC cc A"):
        session.feed(event, session.began_ns + at)
    first.close()
    second = Store(path, send=[Signal.TRACES])
    recovered = {span.name: span for span in stored(path)}[c.WEBSOCKET_SESSION]
    # The third turn began and did not end: the session had told of two.
    assert recovered.attributes[c.SESSION_TURNS] == 2
    assert json.loads(str(recovered.attributes[c.SESSION_USAGE]))["total"] == 300
    expected = {
        c.SESSION_TOOL_CALLS: 1,
        c.SESSION_INTERRUPTIONS: 1,
        c.SESSION_BARGE_INS: 1,
        c.SESSION_CONNECTIONS: 1,
        c.SESSION_INPUT_AUDIO: 1.0,
    }
    assert {name: recovered.attributes[name] for name in expected} == expected
    # What happened meanwhile is there too.
    assert [event.name for event in recovered.events] == [c.EVENT_CONNECTION_STARTED]
    second.close()


def test_turns_that_are_traces_of_their_own_are_closed_with_their_session(path: Path) -> None:
    first = Store(path, send=[Signal.TRACES])
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(StoreProcessor(first))
    tracer = provider.get_tracer(c.SCOPE)
    session = tracer.start_span(c.WEBSOCKET_SESSION, attributes={c.SESSION_ID: "s-1"})
    ended = tracer.start_span("Turn 1", Context(), attributes={c.SESSION_ID: "s-1"})
    session.set_attribute(c.SESSION_TURNS, 1)
    ended.end()
    tracer.start_span("Turn 2", Context(), attributes={c.SESSION_ID: "s-1"})
    first.close()
    second = Store(path, send=[Signal.TRACES])
    spans = {span.name: span for span in waiting(second)}
    assert len({span.trace_id for span in spans.values()}) == 3
    assert attributes_of(spans[c.WEBSOCKET_SESSION].attributes)[c.SESSION_TURNS] == 1
    # The session ends when its last turn began, though that is another trace.
    assert spans[c.WEBSOCKET_SESSION].end_time_unix_nano == spans["Turn 2"].start_time_unix_nano
    second.close()


def test_a_session_that_ended_leaves_no_row_in_the_journal(path: Path) -> None:
    with process(path) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write("\n")
        running.stdin.flush()
        assert running.stdout.readline() == "ended\n"
        with reader(path) as traces:
            assert traces.database.execute("SELECT count(*) FROM open_spans").fetchone() == (0,)


def test_the_attributes_of_a_recovered_span_are_each_there_once(path: Path) -> None:
    with process(path) as running:
        running.kill()
        running.wait()
    store = Store(path, send=[Signal.TRACES])
    for span in waiting(store):
        assert len(attributes_of(span.attributes)) == len(span.attributes)
    store.close()
