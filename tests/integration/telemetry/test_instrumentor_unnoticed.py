"""Under instrumentation a program sees what it would see without."""

import asyncio
import inspect
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
from google.genai import errors, live, types
from google.genai.live import AsyncSession
from opentelemetry.sdk.trace import TracerProvider
from websockets.exceptions import ConnectionClosedOK

from support.fake_live import (
    ANSWER,
    MODEL,
    Wire,
    call,
    client,
    wire,
)
from support.instrumented import PCM, Instrument, answer, instrument, recorder, talk
from support.received import render_tree
from support.telling import Recorder, named
from voicespan.instrumentor import session_of

__all__ = ["instrument", "recorder", "wire"]


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


async def test_an_iterator_in_the_config_is_the_sdks_to_read(wire: Wire, instrument: Instrument) -> None:
    instrument()
    tools = iter([{"function_declarations": [{"name": "search_nearby"}]}])
    async with client().aio.live.connect(model=MODEL, config={"tools": tools}):
        pass
    [setup] = wire.last.sent
    assert setup["setup"]["tools"] == [{"functionDeclarations": [{"name": "search_nearby"}]}]


async def test_somebodys_own_connect_may_bring_any_object(
    recorder: Recorder, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own:
        __slots__ = ()

    brought = Own()

    @asynccontextmanager
    async def connect(_: live.AsyncLive, **__: Any) -> AsyncIterator[Own]:
        yield brought

    monkeypatch.setattr(live.AsyncLive, "connect", connect)
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        assert session is brought
        assert session_of(session) is None
    assert {span.name: span.status for span in recorder.spans()} == {
        "Live Connection 1": "UNSET",
        "WebSocket Session": "UNSET",
    }


def test_a_mock_is_no_session_that_is_told() -> None:
    assert session_of(MagicMock()) is None


async def test_what_others_have_wrapped_is_told_once_when_instrumented_again(
    wire: Wire, recorder: Recorder, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    def around(method: Any) -> Any:
        async def theirs(self: AsyncSession, **kwargs: Any) -> Any:
            return await method(self, **kwargs)

        return theirs

    instrumentor = instrument()
    with monkeypatch.context() as others:
        for name in ("_receive", "send_realtime_input", "send_client_content"):
            others.setattr(AsyncSession, name, around(vars(AsyncSession)[name]))
        instrumentor.uninstrument()
        instrument()
        await talk(wire)
        instrumentor.uninstrument()
    turn = named(recorder.spans(), "Turn 1").attributes
    assert turn["voicespan.audio.input_duration"] == pytest.approx(0.02)
    assert turn["voicespan.audio.output_duration"] == pytest.approx(0.2)
    for name in ("_receive", "send_realtime_input", "send_client_content"):
        setattr(AsyncSession, name, inspect.unwrap(vars(AsyncSession)[name]))


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
