"""What is counted over all sessions, and that it agrees with what the spans say."""

import re
from dataclasses import replace
from threading import Thread
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeter

from support.received import ReceivedMetric
from support.story import at, turns
from support.telling import IDENTITY, MODEL, Recorder, named, tell
from voicespan import Metrics, ToolOutcome, TraceShape, VoiceSession
from voicespan import conventions as c
from voicespan import events as ev
from voicespan.metrics import MAX_TOOL_NAMES, ONE_AT_A_TIME, OTHER, Labels

CALL = "ON MIC VAS I VAE CALL1 RESP1 a A T A GC U TC I VAE A GC VAS INT U TC GA CUT ON cc A GC U TC BYE"
# What a good call has none of: an answer that never came, audio that was dropped, a message out of place.
TROUBLE = "ON MIC ACS EOS VAE PLAY9 A PLAY1 GC VAS INT STOP1 U TC cc ~ cc A GC U TC DROP ODD BYE"
BASE = {"gen_ai.provider.name": "gcp.gemini", "gen_ai.request.model": "gemini-3.8-live", "voicespan.backend": "gemini"}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(replace(IDENTITY, backend="gemini"))


def measured(recorder: Recorder) -> dict[str, ReceivedMetric]:
    return {metric.name: metric for metric in recorder.measured()}


def points(metric: ReceivedMetric) -> dict[tuple[str, ...], tuple[float, int]]:
    """Sum and count by the attributes beyond those that every metric carries."""
    found = {}
    for point in metric.points:
        assert {k: point.attributes[k] for k in BASE} == BASE
        key = tuple(str(value) for name, value in sorted(point.attributes.items()) if name not in BASE)
        found[key] = (point.value, point.count)
    return found


def test_counts(recorder: Recorder) -> None:
    tell(CALL, recorder=recorder)
    metrics = measured(recorder)
    left_out = {c.METRIC_TOKENS, c.METRIC_ERRORS}
    plain = [name for name in metrics if c.METRICS[name].instrument != "histogram" and name not in left_out]
    assert {name: {key: value for key, (value, _) in points(metrics[name]).items()} for name in plain} == {
        "voicespan.turns": {("completed",): 2, ("interrupted",): 1},
        "voicespan.interruptions": {("speech",): 1},
        "voicespan.audio.duration": {("input",): 1.0, ("output",): pytest.approx(0.8, abs=1e-3)},
        "voicespan.connection.reconnects": {("false",): 1},
        "voicespan.connection.go_aways": {(): 1},
        "voicespan.connection.closes": {("1006",): 1},
        "voicespan.sessions.active": {(): 0},
        "voicespan.cost": {
            ("input", "input_text"): pytest.approx(3e-4),
            ("input", "input_audio"): pytest.approx(1.8e-4),
            ("output", "output_audio"): pytest.approx(1.08e-3),
        },
    }


def test_tokens_are_counted_by_bucket(recorder: Recorder) -> None:
    tell(CALL, recorder=recorder)
    metrics = measured(recorder)
    tokens = {key: value for key, (value, _) in points(metrics["voicespan.tokens"]).items()}
    assert tokens == {("input", "input_text"): 300, ("input", "input_audio"): 60, ("output", "output_audio"): 90}
    usage = points(metrics["gen_ai.client.token.usage"])
    assert usage == {("generate_content", "input"): (360, 3), ("generate_content", "output"): (90, 3)}


def test_each_generation_is_an_operation(recorder: Recorder) -> None:
    tell("cc CALL1 RESP1 .. A A GC U TC BYE", recorder=recorder)
    [(total, count)] = points(measured(recorder)["gen_ai.client.operation.duration"]).values()
    assert count == 2
    story = "cc CALL1 RESP1 .. A A GC U TC"
    [turn] = turns(story)
    assert [(part.start_ns, part.end_ns) for part in turn.records] == [
        (at(story, "cc"), at(story, "CALL1")),
        (at(story, "RESP1"), at(story, "GC")),
    ]
    assert total == pytest.approx(sum(part.end_ns - part.start_ns for part in turn.records) / 1e9)


