"""Whole calls: a client, the server under uvicorn, the real google-genai client, the simulator; and what is stored."""

import asyncio
import contextlib
import json
import signal
import urllib.error
from collections.abc import AsyncIterator, Sequence

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from support import langfuse_contract
from support.caller import ask, call, speech, talk_over
from support.otlp_sink import OtlpHttpSink
from support.received import ReceivedSpan, render_tree
from support.server import ServerProcess
from voicespan_server.client import CallError
from voicespan_server.server_messages import (
    Goodbye,
    Interrupted,
    Navigate,
    Places,
    Resumed,
    ToolCompleted,
    ToolStarted,
    TurnCompleted,
    TurnStarted,
)

pytestmark = pytest.mark.e2e

CAPTURE = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_AND_EVENT"}


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "OTEL_METRICS_EXPORTER": "none", **CAPTURE}


def trace_of(receiver: OtlpHttpSink, trace_id: str) -> list[ReceivedSpan]:
    """All spans of a call, once its session span is there."""

    def of_call(spans: Sequence[ReceivedSpan]) -> list[ReceivedSpan]:
        return [span for span in spans if span.trace_id == trace_id]

    arrived = receiver.spans.wait_for(lambda spans: any(s.name == "WebSocket Session" for s in of_call(spans)))
    return of_call(arrived)


def on_langfuse(spans: Sequence[ReceivedSpan]) -> list[ReceivedSpan]:
    """The spans as the collector's projection leaves them: without the upgrade's, the session span as root."""
    from dataclasses import replace

    kept = [span for span in spans if span.name != "Voice Session"]
    return [replace(s, parent_span_id="") if s.attributes.get("voicespan.entry") else s for s in kept]


def end_reasons(spans: Sequence[ReceivedSpan]) -> list[str]:
    turns = sorted((s for s in spans if s.name.startswith("Turn ")), key=lambda s: s.start_ns)
    return [str(turn.attributes["voicespan.turn.end_reason"]) for turn in turns]


async def test_the_demos_conversation_leaves_the_trace_of_the_mission(
    environ: dict[str, str], receiver: OtlpHttpSink
) -> None:
    with ServerProcess(environ) as server:
        async with call(server.voice_url) as caller:
            await ask(caller)
            await ask(caller)
            await talk_over(caller, turns=2)
            await caller.hang_up()
        spans = trace_of(receiver, caller.trace_id)
        assert render_tree(spans) == "\n".join(
            [
                "Voice Session",
                "  WebSocket Session",
                "    Live Connection 1",
                "    Turn 1",
                "      tool-navigate_to_location",
                "    Turn 2",
                "      tool-search_nearby",
                "    Turn 3",
                "    Turn 4",
            ]
        )
        langfuse_contract.trace(on_langfuse(spans))
        assert end_reasons(spans) == ["completed", "completed", "interrupted", "completed"]
        session = next(s for s in spans if s.name == "WebSocket Session")
        assert session.attributes["session.id"] == caller.session_id
        assert session.attributes["user.id"] == "user-1"
        assert session.attributes["voicespan.backend"] == "simulator"
        assert session.attributes["voicespan.session.barge_ins"] == 1
        assert session.attributes["voicespan.session.close_code"] == 1000
        assert session.attributes["voicespan.session.input_audio_duration"] > 3  # type: ignore[operator]
        assert "Helsinki Cathedral" in str(session.attributes["langfuse.observation.input"])
        # The same spans, byte for byte, are in the local store.
        stored = server.get(f"/v1/traces/{caller.trace_id}")
        assert {s["span_id"] for s in stored} == {s.span_id for s in spans}
        # What the client was told is what the trace says.
        assert [m.turn for m in caller.of(TurnCompleted)] == [1, 2, 3, 4]
        assert [m.name for m in caller.of(ToolStarted)] == ["navigate_to_location", "search_nearby"]
        assert {m.status for m in caller.of(ToolCompleted)} == {"ok"}
        assert [m.turn for m in caller.of(Interrupted)] == [3]
        assert caller.of(Navigate)[0].destination == "Helsinki Cathedral"
        assert caller.of(Places)
        assert isinstance(caller.messages[-1], Goodbye)
        assert caller.heard_s > 3


