"""A program on google-genai's Live API under instrumentation: what is told of it, and that it never notices."""

import asyncio
import gc
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import Mock

import pytest
from google.genai import errors, live, types
from google.genai.live import AsyncSession
from opentelemetry import metrics, trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK

from support.fake_live import (
    ANSWER,
    COMPLETE,
    GENERATED,
    MODEL,
    SETUP,
    Socket,
    Wire,
    audio,
    call,
    client,
    handle,
    wire,
)
from support.received import ReceivedSpan, render_tree
from support.telling import Recorder, named
from voicespan import TraceShape, in_tool, session_context
from voicespan.instrumentor import GeminiLiveInstrumentor, session_of
from voicespan.live_settings import LiveSettings, settings_from_environment

__all__ = ["wire"]

PCM = b"\x10\x27" * 320


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


Instrument = Callable[..., GeminiLiveInstrumentor]


@pytest.fixture
def instrument(recorder: Recorder) -> Iterator[Instrument]:
    instrumentor = GeminiLiveInstrumentor()

    def begin(**changes: Any) -> GeminiLiveInstrumentor:
        known: dict[str, Any] = {
            "tracer_provider": recorder.provider,
            "meter_provider": recorder.meter_provider,
            "logger_provider": recorder.logger_provider,
        }
        instrumentor.instrument(**(known | changes))
        return instrumentor

    yield begin
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def only(spans: list[ReceivedSpan], name: str) -> ReceivedSpan:
    found = [span for span in spans if span.name == name]
    assert len(found) == 1, render_tree(spans)
    return found[0]


async def answer(session: AsyncSession) -> list[types.LiveServerMessage]:
    return [message async for message in session.receive()]


async def lose(wire: Wire, *messages: Any, config: Any = None) -> None:
    """A call that the service cuts behind some messages."""
    async with client().aio.live.connect(model=MODEL, config=config) as session:
        wire.last.push(*messages)
        wire.last.drop(1011, "unavailable")
        with suppress(errors.APIError):
            while True:
                await answer(session)


class OnEnd(SpanProcessor):
    """Tells when a span of some name has ended."""

    def __init__(self, name: str, tell: Callable[[], None]) -> None:
        self._name = name
        self._tell = tell

    def on_end(self, span: ReadableSpan) -> None:
        if span.name == self._name:
            self._tell()


async def talk(wire: Wire, *, config: Any = None, vertex: bool = False) -> list[types.LiveServerMessage]:
    """A call of one spoken turn."""
    async with client(vertex=vertex).aio.live.connect(model=MODEL, config=config) as session:
        wire.last.push(*ANSWER)
        await session.send_realtime_input(audio=types.Blob(data=PCM, mime_type="audio/pcm;rate=16000"))
        return await answer(session)


# --- what is told ----------------------------------------------------------------------------------------------------


