"""Sessions that a program begins itself."""

from array import array
from dataclasses import replace
from threading import Thread
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.util._once import Once

from support.received import render_tree
from support.simulated_call import tone
from support.telling import Recorder, named
from voicespan import (
    Capture,
    Close,
    Identity,
    LiveSettings,
    Model,
    Providers,
    Usage,
    in_tool,
    session_context,
    start_session,
)
from voicespan import events as ev


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def providers(recorder: Recorder) -> Providers:
    return Providers(recorder.provider, recorder.meter_provider, recorder.logger_provider)


def test_a_session_from_its_start_to_its_close(recorder: Recorder, providers: Providers) -> None:
    session = start_session(
        "models/gemini-3.8-live", Identity("s-1", "u-1"), capture=Capture(on_spans=True), providers=providers
    )
    session.feed(ev.UserText("A cafe?"))
    session.feed(ev.ToolCall("c-1", "search"))
    with in_tool(session, "c-1"), recorder.provider.get_tracer("app").start_as_current_span("look up"):
        pass
    with in_tool(session, "c-2"):
        assert not trace.get_current_span().get_span_context().is_valid
    session.feed(ev.ToolResponse("c-1", ev.ToolOutcome.OK))
    session.feed(ev.ModelText("Yes."))
    session.feed(ev.TurnComplete())
    session.close(Close(1000, "", "server"))
    spans = recorder.spans()
    assert render_tree(spans) == "WebSocket Session\n  Turn 1\n    tool-search\n      look up"
    assert {span.attributes["session.id"] for span in spans} == {"s-1"}
    assert {span.attributes["user.id"] for span in spans} == {"u-1"}
    turn = named(spans, "Turn 1")
    assert turn.attributes["gen_ai.request.model"] == "gemini-3.8-live"
    assert "A cafe?" in str(turn.attributes["gen_ai.input.messages"])
    assert {log.event_name for log in recorder.logs()} == {"voicespan.session.summary"}
    assert {metric.name for metric in recorder.measured()} > {"voicespan.turns"}


def test_it_belongs_to_the_context_that_it_is_started_in(recorder: Recorder, providers: Providers) -> None:
    with session_context("s-2", "u-2"):
        start_session(Model("any"), providers=providers).close(Close(1000))
    start_session(Model("any"), providers=providers).close(Close(1000))
    inside, outside = recorder.spans()
    assert (inside.attributes["session.id"], inside.attributes["user.id"]) == ("s-2", "u-2")
    assert len(str(outside.attributes["session.id"])) == 32
    assert "user.id" not in outside.attributes


@pytest.mark.parametrize("identity", [None, Identity("s-1"), Identity("s-1", backend="vertex")])
def test_what_answers_is_the_identitys_or_the_settings_word(
    recorder: Recorder, providers: Providers, identity: Identity | None
) -> None:
    start_session("any", identity, providers=providers, settings=LiveSettings(backend="simulator")).close(Close(1000))
    [session] = recorder.spans()
    assert session.attributes["voicespan.backend"] == ((identity and identity.backend) or "simulator")


@pytest.mark.parametrize("settings", [LiveSettings(), LiveSettings(session_parent="new")])
def test_its_parent_is_the_current_span_or_none(
    recorder: Recorder, providers: Providers, settings: LiveSettings
) -> None:
    with recorder.provider.get_tracer("app").start_as_current_span("handler"):
        start_session("any", providers=providers, settings=settings).close(Close(1000))
    expected = "handler\n  WebSocket Session" if settings.session_parent == "inherit" else "handler\nWebSocket Session"
    assert render_tree(recorder.spans()) == expected


def test_two_sessions_of_one_program_share_their_instruments(recorder: Recorder, providers: Providers) -> None:
    for _ in range(2):
        session = start_session("any", providers=providers)
        session.feed(ev.ModelText("Hi"))
        session.feed(ev.TurnComplete())
        session.close(Close(1000))
    [turns] = [metric for metric in recorder.measured() if metric.name == "voicespan.turns"]
    assert sum(point.value for point in turns.points) == 2


def test_an_id_that_langfuse_would_drop_is_refused() -> None:
    with pytest.raises(ValueError, match="session_id must have 1 to 200 characters"), session_context("x" * 201):
        pass


def test_a_rate_that_is_none_is_refused(
    recorder: Recorder, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="samples per second"):
        start_session("gemini-3.8-live", input_rate_hz=0, providers=providers)
    monkeypatch.setenv("VOICESPAN_RAISE", "0")
    session = start_session("gemini-3.8-live", providers=providers)
    session.input_rate(0)  # in the midst of a call it is counted as an error, and the former rate holds
    session.audio_sent(bytes(32_000))
    session.close(Close(1000))
    assert named(recorder.spans(), "WebSocket Session").attributes["voicespan.session.input_audio_duration"] == 1.0