SCENARIOS = {
    "plain": (1, ["completed"], "Turn 1"),
    "one_tool": (1, ["completed"], "Turn 1\n      tool-search_nearby"),
    "parallel_tools": (1, ["completed"], "Turn 1\n      tool-navigate_to_location\n      tool-search_nearby"),
    "go_away": (2, ["completed", "completed"], "Live Connection 2\n    Turn 2\n      tool-search_nearby"),
    "abrupt_loss": (2, ["error", "completed"], "Live Connection 2\n    Turn 2"),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_scenario(scenario: str, environ: dict[str, str], receiver: OtlpHttpSink) -> None:
    turns, reasons, part = SCENARIOS[scenario]
    with ServerProcess({**environ, "VOICESPAN_SIMULATOR_SCENARIO": scenario}) as server:
        async with call(server.voice_url) as caller:
            for turn in range(turns):
                if scenario in {"go_away", "abrupt_loss"} and turn == 1:
                    await caller.wait_for(lambda c: bool(c.of(Resumed)))
                await ask(caller)
            await caller.hang_up()
        spans = trace_of(receiver, caller.trace_id)
    assert end_reasons(spans) == reasons
    assert part in render_tree(spans)
    langfuse_contract.trace(on_langfuse(spans))
    second = [s for s in spans if s.name == "Live Connection 2"]
    if second:
        assert second[0].attributes["voicespan.connection.resumed"] is True
        assert second[0].attributes["voicespan.connection.gap_duration"] > 0  # type: ignore[operator]


async def test_both_kinds_of_barge_in(environ: dict[str, str], receiver: OtlpHttpSink) -> None:
    with ServerProcess({**environ, "VOICESPAN_SIMULATOR_SCENARIO": "barge_in"}) as server:
        async with call(server.voice_url) as caller:
            for turn in (1, 2, 3):
                await caller.say(speech())
                await caller.wait_for(lambda c, turn=turn: len(c.of(TurnStarted)) == turn)  # type: ignore[misc]
            await caller.wait_for(lambda c: len(c.of(TurnCompleted)) == 3)
            await caller.hang_up()
        spans = trace_of(receiver, caller.trace_id)
    assert end_reasons(spans) == ["interrupted", "interrupted", "completed"]
    assert all(span.status == "UNSET" for span in spans)


@pytest.mark.parametrize(
    ("model", "dialect", "turns"),
    [
        ("gemini-3.8-live", "gemini", 1),
        ("gemini-3.1-flash-live-preview", "gemini", 1),
        ("gemini-2.5-flash-native-audio-preview-09-2025", "gemini", 1),
        # Vertex closes the half that called the tool and the half that answered: two turns for one question.
        ("gemini-live-2.5-flash", "vertex", 2),
    ],
)
async def test_every_model_says_the_same(
    model: str, dialect: str, turns: int, environ: dict[str, str], receiver: OtlpHttpSink
) -> None:
    chosen = {
        "VOICESPAN_MODEL": model,
        "VOICESPAN_SIMULATOR_DIALECT": dialect,
        "VOICESPAN_SIMULATOR_SCENARIO": "one_tool",
    }
    with ServerProcess({**environ, **chosen}) as server:
        async with call(server.voice_url) as caller:
            await caller.say(speech())
            await caller.wait_for(lambda c: len(c.of(TurnCompleted)) == turns)
            await caller.hang_up()
        spans = trace_of(receiver, caller.trace_id)
    assert end_reasons(spans) == ["completed"] * turns
    langfuse_contract.trace(on_langfuse(spans))
    first, last = (next(s for s in spans if s.name == f"Turn {n}") for n in (1, turns))
    assert first.attributes["gen_ai.request.model"] == model
    assert first.attributes["gen_ai.provider.name"] == {"gemini": "gcp.gemini", "vertex": "gcp.vertex_ai"}[dialect]
    tool = next(s for s in spans if s.name == "tool-search_nearby")
    assert tool.parent_span_id == first.span_id
    output = json.loads(str(last.attributes["langfuse.observation.output"]))
    assert output[-1]["content"].startswith("Yes, there are several cafes close by.")
    if dialect == "vertex":
        assert last.attributes["voicespan.turn.start_source"] == "tool_response"
    else:
        asked = json.loads(str(first.attributes["langfuse.observation.input"]))
        assert asked[-1] == {"role": "user", "content": "Is there a cafe near here?"}


async def test_typed_text_is_answered_and_dates_its_turn(environ: dict[str, str], receiver: OtlpHttpSink) -> None:
    with ServerProcess(environ) as server:
        async with call(server.voice_url) as caller:
            await caller.send({"type": "text", "text": "Take me to the Senate Square"})
            await caller.wait_for(lambda c: bool(c.of(TurnCompleted)))
            await caller.hang_up()
        spans = trace_of(receiver, caller.trace_id)
    turn = next(s for s in spans if s.name == "Turn 1")
    assert turn.attributes["voicespan.turn.start_source"] == "client_content"
    assert [s.name for s in spans if s.name.startswith("tool-")] == ["tool-navigate_to_location"]


async def test_nothing_that_was_said_leaves_unless_asked_for(environ: dict[str, str], receiver: OtlpHttpSink) -> None:
    for name in CAPTURE:
        del environ[name]
    with ServerProcess(environ) as server:
        async with call(server.voice_url) as caller:
            await ask(caller)
            await caller.hang_up()
        spans = trace_of(receiver, caller.trace_id)
        answer = server.post("/v1/chat", {"message": "find a cafe"})
        chat = receiver.spans.wait_for(lambda found: any(s.trace_id == answer["trace_id"] for s in found))
    langfuse_contract.no_content([*spans, *chat], "cathedral", "Cathedral", "cafe", "friendly guide")


async def test_a_client_that_vanishes_ends_its_session(environ: dict[str, str], receiver: OtlpHttpSink) -> None:
    with ServerProcess(environ) as server:
        async with call(server.voice_url) as caller:
            await ask(caller)
            await caller.say(speech())
            caller.socket.transport.abort()
        spans = trace_of(receiver, caller.trace_id)
    session = next(s for s in spans if s.name == "WebSocket Session")
    assert session.attributes["voicespan.session.close_initiator"] == "client"
    assert session.attributes["voicespan.session.close_code"] in {1005, 1006}
    assert session.status == "UNSET"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_shutdown_ends_sessions_and_brings_their_spans_out(
    number: signal.Signals, environ: dict[str, str], receiver: OtlpHttpSink
) -> None:
    with ServerProcess(environ) as server:
        async with call(server.voice_url) as caller:
            await ask(caller)
            status = await asyncio.to_thread(server.signal, number)
            with pytest.raises(CallError, match="1012"):
                await caller.wait_for(lambda c: False)
        spans = trace_of(receiver, caller.trace_id)
    assert status == {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: 0}[number]  # uvicorn's own
    session = next(s for s in spans if s.name == "WebSocket Session")
    assert session.attributes["voicespan.session.close_code"] == 1012
    assert session.attributes["voicespan.session.close_initiator"] == "process"


async def test_what_had_ended_survives_a_kill_and_an_outage(environ: dict[str, str], receiver: OtlpHttpSink) -> None:
    receiver.stop()
    server = ServerProcess(environ)
    with server:
        async with call(server.voice_url) as caller:
            await ask(caller)
            await ask(caller)
            # On disk within 50 ms of their end; the second answer's chunks came in between.
            await asyncio.sleep(0.1)
            await asyncio.to_thread(server.signal, signal.SIGKILL)
        assert not receiver.spans.all()
        receiver.start()
        await asyncio.to_thread(server.start)
        received = await asyncio.to_thread(
            receiver.spans.wait_for, lambda spans: any(s.name == "WebSocket Session" for s in spans)
        )
        of_call = [span for span in received if span.trace_id == caller.trace_id]
        assert {s.name for s in of_call} == {
            "Voice Session", "Live Connection 1", "Turn 1", "Turn 2", "tool-navigate_to_location", "tool-search_nearby",
            "WebSocket Session",
        }  # fmt: skip
        # The session, which nobody ended, was closed by the second process.
        session = next(s for s in of_call if s.name == "WebSocket Session")
        assert (session.status, session.attributes["error.type"]) == ("ERROR", "process_died")
        assert session.attributes["voicespan.session.close_initiator"] == "process"
        assert session.attributes["voicespan.session.turns"] == 2
        assert session.end_ns >= max(span.end_ns for span in of_call)
        assert server.get("/healthz")["store"]["recovered_sessions"] == 1
        assert len(of_call) == len({span.span_id for span in of_call}), "nothing came twice"


async def test_the_clients_trace_is_linked_not_continued(environ: dict[str, str], receiver: OtlpHttpSink) -> None:
    theirs = f"00-{'a' * 32}-{'b' * 16}-01"
    with ServerProcess(environ) as server:
        async with connect(server.voice_url, subprotocols=["voice.v1"]) as socket:  # type: ignore[list-item]
            await socket.send(json.dumps({"type": "hello", "traceparent": theirs}))
            ready = json.loads(await socket.recv())
            await socket.send('{"type": "bye"}')
            await socket.wait_closed()
        spans = trace_of(receiver, ready["trace_id"])
    root = next(s for s in spans if s.name == "Voice Session")
    assert (root.parent_span_id, root.kind) == ("", "SERVER")
    assert [(link.trace_id, link.span_id) for link in root.links] == [("a" * 32, "b" * 16)]
    assert ready["trace_id"] != "a" * 32


async def told_by(socket: ClientConnection) -> AsyncIterator[str]:
    with contextlib.suppress(ConnectionClosed):
        while True:
            yield str(await socket.recv())


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (["not json"], 4400),
        ([b"\0\0"], 4400),
        (['{"type": "bye"}'], 4400),
        (['{"type": "hello", "v": 9}'], 4400),
        (['{"type": "hello"}', b"\0" * 641], 4400),
        (['{"type": "hello"}', b"\0" * 40_000], 4400),
        (['{"type": "hello"}', '{"type": "hello"}'], 4400),
        (['{"type": "hello"}', '{"type": "tomorrow"}', '{"type": "bye"}'], 1000),
        ([], 4408),
    ],
)
async def test_bad_input_is_told_and_closed_by_its_code(
    frames: list[str | bytes], code: int, environ: dict[str, str], receiver: OtlpHttpSink
) -> None:
    with ServerProcess({**environ, "VOICESPAN_HELLO_TIMEOUT_S": "0.3"}) as server:
        async with connect(server.voice_url, subprotocols=["voice.v1"]) as socket:  # type: ignore[list-item]
            for frame in frames:
                await socket.send(frame)
            told = [json.loads(message) async for message in told_by(socket)]
        assert socket.close_code == code
        if code != 1000:
            assert any(message["type"] == "error" and message["message"] for message in told)
        receiver.spans.wait_for(lambda spans: any(s.name == "Voice Session" for s in spans))


