"""A call, and a chat, as a real Jaeger has them: through the server, the collector, and Jaeger's own API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import langfuse_contract
from support.backends import JaegerProcess, JaegerSpan, render_jaeger
from support.caller import ask, call, talk_over
from support.collector import CollectorProcess
from support.langfuse_sink import LangfuseSink
from support.server import ServerProcess
from voicespan_simulator.process import SimulatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.collector]


@pytest.fixture(scope="module")
def real_jaeger(jaeger_binary: Path) -> Iterator[JaegerProcess]:
    with JaegerProcess(jaeger_binary) as process:
        yield process


@pytest.fixture
def server(
    collector_binary: Path, langfuse: LangfuseSink, real_jaeger: JaegerProcess, simulator: SimulatorProcess
) -> Iterator[ServerProcess]:
    leg = {"TRACE_EXPORTERS": "[otlp_grpc/jaeger]", "JAEGER_OTLP_ENDPOINT": real_jaeger.endpoint}
    with CollectorProcess(collector_binary, langfuse=langfuse, env=leg) as collector:
        environ = {
            "VOICESPAN_BACKEND": "simulator",
            "VOICESPAN_SIMULATOR_URL": simulator.base_url,
            "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint,
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_AND_EVENT",
        }
        with ServerProcess(environ) as process:
            yield process


def told(spans: list[JaegerSpan]) -> bool:
    return any(span.name == "WebSocket Session" for span in spans)


async def test_a_call_is_one_trace_with_the_tree_of_the_conversation(
    server: ServerProcess, real_jaeger: JaegerProcess, langfuse: LangfuseSink
) -> None:
    async with call(server.voice_url) as caller:
        await ask(caller)
        # Live: a turn can be looked at while the call goes on.
        during = await asyncio.to_thread(
            real_jaeger.wait_for_trace, caller.trace_id, lambda spans: any(s.name == "Turn 1" for s in spans)
        )
        assert not told(during)
        await ask(caller)
        await talk_over(caller, turns=2)
        await caller.hang_up()
    spans = await asyncio.to_thread(real_jaeger.wait_for_trace, caller.trace_id, told)
    assert render_jaeger(spans) == "\n".join(
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
    assert [span.warnings for span in spans if span.warnings] == []
    by_name = {span.name: span for span in spans}
    session = by_name["WebSocket Session"]
    assert session.tags["session.id"] == caller.session_id
    assert session.tags["voicespan.session.turns"] == 4
    assert "gen_ai.client.realtime_session.started" in session.logs
    for turn in (span for span in spans if span.name.startswith("Turn")):
        assert session.start_us <= turn.start_us
        assert turn.start_us + turn.duration_us <= session.start_us + session.duration_us
    assert by_name["Turn 3"].tags["voicespan.turn.end_reason"] == "interrupted"
    # Words are at Langfuse, and not here.
    langfuse.spans.wait_for(lambda received: any(s.name == "WebSocket Session" for s in received))
    assert any("langfuse.observation.output" in span.attributes for span in langfuse.spans.all())
    assert not [key for span in spans for key in span.tags if key.endswith((".messages", "observation.output"))]
    langfuse_contract.trace(langfuse.spans.all())


async def test_a_call_is_found_by_what_an_sre_knows_of_it(server: ServerProcess, real_jaeger: JaegerProcess) -> None:
    async with call(server.voice_url) as caller:
        await ask(caller)
        await caller.hang_up()
    await asyncio.to_thread(real_jaeger.wait_for_trace, caller.trace_id, told)
    for tags in (f'{{"session.id":"{caller.session_id}"}}', '{"voicespan.session.close_initiator":"client"}'):
        found = real_jaeger.traces("voicespan", operation="WebSocket Session", tags=tags)
        assert caller.trace_id in {span.trace_id for trace in found for span in trace}
    operations = real_jaeger.get("/api/v3/operations", service="voicespan")["operations"]
    assert {"Voice Session", "WebSocket Session", "Turn 1"} <= {operation["name"] for operation in operations}


def test_a_chat_keeps_the_http_span_above_it(server: ServerProcess, real_jaeger: JaegerProcess) -> None:
    answer = server.post("/v1/chat", {"message": "Is there a cafe near me?", "session_id": "s-7"})
    spans = real_jaeger.wait_for_trace(answer["trace_id"], lambda found: len(found) == 3)
    assert render_jaeger(spans) == "POST /v1/chat\n  Chat\n    tool-search_nearby"