async def test_a_call_of_one_turn(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    await talk(wire, config={"response_modalities": ["AUDIO"], "system_instruction": "Be brief."})
    spans = recorder.spans()
    assert render_tree(spans) == "WebSocket Session\n  Live Connection 1\n  Turn 1"
    turn, session = only(spans, "Turn 1"), only(spans, "WebSocket Session")
    expected = {
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": MODEL,
        "gen_ai.usage.input_tokens": 120,
        "gen_ai.usage.output_tokens": 30,
        "server.address": "generativelanguage.googleapis.com",
        "voicespan.backend": "gemini",
        "voicespan.audio.input_duration": 0.02,
        "voicespan.audio.output_duration": 0.2,
        "voicespan.turn.end_reason": "completed",
    }
    assert {key: turn.attributes.get(key) for key in expected} == expected
    assert session.attributes["voicespan.session.close_initiator"] == "server"
    assert session.attributes["voicespan.session.close_code"] == 1000
    assert "gen_ai.conversation.id" not in session.attributes
    assert session.scope == "voicespan"
    assert [log.event_name for log in recorder.logs()] == [
        "gen_ai.client.realtime_session.started",
        "gen_ai.client.realtime_session.ended",
        "voicespan.session.summary",
    ]


async def test_vertex_says_that_it_is(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    await talk(wire, vertex=True)
    turn = only(recorder.spans(), "Turn 1")
    assert turn.attributes["gen_ai.provider.name"] == "gcp.vertex_ai"
    assert turn.attributes["voicespan.backend"] == "vertex"


@pytest.mark.parametrize("as_dict", [True, False])
async def test_a_tool_runs_from_its_call_to_its_response(
    wire: Wire, recorder: Recorder, instrument: Instrument, *, as_dict: bool
) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        await session.send_client_content(turns={"role": "user", "parts": [{"text": "A cafe?"}]})
        wire.last.push(call())
        async for message in session.receive():
            if message.tool_call:
                result = {"id": "c-1", "name": "search_nearby", "response": {"error": "no map"}}
                response: Any = result if as_dict else types.FunctionResponse(**result)
                await session.send_tool_response(function_responses=[response])
                wire.last.push(audio(), GENERATED, COMPLETE)
    spans = recorder.spans()
    assert render_tree(spans) == ("WebSocket Session\n  Live Connection 1\n  Turn 1\n    tool-search_nearby")
    tool, turn = only(spans, "tool-search_nearby"), only(spans, "Turn 1")
    assert tool.attributes["voicespan.tool.outcome"] == "error"
    assert tool.status == "ERROR"
    assert turn.attributes["voicespan.turn.start_source"] == "client_content"


async def test_a_program_that_knows_of_it_runs_its_tool_inside_the_tools_span(
    wire: Wire, recorder: Recorder, instrument: Instrument
) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        wire.last.push(call())
        await anext(session.receive())
        with in_tool(session_of(session), "c-1"), recorder.provider.get_tracer("app").start_as_current_span("look up"):
            pass
        with in_tool(session_of(session), "c-2"):
            assert not trace.get_current_span().get_span_context().is_valid
    assert session_of(session) is None
    assert only(recorder.spans(), "look up").parent_span_id == only(recorder.spans(), "tool-search_nearby").span_id


async def test_calls_without_ids_are_answered_by_name(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    async with client(vertex=True).aio.live.connect(model=MODEL) as session:
        wire.last.push(call("first", None), call("second", None), call("first", None))
        await session.send_realtime_input(text="Go.")
        answered = 0
        async for message in session.receive():
            for asked in message.tool_call.function_calls or [] if message.tool_call else []:
                answered += 1
                response = types.FunctionResponse(name=asked.name, response={"n": answered})
                await session.send_tool_response(function_responses=response)
            if answered == 3:
                answered += 1
                wire.last.push(audio(), GENERATED, COMPLETE)
    outcomes = [s.attributes["voicespan.tool.outcome"] for s in recorder.spans() if s.name.startswith("tool-")]
    assert outcomes == ["ok", "ok", "ok"]


async def test_what_is_sent_every_other_way(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    """Marked speech, a muted microphone, and the deprecated `send` and `media`."""
    instrument()
    sources = []
    async with client().aio.live.connect(model=MODEL) as session:

        async def turn() -> None:
            wire.last.push(audio(), GENERATED, COMPLETE)
            await answer(session)
            await asyncio.sleep(0)
            sources.append(recorder.spans()[-1].attributes["voicespan.turn.start_source"])

        await session.send_realtime_input(activity_start={})
        await session.send_realtime_input(media=types.Blob(data=PCM, mime_type="audio/pcm"))
        await session.send_realtime_input(activity_end={})
        await turn()
        await session.send_realtime_input(audio={"data": PCM, "mime_type": "audio/pcm;rate=16000"})
        await session.send_realtime_input(audio_stream_end=True)
        await turn()
        with pytest.warns(DeprecationWarning, match="send"):
            await session.send(input="Hello", end_of_turn=True)
        await turn()
        with pytest.warns(DeprecationWarning, match="send"):
            await session.send(input={"data": PCM, "mime_type": "audio/pcm"})
        await turn()
    assert sources == ["activity_end", "audio_stream_end", "client_content", "first_output"]
    seconds = [s.attributes["voicespan.audio.input_duration"] for s in recorder.spans() if s.name.startswith("Turn")]
    assert seconds == pytest.approx([0.02, 0.02, 0.0, 0.02])


async def test_audio_is_counted_at_its_own_rate(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        for rate in (16_000, 48_000):
            blob = types.Blob(data=bytes(2 * rate), mime_type=f"audio/pcm;rate={rate}")
            await session.send_realtime_input(audio=blob)
        await session.send_realtime_input(video=types.Blob(data=b"jpeg", mime_type="image/jpeg"))
    session_span = only(recorder.spans(), "WebSocket Session")
    assert session_span.attributes["voicespan.session.input_audio_duration"] == pytest.approx(2.0)


async def test_a_seed_of_history_expects_no_answer(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    config = {"history_config": {"initial_history_in_client_content": True}}
    async with client().aio.live.connect(model=MODEL, config=config) as session:
        await session.send_client_content(turns=[{"role": "user", "parts": [{"text": "Earlier."}]}])
    assert [span.name for span in recorder.spans()] == ["Live Connection 1", "WebSocket Session"]


async def test_an_answer_that_overtakes_the_return_of_its_send_is_an_answer(
    wire: Wire, recorder: Recorder, instrument: Instrument
) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        wire.last.may_send.clear()
        sending = asyncio.create_task(session.send_realtime_input(text="Hello"))
        await asyncio.sleep(0)
        wire.last.push(audio(), GENERATED, COMPLETE)
        await answer(session)
        wire.last.may_send.set()
        await sending
    assert only(recorder.spans(), "Turn 1").attributes["voicespan.turn.start_source"] == "client_content"


async def test_what_the_sdk_refuses_to_send_was_never_said(
    wire: Wire, recorder: Recorder, instrument: Instrument
) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        wire.last.push(call())
        await anext(session.receive())
        with pytest.raises(ValueError, match="id"):
            await session.send_tool_response(function_responses={"name": "search_nearby", "response": {}})
        with pytest.raises(ValueError, match="Only one argument"):
            await session.send_realtime_input(text="a", activity_end={})
    assert only(recorder.spans(), "tool-search_nearby").attributes["voicespan.tool.outcome"] == "orphaned"


# --- whose trace, whose session --------------------------------------------------------------------------------------


@pytest.mark.parametrize("parent", ["inherit", "new"])
async def test_the_parent_is_the_current_span_or_none(
    wire: Wire, recorder: Recorder, instrument: Instrument, parent: Any
) -> None:
    instrument(settings=LiveSettings(session_parent=parent))
    with recorder.provider.get_tracer("app").start_as_current_span("handler") as handler:
        await talk(wire)
    session = only(recorder.spans(), "WebSocket Session")
    is_child = session.parent_span_id == format(handler.get_span_context().span_id, "016x")
    assert is_child is (parent == "inherit")


async def test_the_program_says_whose_session_it_is(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    with session_context("s-1", "u-1", conversation_id="conv-1", tags=("beta",)):
        await talk(wire)
        await talk(wire)
    await talk(wire)
    inside, outside = recorder.spans()[:-3], recorder.spans()[-3:]
    assert len(inside) == 6
    for span in inside:
        assert span.attributes["session.id"] == "s-1"
        assert span.attributes["user.id"] == "u-1"
        assert span.attributes["gen_ai.conversation.id"] == "conv-1"
        assert span.attributes["voicespan.backend"] == "gemini"
    assert {span.attributes["session.id"] for span in outside} - {"s-1"}
    assert not any("user.id" in span.attributes for span in outside)


async def test_nothing_is_current_while_the_program_runs(wire: Wire, instrument: Instrument) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        wire.last.push(*ANSWER)
        async for _ in session.receive():
            assert not trace.get_current_span().get_span_context().is_valid


RESUMING = types.LiveConnectConfig(session_resumption=types.SessionResumptionConfig())


def resuming(known: str) -> types.LiveConnectConfig:
    return types.LiveConnectConfig(session_resumption=types.SessionResumptionConfig(handle=known))


async def test_a_lost_session_goes_on_with_its_handle(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    await lose(wire, handle("h-1"), *ANSWER, {"goAway": {"timeLeft": "5s"}}, config=RESUMING)
    assert "WebSocket Session" not in {span.name for span in recorder.spans()}
    async with client().aio.live.connect(model=MODEL, config=resuming("h-1")) as session:
        wire.last.push(*ANSWER)
        await answer(session)
    spans = recorder.spans()
    assert render_tree(spans) == ("WebSocket Session\n  Live Connection 1\n  Turn 1\n  Live Connection 2\n  Turn 2")
    assert only(spans, "WebSocket Session").status == "UNSET"
    assert only(spans, "Live Connection 2").attributes["voicespan.connection.resumed"] is True


async def test_a_new_connection_may_be_made_before_the_old_one_is_left(
    wire: Wire, recorder: Recorder, instrument: Instrument
) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL, config=RESUMING) as old:
        wire.last.push(handle("h-1"), {"goAway": {"timeLeft": "5s"}}, COMPLETE)
        await answer(old)
        async with client().aio.live.connect(model=MODEL, config=resuming("h-1")) as new:
            await old.close()
            wire.last.push(*ANSWER)
            await answer(new)
    assert render_tree(recorder.spans()) == ("WebSocket Session\n  Live Connection 1\n  Live Connection 2\n  Turn 1")


async def test_a_lost_session_that_nobody_resumes_ends_as_it_was_lost(
    wire: Wire, recorder: Recorder, instrument: Instrument
) -> None:
    ended_at_last = asyncio.Event()
    recorder.provider.add_span_processor(OnEnd("WebSocket Session", ended_at_last.set))
    instrument(settings=LiveSettings(resume_window_s=0.01))
    await lose(wire, handle("h-1"), config=RESUMING)
    await ended_at_last.wait()
    lost = only(recorder.spans(), "WebSocket Session")
    assert lost.attributes["voicespan.session.close_code"] == 1011
    assert lost.attributes["voicespan.session.close_initiator"] == "provider"
    assert lost.status == "ERROR"
    # Its handle is still good, and tells whose session it is.
    async with client().aio.live.connect(model=MODEL, config=resuming("h-1")):
        pass
    first, second = (s for s in recorder.spans() if s.name == "WebSocket Session")
    assert first.attributes["session.id"] == second.attributes["session.id"]


# --- how it ends -----------------------------------------------------------------------------------------------------


def ended(recorder: Recorder) -> tuple[object, object, str]:
    session = only(recorder.spans(), "WebSocket Session")
    found = session.attributes
    return found["voicespan.session.close_code"], found["voicespan.session.close_initiator"], session.status


async def test_a_connection_that_the_service_cuts(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    await lose(wire, audio())
    assert ended(recorder) == (1011, "provider", "ERROR")
    assert only(recorder.spans(), "Turn 1").attributes["voicespan.turn.end_reason"] == "error"


async def test_the_programs_own_error_is_the_sessions(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    problem = KeyError("secret")
    with pytest.raises(KeyError) as raised:
        async with client().aio.live.connect(model=MODEL):
            raise problem
    assert raised.value is problem
    assert ended(recorder) == (1000, "server", "ERROR")
    session = only(recorder.spans(), "WebSocket Session")
    assert session.attributes["error.type"] == "KeyError"
    assert b"secret" not in session.raw


@pytest.mark.parametrize("leave", [StopAsyncIteration, StopIteration, GeneratorExit, KeyboardInterrupt])
async def test_whatever_leaves_the_block_is_what_arrives(
    wire: Wire, recorder: Recorder, instrument: Instrument, leave: type[BaseException]
) -> None:
    instrument()
    problem = leave()
    with pytest.raises(leave) as raised:
        async with client().aio.live.connect(model=MODEL):
            raise problem
    assert raised.value is problem
    assert wire.last.closed
    only(recorder.spans(), "WebSocket Session")


async def test_a_cancelled_call_is_no_error_and_stays_cancelled(
    wire: Wire, recorder: Recorder, instrument: Instrument
) -> None:
    instrument()
    socket = Socket()
    socket.push(SETUP)
    wire.sockets.append(socket)
    task = asyncio.create_task(talk_for_ever())
    await socket.listened_to.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended(recorder) == (1000, "server", "UNSET")


async def talk_for_ever() -> None:
    async with client().aio.live.connect(model=MODEL) as session:
        async for _ in session.receive():
            pass


async def test_a_refused_dial(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    wire.refusal = ConnectionRefusedError("nobody there")
    with pytest.raises(ConnectionRefusedError):
        await talk(wire)
    spans = recorder.spans()
    assert render_tree(spans) == "WebSocket Session\n  Live Connection 1"
    assert only(spans, "Live Connection 1").attributes["error.type"] == "ConnectionRefusedError"
    assert ended(recorder) == (1006, "provider", "ERROR")


async def test_a_dial_that_is_given_up_has_not_failed(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    silent = Socket()
    wire.sockets.append(silent)
    wire.answers_setup = False
    task = asyncio.create_task(talk(wire))
    await silent.listened_to.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended(recorder) == (1000, "server", "UNSET")
    assert only(recorder.spans(), "Live Connection 1").status == "UNSET"


async def test_a_refused_setup(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    socket = Socket()
    socket.drop(1008, "no such model")
    wire.sockets.append(socket)
    with pytest.raises(errors.APIError):
        await talk(wire)
    assert ended(recorder) == (1008, "provider", "ERROR")


async def test_a_config_that_the_sdk_refuses_never_dials(
    wire: Wire, recorder: Recorder, instrument: Instrument
) -> None:
    instrument()
    with pytest.raises(ValueError, match="no_such_field"):
        await talk(wire, config={"no_such_field": 1})
    assert wire.dialed == []


async def test_a_receive_loop_that_is_left_early(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        wire.last.push(audio(), audio(), GENERATED, COMPLETE)
        async for _ in session.receive():
            break
        generator = session.receive()
        await anext(generator)
        del generator
        gc.collect()
        await answer(session)
    turn = only(recorder.spans(), "Turn 1")
    assert turn.attributes["voicespan.audio.output_duration"] == pytest.approx(0.4)
    assert turn.attributes["voicespan.turn.end_reason"] == "completed"


async def test_a_session_that_is_closed_but_not_left(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        await session.close()
        assert ended(recorder) == (1000, "server", "UNSET")
        with pytest.raises(ConnectionClosed):
            await session.send_realtime_input(text="Anybody?")


async def test_a_session_that_nobody_closes(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    opened = client().aio.live.connect(model=MODEL)
    session = await opened.__aenter__()
    wire.last.push(audio())
    await anext(session.receive())
    del session, opened
    gc.collect()
    await asyncio.sleep(0)
    gc.collect()
    for _ in range(3):  # the loop closes generators that were thrown away
        await asyncio.sleep(0)
    only(recorder.spans(), "Turn 1")
    only(recorder.spans(), "WebSocket Session")


async def test_uninstrument_ends_what_is_open_and_puts_everything_back(
    wire: Wire, recorder: Recorder, instrument: Instrument
) -> None:
    before = {name: vars(AsyncSession)[name] for name in ("_receive", "send_realtime_input", "close", "send")}
    connect = vars(live.AsyncLive)["connect"]
    instrumentor = instrument()
    assert vars(AsyncSession)["_receive"] is not before["_receive"]
    held = live.AsyncLive.connect
    async with client().aio.live.connect(model=MODEL) as session:
        instrumentor.uninstrument()
        assert ended(recorder) == (1000, "process", "UNSET")
        wire.last.push(*ANSWER)
        assert len(await answer(session)) == len(ANSWER)
    assert {name: vars(AsyncSession)[name] for name in before} == before
    assert vars(live.AsyncLive)["connect"] is connect
    # What somebody kept from before only passes through.
    async with held(client().aio.live, model=MODEL):
        pass
    assert len(recorder.spans()) == 2


async def test_two_tasks_on_one_session(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:

        async def speak() -> None:
            for _ in range(50):
                await session.send_realtime_input(audio=types.Blob(data=PCM, mime_type="audio/pcm;rate=16000"))

        wire.last.push(*ANSWER)
        _, heard = await asyncio.gather(speak(), answer(session))
    assert len(heard) == len(ANSWER)
    found = only(recorder.spans(), "WebSocket Session").attributes
    assert found["voicespan.session.input_audio_duration"] == pytest.approx(1.0)


async def test_a_message_that_cannot_be_read_is_told_and_ends_nothing(
    wire: Wire, recorder: Recorder, instrument: Instrument
) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        wire.last.push(b"not json", *ANSWER)
        with pytest.raises(ValueError, match="not json"):
            await answer(session)
        await answer(session)
    only(recorder.spans(), "Turn 1")
    assert "voicespan.protocol_error" in {event.name for event in only(recorder.spans(), "WebSocket Session").events}


# --- what the program sees -------------------------------------------------------------------------------------------


async def seen(wire: Wire) -> list[object]:
    """All that a program could notice of a call."""
    opened = client().aio.live.connect(model=MODEL)
    found: list[object] = [type(opened).__qualname__]
    async with opened as session:
        wire.last.push(*ANSWER)
        stream = session.receive()
        found += [type(session), type(stream).__qualname__, stream.__class__.__name__]
        found += [message.model_dump_json() async for message in stream]
        found.append(await session.send_realtime_input(text="Hi"))
        wire.last.push(call())
        await anext(session.receive())
        found.append(await session.send_tool_response(function_responses={"id": "c-1", "name": "x", "response": {}}))
        wire.last.drop(1011, "gone")
        try:
            await answer(session)
        except errors.APIError as error:
            found += [type(error), error.code, str(error), type(error.__context__)]
        wire.last.closed = True
        try:
            await session.send_client_content(turns={"role": "user", "parts": [{"text": "?"}]})
        except ConnectionClosedOK as error:
            found.append(str(error))
    found += [message for socket in wire.dialed for message in socket.sent]
    for name in ("send", "send_realtime_input", "send_client_content", "send_tool_response", "receive", "close"):
        method = getattr(AsyncSession, name)
        found += [method.__name__, method.__doc__, str(inspect.signature(method)), inspect.iscoroutinefunction(method)]
    found.append(str(inspect.signature(live.AsyncLive.connect)))
    return found


async def test_the_program_sees_what_it_would_see_without(wire: Wire, instrument: Instrument) -> None:
    without = await seen(wire)
    wire.dialed.clear()
    instrument()
    assert await seen(wire) == without


async def test_a_send_waits_as_long_as_the_socket_does(wire: Wire, instrument: Instrument) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        wire.last.may_send.clear()
        blob = types.Blob(data=PCM, mime_type="audio/pcm;rate=16000")
        sending = asyncio.create_task(session.send_realtime_input(audio=blob))
        await asyncio.sleep(0.01)
        assert not sending.done()
        wire.last.may_send.set()
        await sending


async def test_telemetry_that_fails_never_reaches_the_program(
    wire: Wire, recorder: Recorder, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICESPAN_RAISE", "0")

    class Broken(TracerProvider):
        def get_tracer(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("broken")

    instrument(tracer_provider=Broken(shutdown_on_exit=False))
    assert len(await talk(wire)) == len(ANSWER)


async def test_beside_langsmiths_wrapper(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    import langsmith
    from langsmith.integrations import gemini_live

    posted = Mock()
    theirs = langsmith.Client(api_url="http://127.0.0.1:9", api_key="none", session=posted, auto_batch_tracing=False)
    instrument()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is a beta
        async with (
            client().aio.live.connect(model=MODEL) as raw,
            gemini_live.wrap_gemini_live(raw, model=MODEL, client=theirs) as session,
        ):
            wire.last.push(*ANSWER)
            await session.send_realtime_input(audio=types.Blob(data=PCM, mime_type="audio/pcm;rate=16000"))
            assert len([message async for message in session.receive()]) == len(ANSWER)
    assert render_tree(recorder.spans()) == "WebSocket Session\n  Live Connection 1\n  Turn 1"
    assert posted.request.called


# --- switches --------------------------------------------------------------------------------------------------------


def watched(session: AsyncSession) -> bool:
    return "_voicespan_connection" in vars(session)


async def test_suppression_is_respected(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    with suppress_instrumentation():
        async with client().aio.live.connect(model=MODEL) as session:
            assert not watched(session)
    assert recorder.spans() == []


async def test_without_an_sdk_nothing_is_watched(wire: Wire, instrument: Instrument) -> None:
    assert type(trace.get_tracer_provider()).__name__ == "ProxyTracerProvider"
    assert type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider"
    instrument(tracer_provider=None, meter_provider=None, logger_provider=None)
    async with client().aio.live.connect(model=MODEL) as session:
        assert not watched(session)


async def test_a_disabled_sdk_is_none(wire: Wire, instrument: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        assert not watched(session)


async def test_the_shape_of_the_trace_is_a_setting(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument(settings=LiveSettings(shape=TraceShape(trace_scope="turn", generation_spans=True)))
    await talk(wire)
    spans = recorder.spans()
    turn, session = only(spans, "Turn 1"), only(spans, "WebSocket Session")
    assert turn.trace_id != session.trace_id
    assert only(spans, f"realtime_inference {MODEL}").parent_span_id == turn.span_id


async def test_a_simulated_call_can_be_named_one(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument(settings=LiveSettings(backend="simulator"))
    await talk(wire)
    assert named(recorder.spans(), "Turn 1").attributes["voicespan.backend"] == "simulator"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("VOICESPAN_SESSION_PARENT", "new", LiveSettings(session_parent="new")),
        ("VOICESPAN_TRACE_SCOPE", "TURN", LiveSettings(shape=TraceShape("turn"))),
        ("VOICESPAN_GENERATION_SPANS", "true", LiveSettings(shape=TraceShape(generation_spans=True))),
        ("VOICESPAN_SPEECH_SPANS", "1", LiveSettings(shape=TraceShape(speech_spans=True))),
        ("VOICESPAN_STALL_AFTER_S", "0", LiveSettings(stall_after_s=None)),
        ("VOICESPAN_RESUME_WINDOW_S", "2.5", LiveSettings(resume_window_s=2.5)),
        ("VOICESPAN_BACKEND", "simulator", LiveSettings(backend="simulator")),
        ("VOICESPAN_BACKEND", "auto", LiveSettings()),
    ],
)
def test_settings_are_read_from_the_environment(name: str, value: str, expected: LiveSettings) -> None:
    assert settings_from_environment({name: value}) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VOICESPAN_SESSION_PARENT", "child"),
        ("VOICESPAN_TRACE_SCOPE", "forever"),
        ("VOICESPAN_GENERATION_SPANS", "maybe"),
        ("VOICESPAN_STALL_AFTER_S", "-1"),
        ("VOICESPAN_RESUME_WINDOW_S", "inf"),
    ],
)
def test_a_value_that_is_none_is_named_and_the_default_holds(
    name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert settings_from_environment({name: value}) == LiveSettings()
    assert f"{name}={value!r}" in caplog.text