@pytest.mark.parametrize(("setting", "code"), [("VOICESPAN_IDLE_TIMEOUT_S", 4408), ("VOICESPAN_MAX_SESSION_S", 4410)])
async def test_a_call_has_bounds_in_time(
    setting: str, code: int, environ: dict[str, str], receiver: OtlpHttpSink
) -> None:
    with ServerProcess({**environ, setting: "2"}) as server:
        async with connect(server.voice_url, subprotocols=["voice.v1"]) as socket:  # type: ignore[list-item]
            await socket.send('{"type": "hello"}')
            told = [json.loads(message) async for message in told_by(socket)]
        assert socket.close_code == code
        assert (told[0]["type"], told[-1]["type"]) == ("ready", "bye")
        spans = trace_of(receiver, told[0]["trace_id"])
    session = next(s for s in spans if s.name == "WebSocket Session")
    assert session.attributes["voicespan.session.close_initiator"] == "server"


async def test_a_client_that_speaks_another_protocol_is_refused(environ: dict[str, str]) -> None:
    with ServerProcess(environ) as server:
        with pytest.raises(InvalidStatus) as refused:
            await connect(server.voice_url, subprotocols=["chat.v9"]).__aenter__()  # type: ignore[list-item]
        assert refused.value.response.status_code == 403


