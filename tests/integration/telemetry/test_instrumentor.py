"""A program on google-genai's Live API under instrumentation: what is told of it."""

import asyncio
from typing import Any

import pytest
from google.genai import types
from opentelemetry import trace
from websockets.exceptions import ConnectionClosed

from support.fake_live import (
    ANSWER,
    COMPLETE,
    GENERATED,
    MODEL,
    Wire,
    audio,
    call,
    client,
    wire,
)
from support.instrumented import PCM, Instrument, answer, instrument, recorder, talk
from support.received import render_tree
from support.telling import Recorder, named
from voicespan import in_tool
from voicespan.instrumentor import session_of

__all__ = ["instrument", "recorder", "wire"]


async def test_a_call_of_one_turn(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    await talk(wire, config={"response_modalities": ["AUDIO"], "system_instruction": "Be brief."})
    spans = recorder.spans()
    assert render_tree(spans) == "WebSocket Session\n  Live Connection 1\n  Turn 1"
    turn, session = named(spans, "Turn 1"), named(spans, "WebSocket Session")
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
    turn = named(recorder.spans(), "Turn 1")
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
    tool, turn = named(spans, "tool-search_nearby"), named(spans, "Turn 1")
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
    assert named(recorder.spans(), "look up").parent_span_id == named(recorder.spans(), "tool-search_nearby").span_id


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
    session_span = named(recorder.spans(), "WebSocket Session")
    assert session_span.attributes["voicespan.session.input_audio_duration"] == pytest.approx(2.0)


async def test_sound_in_a_buffer_is_sound(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        await session.send_realtime_input(audio={"data": bytearray(PCM), "mime_type": "audio/pcm;rate=16000"})
    session_span = named(recorder.spans(), "WebSocket Session")
    assert session_span.attributes["voicespan.session.input_audio_duration"] == pytest.approx(0.02)


@pytest.mark.parametrize("name", ["audio/PCM;Rate=8000", "audio/L16;rate=8000", "audio/l16; codec=pcm; rate=8000"])
async def test_sound_is_sound_by_any_of_its_names(
    wire: Wire, recorder: Recorder, instrument: Instrument, name: str
) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        await session.send_realtime_input(audio=types.Blob(data=PCM, mime_type=name))
        await session.send_realtime_input(audio=types.Blob(data=PCM, mime_type="audio/pcmu;rate=8000"))
    session_span = named(recorder.spans(), "WebSocket Session")
    assert session_span.attributes["voicespan.session.input_audio_duration"] == pytest.approx(0.04)


@pytest.mark.parametrize("blob", [types.Blob, dict], ids=["blob", "dict"])
async def test_a_frame_that_could_not_be_sent_is_no_audio_sent(
    wire: Wire, recorder: Recorder, instrument: Instrument, blob: type
) -> None:
    instrument()
    frame = blob(data=PCM, mime_type="audio/pcm;rate=16000")
    async with client().aio.live.connect(model=MODEL) as session:
        await session.send_realtime_input(audio=frame)
        wire.last.closed = True
        with pytest.raises(ConnectionClosed):
            await session.send_realtime_input(audio=frame)
        with pytest.raises(ConnectionClosed):
            await session.send_realtime_input(audio=blob(mime_type="audio/pcm;rate=16000"))
    session_span = named(recorder.spans(), "WebSocket Session")
    assert session_span.attributes["voicespan.session.input_audio_duration"] == pytest.approx(0.02)


async def test_a_rate_that_is_none_is_the_usual_one(wire: Wire, recorder: Recorder, instrument: Instrument) -> None:
    instrument()
    async with client().aio.live.connect(model=MODEL) as session:
        await session.send_realtime_input(audio=types.Blob(data=PCM, mime_type="audio/pcm;rate=0"))
        wire.last.push(*ANSWER)
        await answer(session)
    assert render_tree(recorder.spans()) == "WebSocket Session\n  Live Connection 1\n  Turn 1"
    session_span = named(recorder.spans(), "WebSocket Session")
    assert session_span.attributes["voicespan.session.input_audio_duration"] == pytest.approx(0.02)


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
    assert named(recorder.spans(), "Turn 1").attributes["voicespan.turn.start_source"] == "client_content"


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
    assert named(recorder.spans(), "tool-search_nearby").attributes["voicespan.tool.outcome"] == "orphaned"
