"""What the real server tells the real collector, and the collector Langfuse: calls of every kind, played once."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.caller import ask, call, speech, talk_over
from support.collector import CollectorProcess
from support.langfuse_sink import LangfuseSink
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink
from support.received import ReceivedMetric, ReceivedSpan
from support.server import ServerProcess
from voicespan_server.server_messages import TurnCompleted
from voicespan_simulator.process import SimulatorProcess

ENVIRONMENT = "e2e-test"
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
# A place that no tool knows: the call of the tool fails.
LOST = "Take me to Atlantis"
ASKED = "Is there a cafe near me?"


@dataclass
class Story:
    """Where everything arrived, and under which trace ids. `metrics` are the first server's."""

    langfuse: LangfuseSink = field(default_factory=lambda: LangfuseSink(public_key="pk-lf-story"))
    jaeger: OtlpGrpcSink = field(default_factory=OtlpGrpcSink)
    prometheus: OtlpHttpSink = field(default_factory=OtlpHttpSink)
    traces: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    metrics: list[ReceivedMetric] = field(default_factory=list)
    hung_up_ns: int = 0

    def of(self, name: str) -> list[ReceivedSpan]:
        """The spans of one part of the story at Langfuse."""
        return of_trace(self.langfuse.spans.all(), self.traces[name])

    def at_jaeger(self, name: str) -> list[ReceivedSpan]:
        return of_trace(self.jaeger.spans.all(), self.traces[name])

    def wait_for(self, name: str, root: str) -> None:
        """Until the root of this part is at both backends: it is the last span to end."""
        for sink in (self.langfuse, self.jaeger):
            sink.spans.wait_for(lambda spans: any(s.name == root for s in of_trace(spans, self.traces[name])))


def of_trace(spans: Sequence[ReceivedSpan], trace_id: str) -> list[ReceivedSpan]:
    return [span for span in spans if span.trace_id == trace_id]


def play(collector_binary: Path, simulator: SimulatorProcess) -> Story:
    """A server with the words, one without and one with a trace for every turn, and all that may become of a call."""
    story = Story()
    with (
        story.langfuse,
        story.jaeger,
        story.prometheus,
        CollectorProcess(
            collector_binary, langfuse=story.langfuse, jaeger=story.jaeger, prometheus=story.prometheus
        ) as collector,
    ):
        environ = {
            "VOICESPAN_BACKEND": "simulator",
            "VOICESPAN_SIMULATOR_URL": simulator.base_url,
            "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint,
            "OTEL_RESOURCE_ATTRIBUTES": f"deployment.environment.name={ENVIRONMENT}",
            "LANGFUSE_BASE_URL": story.langfuse.base_url,
            "LANGFUSE_PUBLIC_KEY": story.langfuse.public_key,
            "LANGFUSE_SECRET_KEY": story.langfuse.secret_key,
        }
        with ServerProcess({**environ, CAPTURE: "SPAN_AND_EVENT"}) as server:
            asyncio.run(_with_words(story, server, collector))
        story.prometheus.metrics.wait_for(lambda metrics: any(m.name == "voicespan.turns" for m in metrics))
        story.metrics = story.prometheus.metrics.all()
        with ServerProcess(environ) as server:
            asyncio.run(_without_words(story, server))
        with ServerProcess({**environ, "VOICESPAN_TRACE_SCOPE": "turn"}) as server:
            asyncio.run(_in_many_traces(story, server))
        with ServerProcess({**environ, CAPTURE: "SPAN_ONLY"}) as server:
            asyncio.run(_killed(story, server))
    return story


async def _with_words(story: Story, server: ServerProcess, collector: CollectorProcess) -> None:
    async with call(server.voice_url) as caller:
        story.traces["talk"], story.sessions["talk"] = caller.trace_id, caller.session_id
        await ask(caller)
        await ask(caller)
        await talk_over(caller, turns=2)
        done = len(caller.of(TurnCompleted))
        await caller.send({"type": "text", "text": LOST})
        await caller.wait_for(lambda c: len(c.of(TurnCompleted)) > done)
        story.langfuse.spans.wait_for(lambda spans: any(s.name == "Turn 1" for s in spans))
        story.hung_up_ns = time.time_ns()
        await caller.hang_up()
    story.wait_for("talk", "WebSocket Session")
    story.langfuse.fail_next_api(503)
    server.post(f"/v1/sessions/{caller.session_id}/feedback", {"thumbs": "up", "comment": "a friendly guide"})
    async with call(server.voice_url) as caller:
        story.traces["vanished"], story.sessions["vanished"] = caller.trace_id, caller.session_id
        await ask(caller)
        await caller.say(speech())
        caller.socket.transport.abort()
    story.wait_for("vanished", "WebSocket Session")
    _chat(story, server, "chat")
    story.wait_for("chat", "Chat")
    story.langfuse.fail_next(503)
    _chat(story, server, "retried")
    story.wait_for("retried", "Chat")
    story.langfuse.fail_next(500)
    _chat(story, server, "lost")
    collector.wait_for_log(lambda line: "otlp_http/langfuse" in line and "Dropping data" in line)
    story.jaeger.spans.wait_for(lambda spans: any(s.name == "Chat" for s in of_trace(spans, story.traces["lost"])))
    async with call(server.voice_url) as caller:
        story.traces["stopped"], story.sessions["stopped"] = caller.trace_id, caller.session_id
        await ask(caller)
        await asyncio.to_thread(server.signal, signal.SIGTERM)
    story.wait_for("stopped", "WebSocket Session")


async def _without_words(story: Story, server: ServerProcess) -> None:
    async with call(server.voice_url) as caller:
        story.traces["quiet"], story.sessions["quiet"] = caller.trace_id, caller.session_id
        await ask(caller)
        await caller.send({"type": "text", "text": LOST})
        await caller.wait_for(lambda c: len(c.of(TurnCompleted)) > 1)
        await caller.hang_up()
    story.wait_for("quiet", "WebSocket Session")
    _chat(story, server, "quiet chat")
    story.wait_for("quiet chat", "Chat")


async def _in_many_traces(story: Story, server: ServerProcess) -> None:
    async with call(server.voice_url) as caller:
        story.traces["split"], story.sessions["split"] = caller.trace_id, caller.session_id
        await ask(caller)
        await ask(caller)
        await caller.hang_up()
    story.wait_for("split", "WebSocket Session")


async def _killed(story: Story, server: ServerProcess) -> None:
    async with call(server.voice_url) as caller:
        story.traces["killed"], story.sessions["killed"] = caller.trace_id, caller.session_id
        await ask(caller)
        await ask(caller)
        # A kill between the receiver's answer and the store's note of it would repeat that batch.
        while (await asyncio.to_thread(server.get, "/healthz"))["store"]["queued"]["traces"]:  # noqa: ASYNC110 - another process brings it about
            await asyncio.sleep(0.02)
        await caller.say(speech())
        await asyncio.to_thread(server.signal, signal.SIGKILL)
    await asyncio.to_thread(server.start)
    story.wait_for("killed", "WebSocket Session")


def _chat(story: Story, server: ServerProcess, name: str) -> None:
    session_id = f"s-{name.replace(' ', '-')}"
    answer = server.post("/v1/chat", {"message": ASKED, "session_id": session_id, "user_id": "user-1"})
    story.traces[name], story.sessions[name] = answer["trace_id"], session_id