def test_durations_say_what_they_are_of(recorder: Recorder) -> None:
    tell(CALL, recorder=recorder)
    metrics = measured(recorder)
    assert set(points(metrics["gen_ai.execute_tool.duration"])) == {("execute_tool", "search_nearby", "ok")}
    assert {k: n for k, (_, n) in points(metrics["voicespan.time_to_first_audio"]).items()} == {
        ("server_activity_end",): 2,
        ("client_content",): 1,
    }
    assert {k: n for k, (_, n) in points(metrics["voicespan.turn.duration"]).items()} == {
        ("completed",): 2,
        ("interrupted",): 1,
    }
    assert {k: n for k, (_, n) in points(metrics["voicespan.session.duration"]).items()} == {("1000", "client"): 1}
    assert points(metrics["voicespan.connection.setup.duration"])[("false",)][1] == 2


@pytest.mark.parametrize(
    ("close", "told"),
    [
        (ev.Close(4711, "", "client"), "4xxx"),
        (ev.Close(3999, "", "client"), "3xxx"),
        (ev.Close(1001, "", "client"), "1001"),
        (ev.Close(4429, "too fast", "server"), "4429"),
    ],
)
def test_a_close_code_that_a_caller_made_up_is_no_series_of_its_own(
    recorder: Recorder, close: ev.Close, told: str
) -> None:
    session = VoiceSession(recorder.identity, MODEL, tracer=recorder.tracer, metrics=recorder.metrics)
    session.feed(ev.SessionClosed(close), session.now_ns())
    assert list(points(measured(recorder)["voicespan.session.duration"])) == [(told, close.initiator)]


def test_names_of_tools_that_a_model_makes_up_are_not_series_without_end(recorder: Recorder) -> None:
    session = VoiceSession(recorder.identity, MODEL, tracer=recorder.tracer, metrics=recorder.metrics)
    for number in range(MAX_TOOL_NAMES + 20):
        session.feed(ev.ToolCall(f"id-{number}", f"tool_{number}", {}), session.now_ns())
        session.feed(ev.ToolResponse(f"id-{number}", ToolOutcome.ERROR, {}, "no such tool"), session.now_ns())
    counts = {name: count for (_, _, name, _), (_, count) in points(measured(recorder)[c.METRIC_TOOL_DURATION]).items()}
    assert len(counts) == MAX_TOOL_NAMES + 1
    assert counts.pop(OTHER) == 20
    assert set(counts.values()) == {1}


def test_exemplars_lead_to_the_trace(recorder: Recorder) -> None:
    spans = tell(CALL, recorder=recorder)
    metrics = measured(recorder)
    for name in ("voicespan.time_to_first_audio", "voicespan.turn.duration", "gen_ai.execute_tool.duration"):
        exemplars = {t for point in metrics[name].points for t in point.exemplar_trace_ids}
        assert exemplars == {spans[0].trace_id}, name


def test_a_simulated_call_costs_nothing() -> None:
    recorder = Recorder(replace(IDENTITY, backend="simulator"))
    tell(CALL, recorder=recorder)
    metrics = measured(recorder)
    assert "voicespan.cost" not in metrics
    assert metrics["voicespan.tokens"].points


def test_a_call_in_progress_is_counted_as_such(recorder: Recorder) -> None:
    tell("ON cc A", recorder=recorder)
    assert points(measured(recorder)["voicespan.sessions.active"]) == {(): (1, 1)}


def test_names_units_and_attributes_are_those_of_the_conventions_and_hold_no_id(recorder: Recorder) -> None:
    tell(CALL, recorder=recorder)
    tell("ON cc CALL1 CUT ON BYE", recorder=recorder, model=replace(MODEL, name="other"))
    tell(TROUBLE, recorder=recorder)
    for metric in recorder.measured():
        row = c.METRICS[metric.name]
        assert metric.unit == row.unit
        for point in metric.points:
            assert set(point.attributes) <= {*c.METRIC_ATTRIBUTES, *row.attributes}, metric.name
            assert not set(point.attributes.values()) & {"session-1", "user-1"}
    of_sessions = {name for name in c.METRICS if not name.startswith(c.OF_PROCESS)}
    assert {m.name for m in recorder.measured()} == of_sessions | {c.METRIC_ERRORS}


def test_every_attribute_on_a_span_is_in_the_conventions() -> None:
    stories = [CALL, TROUBLE, "ON cc CALL1 CUT ON BYE", "MIC I INT U TC BYE", "cc U TC BYE", "ON cc A CUT RE BYE"]
    for shape in (TraceShape(), TraceShape("turn", generation_spans=True, speech_spans=True)):
        for span in (span for story in stories for span in tell(story, shape=shape)):
            row = next(row for name, row in c.SPANS.items() if re.fullmatch(re.sub("{.*}", ".+", name), span.name))
            assert span.kind == row.kind or (span.kind, row.name) == ("INTERNAL", c.TURN)
            allowed = {*row.attributes}
            if row.name == c.WEBSOCKET_SESSION:
                allowed |= {c.LF_METADATA + name.removeprefix("voicespan.session.") for name in row.attributes}
            assert set(span.attributes) <= allowed, f"{span.name}: {set(span.attributes) - allowed}"
            assert ("error.type" in span.attributes) == (span.status == "ERROR"), span.name


