"""Under instrumentation: however a session ends, its spans end, and say how."""

import asyncio
import atexit
import gc
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from google.genai import errors, live, types
from google.genai.live import AsyncSession
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.frames import Close as Frame

from support.fake_live import (
    ANSWER,
    COMPLETE,
    GENERATED,
    MODEL,
    SETUP,
    Socket,
    Wire,
    audio,
    client,
    wire,
)
from support.garbage import garbage
from support.instrumented import PCM, Instrument, OnEnd, answer, instrument, lose, recorder, talk
from support.received import render_tree
from support.telling import Recorder, named

__all__ = ["instrument", "recorder", "wire"]

LOST = Frame(1011, "unavailable")


def ended(recorder: Recorder) -> tuple[object, object, str]:
    session = named(recorder.spans(), "WebSocket Session")
    found = session.attributes
    return found["voicespan.session.close_code"], found["voicespan.session.close_initiator"], session.status


async def test_a_connection_that_the_service_cuts(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    await lose(wire, audio())
    assert ended(recorder) == (1011, "provider", "ERROR")
    assert named(recorder.spans(), "Turn 1").attributes["voicespan.turn.end_reason"] == "error"


async def test_what_is_over_does_not_wait_for_the_garbage_collector(wire: Wire, instrument: Instrument) -> None:
    instrument()
    with garbage() as left:
        await talk(wire)
        await asyncio.sleep(0)
    assert not left


async def test_the_programs_own_error_is_the_sessions(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    problem = KeyError("secret")
    with pytest.raises(KeyError) as raised:
        async with client().aio.live.connect(model=MODEL):
            raise problem
    assert raised.value is problem
    assert ended(recorder) == (1000, "server", "ERROR")
    session = named(recorder.spans(), "WebSocket Session")
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
    named(recorder.spans(), "WebSocket Session")


@pytest.mark.parametrize(
    ("leave", "told"),
    [
        (SystemExit(), (1000, "server", "UNSET")),
        (SystemExit(2), (1000, "server", "ERROR")),
        (KeyboardInterrupt(), (1000, "server", "UNSET")),
        # A timeout of the program's, a file, another server, its own client's socket.
        (TimeoutError(), (1000, "server", "ERROR")),
        (FileNotFoundError("question.wav"), (1000, "server", "ERROR")),
        (ExceptionGroup("of a TaskGroup", [ConnectionRefusedError()]), (1000, "server", "ERROR")),
        (ConnectionClosedError(LOST, LOST, True), (1000, "server", "ERROR")),
    ],
)
async def test_what_leaves_the_block_is_told_as_what_it_is(
    wire: Wire, recorder: Recorder, instrument: Instrument, leave: BaseException, told: tuple[object, ...]
) -> None:
    instrument()
    with pytest.raises(type(leave)):
        async with client().aio.live.connect(model=MODEL):
            raise leave
    assert ended(recorder) == told


async def test_another_session_that_is_lost_is_another(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    async def two() -> None:
        async with client().aio.live.connect(model=MODEL), client().aio.live.connect(model=MODEL) as other:
            wire.last.drop(1011, "unavailable")
            await answer(other)

    instrument()
    with pytest.raises(errors.APIError):
        await two()
    found = [span.attributes for span in recorder.spans() if span.name == "WebSocket Session"]
    assert [(a["voicespan.session.close_code"], a["voicespan.session.close_initiator"]) for a in found] == [
        (1011, "provider"),
        (1000, "server"),
    ]


async def test_a_send_that_finds_the_connection_lost_is_told_as_that(
    wire: Wire, recorder: Recorder, instrument: Instrument
) -> None:
    async def greet() -> None:
        async with client().aio.live.connect(model=MODEL) as session, asyncio.TaskGroup() as tasks:
            wire.last.on_send = lost
            tasks.create_task(session.send_realtime_input(text="Hello?"))

    def lost(_: object) -> None:
        raise ConnectionClosedError(LOST, LOST, True)

    instrument()
    with pytest.raises(ExceptionGroup):
        await greet()
    assert ended(recorder) == (1011, "provider", "ERROR")


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
    assert named(spans, "Live Connection 1").attributes["error.type"] == "ConnectionRefusedError"
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
    assert named(recorder.spans(), "Live Connection 1").status == "UNSET"


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
    assert ended(recorder) == (1006, "server", "ERROR")


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
    turn = named(recorder.spans(), "Turn 1")
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
    named(recorder.spans(), "Turn 1")
    named(recorder.spans(), "WebSocket Session")


async def test_a_session_that_is_collected_inside_an_exporter_does_not_wait_for_its_lock(
    wire: Wire, recorder: Recorder, instrument: Instrument
) -> None:
    lock = threading.Lock()
    waited: list[str] = []

    def export() -> None:
        if not lock.acquire(blocking=False):
            waited.append("for ever")
            return
        try:
            gc.collect()
        finally:
            lock.release()

    recorder.provider.add_span_processor(OnEnd("Turn 1", export))
    recorder.provider.add_span_processor(OnEnd("WebSocket Session", export))
    instrument()
    opened: list[Any] = [client().aio.live.connect(model=MODEL)]
    opened += [await opened[0].__aenter__(), opened]
    del opened
    await talk(wire)
    for _ in range(3):
        await asyncio.sleep(0)
    assert waited == []
    assert len([span for span in recorder.spans() if span.name == "WebSocket Session"]) == 2


def test_a_session_that_outlives_its_loop_is_closed_without_a_word(
    recorder: Recorder, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialed: list[Dialed] = []

    def dial(*_: object, **__: object) -> Dialed:
        dialed.append(Dialed())
        return dialed[-1]

    monkeypatch.setattr(live, "ws_connect", dial)
    instrument()
    complaints: list[dict[str, Any]] = []
    opened = client().aio.live.connect(model=MODEL)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        await opened.__aenter__()

    asyncio.run(main())
    assert complaints == []
    assert dialed[0].socket.closed
    assert ended(recorder) == (1000, "server", "UNSET")


class Dialed:
    """No generator, as that of websockets is none; and its goodbye takes a while."""

    def __init__(self) -> None:
        self.socket = Socket()
        self.socket.push(SETUP)

    async def __aenter__(self) -> Socket:
        return self.socket

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)
        await self.socket.close()


async def test_the_process_ends_it_before_an_sdk_that_was_set_up_late(
    wire: Wire, recorder: Recorder, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_exit: list[Callable[[], object]] = []
    monkeypatch.setattr(atexit, "register", lambda run, *args: at_exit.append(partial(run, *args)))
    instrument(tracer_provider=None)
    provider = TracerProvider()  # its shutdown is registered here
    provider.add_span_processor(OnEnd("WebSocket Session", lambda: ended_in.append("session")))
    provider.add_span_processor(OnShutdown(lambda: ended_in.append("SDK")))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    ended_in: list[str] = []
    opened = client().aio.live.connect(model=MODEL)
    _session = await opened.__aenter__()
    for run in reversed(at_exit):
        run()
    assert ended_in == ["session", "SDK"]
    await opened.__aexit__(None, None, None)


class OnShutdown(SpanProcessor):
    def __init__(self, tell: Callable[[], None]) -> None:
        self.shutdown = tell  # type: ignore[method-assign]


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


async def test_a_child_of_a_fork_ends_its_own_calls_and_none_of_its_parents(
    wire: Wire, recorder: Recorder, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    instrumentor = instrument()
    stays_open = client().aio.live.connect(model=MODEL)
    await stays_open.__aenter__()
    monkeypatch.setattr(os, "getpid", lambda: -1)  # a child, as far as it can tell
    its_own = client().aio.live.connect(model=MODEL)
    await its_own.__aenter__()
    instrumentor.uninstrument()
    assert [span.name for span in recorder.spans()].count("WebSocket Session") == 1
    for opened in (its_own, stays_open):
        await opened.__aexit__(None, None, None)
    assert [span.name for span in recorder.spans()].count("WebSocket Session") == 2


async def test_a_child_of_a_fork_that_calls_nobody_tells_nothing(
    wire: Wire, recorder: Recorder, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    instrumentor = instrument()
    async with client().aio.live.connect(model=MODEL):
        monkeypatch.setattr(os, "getpid", lambda: -1)
        instrumentor.uninstrument()
        assert [span.name for span in recorder.spans()] == ["Live Connection 1"]


async def test_two_tasks_on_one_session(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:

        async def speak() -> None:
            for _ in range(50):
                await session.send_realtime_input(audio=types.Blob(data=PCM, mime_type="audio/pcm;rate=16000"))

        wire.last.push(*ANSWER)
        _, heard = await asyncio.gather(speak(), answer(session))
    assert len(heard) == len(ANSWER)
    found = named(recorder.spans(), "WebSocket Session").attributes
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
    named(recorder.spans(), "Turn 1")
    assert "voicespan.protocol_error" in {event.name for event in named(recorder.spans(), "WebSocket Session").events}