@pytest.mark.parametrize("frame", [None, "pcm"])
def test_a_frame_that_is_no_bytes_is_left_out(
    frame: object, recorder: Recorder, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICESPAN_RAISE", "0")
    session = start_session("gemini-3.8-live", providers=providers)
    session.audio_sent(frame)  # type: ignore[arg-type]
    session.audio_sent(bytes(32_000))
    session.feed(ev.ModelAudio(0.5))
    session.close(Close(1000))
    assert render_tree(recorder.spans()) == "WebSocket Session\n  Turn 1"


def test_a_buffer_that_is_filled_again_is_heard_as_it_was(recorder: Recorder, providers: Providers) -> None:
    """As sound cards' libraries have it; and a buffer of numbers is as long as its bytes."""
    session = start_session("gemini-3.8-live", providers=providers)
    buffer = array("h", bytes(640))
    for number in range(150):
        frame = tone(0.02) if number < 87 else bytes(640)
        buffer[:] = array("h", frame)
        session.audio_sent(memoryview(buffer), session.began_ns + (number + 1) * 20_000_000)
    session.feed(ev.ModelAudio(0.5), session.began_ns + 3_000_000_000)
    session.close(Close(1000))
    turn = named(recorder.spans(), "Turn 1").attributes
    assert turn["voicespan.audio.input_duration"] == 3.0
    assert turn["voicespan.turn.start_source"] == "acoustic"
    assert turn["voicespan.time_to_first_audio"] == pytest.approx((150 - 87) * 0.02, abs=0.03)


@pytest.mark.parametrize("close", [None, 1000, Close(None), Close(1000, None)])  # type: ignore[arg-type] # as frameworks have it
def test_a_session_ends_whatever_it_is_closed_with(
    close: object, recorder: Recorder, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICESPAN_RAISE", "0")
    session = start_session("gemini-3.8-live", providers=providers)
    session.feed(ev.ModelAudio(0.5))
    session.close(close)  # type: ignore[arg-type]
    assert render_tree(recorder.spans()) == "WebSocket Session\n  Turn 1"
    told = named(recorder.spans(), "WebSocket Session").attributes
    code = close.code if isinstance(close, Close) else None
    assert (told["voicespan.session.close_code"], told["voicespan.session.close_reason"]) == (code or 1006, "")
    [active] = [metric for metric in recorder.measured() if metric.name == "voicespan.sessions.active"]
    assert sum(point.value for point in active.points) == 0


def test_of_an_error_only_its_kind_is_told(recorder: Recorder, providers: Providers) -> None:
    session = start_session("gemini-3.8-live", providers=providers)
    session.close(Close(1011, "", "server"), ValueError("what the user said"))
    [told] = recorder.spans()
    assert (told.attributes["error.type"], told.status) == ("ValueError", "ERROR")
    assert b"what the user said" not in told.raw


def test_a_number_that_json_has_not_is_told_as_text(recorder: Recorder, providers: Providers) -> None:
    session = start_session("gemini-3.8-live", capture=Capture(on_spans=True), providers=providers)
    session.feed(ev.ToolCall("c-1", "measure"))
    session.feed(ev.ToolResponse("c-1", ev.ToolOutcome.OK, {"metres": float("nan"), "limit": float("inf"), "n": 1.5}))
    session.close(Close(1000))
    told = named(recorder.spans(), "tool-measure").attributes["gen_ai.tool.call.result"]
    assert told == '{"metres":"nan","limit":"inf","n":1.5}'


def test_a_model_or_an_identity_that_is_none_is_refused(providers: Providers) -> None:
    with pytest.raises(TypeError, match=r"identity must be a voicespan.Identity\(session_id, ...\), got str"):
        start_session("any", "call-1", providers=providers)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"model must be a name or .* got NoneType"):
        start_session(None, providers=providers)  # type: ignore[arg-type]


def test_what_cannot_be_json_costs_neither_its_tool_nor_its_turn(
    recorder: Recorder, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICESPAN_RAISE", "0")
    itself: dict[str, object] = {}
    itself["self"] = itself
    session = start_session("gemini-3.8-live", capture=Capture(on_spans=True), providers=providers)
    session.feed(ev.ToolCall("c-1", "look_up", itself))
    session.feed(ev.ToolResponse("c-1", ev.ToolOutcome.OK, itself))
    session.close(Close(1000))
    spans = recorder.spans()
    assert render_tree(spans) == "WebSocket Session\n  Turn 1\n    tool-look_up"
    assert named(spans, "tool-look_up").attributes["gen_ai.tool.call.result"] == '"[cannot be shown as JSON]"'


def test_an_id_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="user_id must be a str, got int"), session_context(user_id=42):  # type: ignore[arg-type]
        pass


def test_in_a_tool_without_a_session_nothing_happens() -> None:
    with in_tool(None, "c-1"):
        assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize("event", [ev.TurnComplete, {"type": "response.done"}, None])
def test_what_is_no_event_is_named(event: object, recorder: Recorder, providers: Providers) -> None:
    session = start_session("any", providers=providers)
    with pytest.raises(TypeError, match=r"feed takes an event of voicespan\.events, such as TurnComplete\(\), got"):
        session.feed(event)  # type: ignore[arg-type]
    session.close(Close(1000))
    assert render_tree(recorder.spans()) == "WebSocket Session"


def test_a_time_that_is_a_float_costs_no_span(recorder: Recorder, providers: Providers) -> None:
    session = start_session("any", providers=providers)
    at_ns = float(session.now_ns())
    for _ in range(60):
        session.audio_sent(bytes(640), at_ns)  # type: ignore[arg-type]
    session.feed(ev.UserText("Hi"), at_ns)  # type: ignore[arg-type]
    session.feed(ev.TurnComplete(), at_ns)  # type: ignore[arg-type]
    session.close(Close(1000))
    assert render_tree(recorder.spans()) == "WebSocket Session\n  Turn 1"


def test_samples_that_are_no_16_bits_are_named(providers: Providers) -> None:
    session = start_session("any", providers=providers)
    with pytest.raises(TypeError, match="audio_sent takes 16-bit samples, got 4 bytes each"):
        session.audio_sent(memoryview(array("f", [0.5] * 320)))
    session.close(Close(1000))


def test_a_count_that_a_provider_leaves_out_is_none(recorder: Recorder, providers: Providers) -> None:
    session = start_session("any", providers=providers)
    session.feed(ev.UserText("Hi"))
    session.feed(ev.UsageReport(Usage(input_text=7, input_cached=None), completes_turn=True))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"UsageReport takes a voicespan\.Usage, got dict"):
        session.feed(ev.UsageReport({"input_text": 7}))  # type: ignore[arg-type]
    session.feed(ev.TurnComplete())
    session.close(Close(1000))
    assert named(recorder.spans(), "Turn 1").attributes["gen_ai.usage.input_tokens"] == 7