def test_every_event_is_in_the_conventions_and_what_is_told_of_a_session_is_on_its_span_too() -> None:
    for story in (CALL, TROUBLE, "ON cc A CUT RE BYE", "cc A GC U TC INT u CALL1 CALL1 BYE"):
        recorder = Recorder()
        spans = tell(story, recorder=recorder)
        session = named(spans, "WebSocket Session")
        mirrored = []
        for record in recorder.logs():
            row = c.EVENTS[record.event_name]
            assert set(record.attributes) <= {*c.IDENTITY, *row.attributes}, record.event_name
            assert record.attributes["session.id"] == "session-1"
            assert record.trace_id == session.trace_id
            mirrored += [record.event_name] if row.mirrored else []
        assert [event.name for event in session.events] == mirrored
        assert recorder.logs()[-1].event_name == c.EVENT_SUMMARY


def test_trouble_is_counted(recorder: Recorder) -> None:
    tell(TROUBLE, recorder=recorder)
    metrics = measured(recorder)
    assert points(metrics["voicespan.turn.stalls"]) == {("no_answer",): (1, 1)}
    assert points(metrics["voicespan.anomalies"]) == {("unreadable_message",): (1, 1)}
    assert points(metrics["voicespan.audio.dropped"]) == {(): (0.5, 1)}
    assert set(points(metrics["voicespan.latency"])) == {("endpointing",), ("model",), ("transport",)}
    assert points(metrics["voicespan.interruption.heard_ratio"])[("reported", "speech")] == (pytest.approx(0.75), 1)
    assert points(metrics["voicespan.barge_in.time_to_silence"])[()][1] == 1


@pytest.mark.parametrize(
    ("story", "gaps"),
    [
        ("cc T A GC U TC .. cc T A GC U TC .. cc T A GC U TC BYE", [(0, 1), (1, 2)]),
        # The second turn is told when its tool has ended: how long after it the third began is not known then.
        ("cc T A GC U TC .. cc CALL1 A GC U TC .. cc T A GC U TC RESP1 .. cc T A GC U TC BYE", [(0, 1), (2, 3)]),
    ],
)
def test_a_gap_is_between_a_turn_and_the_next_and_never_has_a_turn_in_it(
    recorder: Recorder, story: str, gaps: list[tuple[int, int]]
) -> None:
    tell(story, recorder=recorder)
    told = sorted(turns(story), key=lambda record: record.index)
    between = [(told[after].start_ns - told[before].end_ns) / 1e9 for before, after in gaps]
    assert points(measured(recorder)[c.METRIC_GAP]) == {(): (pytest.approx(sum(between)), len(gaps))}


def test_calls_in_several_threads_are_counted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics(NoOpMeter("voicespan"))
    labels = (("any", "label"),)

    class Interrupted(dict[Labels, float]):
        """Another thread counts between the reading of a sum and the writing of it."""

        def get(self, key: Labels, default: float | None = None) -> Any:  # type: ignore[override]
            found = super().get(key, default)
            if not other.is_alive() and not other.ident:
                other.start()
                other.join(0.05)
            return found

    other = Thread(target=metrics.count, args=(c.METRIC_TURNS, labels))
    monkeypatch.setitem(metrics._counts, c.METRIC_TURNS, Interrupted())
    metrics.count(c.METRIC_TURNS, labels)
    other.join()
    assert metrics._counts[c.METRIC_TURNS][labels] == 2


def test_a_session_that_is_collected_while_another_counts_does_not_wait_for_itself() -> None:
    metrics = Metrics(NoOpMeter("voicespan"))
    labels = (("any", "label"),)

    def count_within() -> None:  # as a session's end does that the garbage collector calls
        with ONE_AT_A_TIME:
            metrics.count(c.METRIC_TURNS, labels)

    thread = Thread(target=count_within, daemon=True)
    thread.start()
    thread.join(10)
    assert metrics._counts[c.METRIC_TURNS] == {labels: 1}