async def test_a_model_that_is_not_there_ends_the_call_in_plain_words(
    environ: dict[str, str], receiver: OtlpHttpSink
) -> None:
    with ServerProcess({**environ, "VOICESPAN_SIMULATOR_URL": "https://127.0.0.1:1"}) as server:
        with pytest.raises(CallError, match=r"model_closed: the model cannot be reached$"):
            await call(server.voice_url).__aenter__()
        assert "the model cannot be reached: ConnectionRefusedError: [Errno 111] Connection refused" in server.log
        spans = receiver.spans.wait_for(lambda found: any(s.name == "WebSocket Session" for s in found))
    dial = next(s for s in spans if s.name == "Live Connection 1")
    session = next(s for s in spans if s.name == "WebSocket Session")
    assert dial.status == session.status == "ERROR"
    assert dial.attributes["error.type"] == session.attributes["error.type"] == "live_unreachable"
    assert session.attributes["voicespan.session.close_code"] == 4502


async def test_text_chat_runs_the_same_tools_in_one_generation(environ: dict[str, str], receiver: OtlpHttpSink) -> None:
    with ServerProcess(environ) as server:
        answer = server.post("/v1/chat", {"message": "find a cafe near me", "session_id": "s-7", "user_id": "u-1"})
        assert answer["tools"] == [{"name": "search_nearby", "status": "ok"}]
        assert answer["usage"]["total"] > 0
        assert answer["text"]
        spans = receiver.spans.wait_count(3)
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.post("/v1/chat", {"message": ""})
        assert refused.value.code == 422
    assert render_tree(spans) == "POST /v1/chat\n  Chat\n    tool-search_nearby"
    request, chat, tool = sorted(spans, key=lambda s: s.start_ns)
    assert (request.kind, chat.kind, tool.kind) == ("SERVER", "CLIENT", "INTERNAL")
    for span in spans:
        assert (span.attributes["session.id"], span.attributes["user.id"]) == ("s-7", "u-1")
    for span in (chat, tool):
        langfuse_contract.span(span)
    assert chat.attributes["voicespan.entry"] is True
    assert chat.attributes["gen_ai.output.type"] == "text"
    assert chat.attributes["gen_ai.usage.input_tokens"] == answer["usage"]["input"]


async def test_the_voice_socket_is_not_traced_by_frame(environ: dict[str, str], receiver: OtlpHttpSink) -> None:
    with ServerProcess(environ) as server:
        async with call(server.voice_url) as caller:
            await ask(caller)
            await caller.hang_up()
        trace_of(receiver, caller.trace_id)
        assert server.get("/v1/traces")
        assert server.get(f"/v1/sessions/{caller.session_id}")
        assert server.post("/v1/sessions/s-1/feedback", {"score": 1})["langfuse"] is False
        last = "POST /v1/sessions/{session_id}/feedback"
        names = {s.name for s in receiver.spans.wait_for(lambda found: any(s.name == last for s in found))}
    assert not any("websocket" in name or "ws/voice" in name or "http send" in name for name in names)
    assert not any("/v1/traces" in name or "/healthz" in name or name.startswith("GET") for name in names)
