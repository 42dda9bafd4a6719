"""A call on its whole way: client, server, model, collector, and what each backend has of it."""

import asyncio
import signal
import time
from collections.abc import Iterator

import pytest

from support import langfuse_contract
from support.caller import ask, call, talk_over
from support.collector import CollectorProcess
from support.langfuse_sink import LangfuseSink
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink
from support.received import ReceivedSpan, render_tree
from support.server import ServerProcess
from voicespan_simulator.process import SimulatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.collector]


@pytest.fixture(params=["http/protobuf", "grpc"])
def server(
    request: pytest.FixtureRequest, simulator: SimulatorProcess, collector: CollectorProcess
) -> Iterator[ServerProcess]:
    endpoint = collector.http_endpoint if request.param == "http/protobuf" else f"http://{collector.grpc_endpoint}"
    environ = {
        "VOICESPAN_BACKEND": "simulator",
        "VOICESPAN_SIMULATOR_URL": simulator.base_url,
        "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": request.param,
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_AND_EVENT",
    }
    with ServerProcess(environ) as process:
        yield process


def has_session(spans: list[ReceivedSpan]) -> bool:
    return any(span.name == "WebSocket Session" for span in spans)


async def test_a_call_reaches_langfuse_and_jaeger(
    server: ServerProcess, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    async with call(server.voice_url) as caller:
        await ask(caller)
        # A turn is there while the call goes on: nothing waits for the hang-up.
        langfuse.spans.wait_for(lambda spans: any(span.name == "Turn 1" for span in spans))
        assert not has_session(langfuse.spans.all())
        await ask(caller)
        await talk_over(caller, turns=2)
        hung_up_ns = time.time_ns()
        await caller.hang_up()
    genai = langfuse.spans.wait_for(has_session)
    everything = jaeger.spans.wait_for(has_session)

    langfuse_contract.trace(genai)
    turns_and_tools = [
        "Live Connection 1",
        "Turn 1",
        "  tool-navigate_to_location",
        "Turn 2",
        "  tool-search_nearby",
        "Turn 3",
        "Turn 4",
    ]
    assert render_tree(genai) == "\n".join(["WebSocket Session", *("  " + line for line in turns_and_tools)])
    assert render_tree(everything) == "\n".join(
        ["Voice Session", "  WebSocket Session", *("    " + line for line in turns_and_tools)]
    )
    # The same spans on both legs: ids and times.
    on_jaeger = {span.span_id: (span.start_ns, span.end_ns) for span in everything}
    assert all(on_jaeger[span.span_id] == (span.start_ns, span.end_ns) for span in genai)
    # Words are for Langfuse; Jaeger gets none.
    assert any("langfuse.observation.output" in span.attributes for span in genai)
    langfuse_contract.no_content(everything, "Helsinki Cathedral", "friendly guide")
    # Langfuse would name a tool's observation after this attribute.
    assert not any("gen_ai.tool.name" in span.attributes for span in genai)
    last = max(span.received_ns for span in genai if span.name in {"Turn 4", "WebSocket Session"})
    assert (last - hung_up_ns) / 1e9 < 1.0, "the last turn and the session are due within a second of hang-up"


async def test_metrics_leave_at_the_latest_when_the_server_stops(
    server: ServerProcess, prometheus: OtlpHttpSink
) -> None:
    async with call(server.voice_url) as caller:
        await ask(caller)
        await caller.hang_up()
    await asyncio.to_thread(server.signal, signal.SIGTERM)
    arrived = prometheus.metrics.wait_for(lambda metrics: any(m.name == "voicespan.turns" for m in metrics))
    turns = next(metric for metric in arrived if metric.name == "voicespan.turns")
    assert [(point.attributes["voicespan.turn.end_reason"], point.value) for point in turns.points] == [
        ("completed", 1)
    ]
    assert {"gen_ai.client.operation.duration", "voicespan.time_to_first_audio"} <= {m.name for m in arrived}


async def test_a_text_chat_is_measured_as_a_call_is(server: ServerProcess, prometheus: OtlpHttpSink) -> None:
    await asyncio.to_thread(server.post, "/v1/chat", {"message": "Is there a cafe near me?"})
    await asyncio.to_thread(server.signal, signal.SIGTERM)
    arrived = prometheus.metrics.wait_for(lambda found: any(m.name == "gen_ai.execute_tool.duration" for m in found))
    counts = {m.name: sum(point.count for point in m.points) for m in arrived}
    assert (counts["gen_ai.client.operation.duration"], counts["gen_ai.execute_tool.duration"]) == (2, 1)


def test_a_text_chat_has_its_root_on_the_langfuse_leg(
    server: ServerProcess, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    answer = server.post("/v1/chat", {"message": "Is there a cafe near me?", "session_id": "s-7"})
    genai = langfuse.spans.wait_count(2)
    everything = jaeger.spans.wait_count(3)
    assert render_tree(genai) == "Chat\n  tool-search_nearby"
    assert render_tree(everything) == "POST /v1/chat\n  Chat\n    tool-search_nearby"
    assert {span.trace_id for span in everything} == {answer["trace_id"]}
    assert {span.attributes["session.id"] for span in [*genai, *everything]} == {"s-7"}
    for span in genai:
        langfuse_contract.span(span)
