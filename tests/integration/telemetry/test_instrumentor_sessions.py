"""Under instrumentation: whose trace a session is in, whose session it is, and which connections are one session."""

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest
from google.genai import types
from opentelemetry import trace

from support.fake_live import (
    ANSWER,
    COMPLETE,
    GENERATED,
    MODEL,
    Wire,
    audio,
    client,
    content,
    handle,
    wire,
)
from support.instrumented import Instrument, OnEnd, answer, instrument, lose, recorder, talk
from support.received import render_tree
from support.telling import Recorder, named
from voicespan import session_context
from voicespan.genai.calls import Call, Calls
from voicespan.live_settings import LiveSettings

__all__ = ["instrument", "recorder", "wire"]


@pytest.mark.parametrize("parent", ["inherit", "new"])
async def test_the_parent_is_the_current_span_or_none(
    wire: Wire, recorder: Recorder, instrument: Instrument, parent: Any
) -> None:
    instrument(settings=LiveSettings(session_parent=parent))
    with recorder.provider.get_tracer("app").start_as_current_span("handler") as handler:
        await talk(wire)
    session = named(recorder.spans(), "WebSocket Session")
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
    assert named(spans, "WebSocket Session").status == "UNSET"
    assert named(spans, "Live Connection 2").attributes["voicespan.connection.resumed"] is True


@pytest.mark.parametrize("window_s", [10.0, 0.0])
@pytest.mark.parametrize("announced", [[{"goAway": {"timeLeft": "5s"}}], []], ids=["go away", "unasked"])
async def test_a_new_connection_may_be_made_before_the_old_one_is_left(
    wire: Wire, recorder: Recorder, instrument: Instrument, announced: list[object], window_s: float
) -> None:
    instrument(settings=LiveSettings(resume_window_s=window_s))
    async with client().aio.live.connect(model=MODEL, config=RESUMING) as old:
        wire.last.push(handle("h-1"), *announced, COMPLETE)
        await answer(old)
        async with client().aio.live.connect(model=MODEL, config=resuming("h-1")) as new:
            await old.close()
            wire.last.push(*ANSWER)
            await answer(new)
    assert render_tree(recorder.spans()) == ("WebSocket Session\n  Live Connection 1\n  Live Connection 2\n  Turn 1")


def test_a_session_that_is_resumed_in_another_run_tells_its_turns_in_time(
    wire: Wire, recorder: Recorder, instrument: Instrument
) -> None:
    instrument()
    no_usage = content(turnComplete=True)

    async def first() -> None:
        await lose(wire, handle("h-1"), audio(), GENERATED, no_usage, config=RESUMING)

    async def second() -> None:
        told = asyncio.Event()
        recorder.provider.add_span_processor(OnEnd("Turn 2", told.set))
        async with client().aio.live.connect(model=MODEL, config=resuming("h-1")) as session:
            wire.last.push(audio(), GENERATED, no_usage)
            await answer(session)
            async with asyncio.timeout(10):
                await told.wait()

    asyncio.run(first())
    asyncio.run(second())


def test_a_call_may_begin_in_a_thread_while_another_looks_at_all() -> None:
    calls = Calls(resume_window_s=0)

    class Beginning(Call):
        @property
        def due_s(self) -> float:
            calls._open.add(Mock())
            return float("inf")

        @due_s.setter
        def due_s(self, _: float) -> None:
            pass

    for _ in range(2):
        calls.add(Beginning(calls, Mock(), Mock()))


async def test_a_lost_session_that_nobody_resumes_ends_as_it_was_lost(
    wire: Wire, recorder: Recorder, instrument: Instrument
) -> None:
    ended_at_last = asyncio.Event()
    recorder.provider.add_span_processor(OnEnd("WebSocket Session", ended_at_last.set))
    instrument(settings=LiveSettings(resume_window_s=0.01))
    await lose(wire, handle("h-1"), config=RESUMING)
    await ended_at_last.wait()
    lost = named(recorder.spans(), "WebSocket Session")
    assert lost.attributes["voicespan.session.close_code"] == 1011
    assert lost.attributes["voicespan.session.close_initiator"] == "provider"
    assert lost.status == "ERROR"
    # Its handle is still good, and tells whose session it is.
    async with client().aio.live.connect(model=MODEL, config=resuming("h-1")):
        pass
    first, second = (s for s in recorder.spans() if s.name == "WebSocket Session")
    assert first.attributes["session.id"] == second.attributes["session.id"]