def test_a_turn_that_cannot_be_told_ends_with_its_session(
    recorder: Recorder, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICESPAN_RAISE", "0")
    session = start_session("any", providers=providers)
    session.feed(ev.UserText("Hi"))
    session.feed(ev.UsageReport(Usage(input_text="7"), completes_turn=True))  # type: ignore[arg-type]
    session.feed(ev.TurnComplete())
    session.close(Close(1000))
    assert render_tree(recorder.spans()) == "WebSocket Session\n  Turn 1"


def test_of_an_exceptions_class_its_name_is_told(recorder: Recorder, providers: Providers) -> None:
    start_session("any", providers=providers).close(Close(1000), TimeoutError)
    [session] = recorder.spans()
    assert session.attributes["error.type"] == "TimeoutError"


def test_what_is_no_model_price_or_parent_is_refused() -> None:
    with pytest.raises(TypeError, match=r"prices must be a voicespan\.cost\.Prices, got dict"):
        Model("any", prices={"input_text": 1.0})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a model's name must be a str, got int"):
        Model(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="parent must be an opentelemetry Context, got NonRecordingSpan"):
        start_session("any", parent=trace.INVALID_SPAN)  # type: ignore[arg-type]


def test_sessions_before_the_program_set_its_meter_provider_do_not_stop_its_counts(
    providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turn(by: Providers) -> None:
        session = start_session("any", providers=by)
        session.feed(ev.ModelText("Hi"))
        session.feed(ev.TurnComplete())
        session.close(Close(1000))

    by_default = replace(providers, meter=None)
    reader = InMemoryMetricReader()
    monkeypatch.setattr("opentelemetry.metrics._internal._METER_PROVIDER", None)
    monkeypatch.setattr("opentelemetry.metrics._internal._METER_PROVIDER_SET_ONCE", Once())
    turn(by_default)
    metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
    turn(by_default)
    turn(by_default)
    data = reader.get_metrics_data()
    assert data
    found = {m.name: m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert [getattr(point, "value", None) for point in found["voicespan.turns"].data.data_points] == [2]


def test_audio_that_could_not_be_sent_is_taken_back(recorder: Recorder, providers: Providers) -> None:
    session = start_session("any", providers=providers)
    for seconds in (1.0, 2.0):  # of which half a second at a time is thinned out
        frame = bytes(int(32_000 * seconds))
        session.audio_sent(frame)
    session.audio_not_sent(len(frame))
    session.input_rate(8_000)
    session.audio_sent(bytes(16_000))
    session.close(Close(1000))
    assert named(recorder.spans(), "WebSocket Session").attributes["voicespan.session.input_audio_duration"] == 2.0


def test_the_first_sessions_of_several_threads_share_their_instruments(providers: Providers) -> None:
    reader = InMemoryMetricReader()

    def turn() -> None:
        session = start_session("any", providers=replace(providers, meter=meter_provider))
        session.feed(ev.ModelText("Hi"))
        session.feed(ev.TurnComplete())
        session.close(Close(1000))

    class Slow(MeterProvider):
        def get_meter(self, *args: Any, **kwargs: Any) -> Meter:
            if not other.ident:
                other.start()
                other.join(0.05)  # it must wait for the instruments that are made here
            return super().get_meter(*args, **kwargs)

    other = Thread(target=turn)
    meter_provider = Slow([reader], shutdown_on_exit=False)
    turn()
    other.join()
    data = reader.get_metrics_data()
    assert data
    found = {m.name: m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert [getattr(point, "value", None) for point in found["voicespan.turns"].data.data_points] == [2]
