"""The repository's otel-collector.yaml in a real collector, between hand-made spans and strict sinks."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.collector import REPOSITORY, CollectorProcess, validate
from support.langfuse_sink import LangfuseSink
from support.otlp_client import Plain, key_values, logs_request, make_span, metrics_request, post, traces_request
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink
from support.received import ReceivedSpan, Value, render_tree

pytestmark = [pytest.mark.e2e, pytest.mark.collector]

CALL = 0x1111
CHAT = 0x2222
OTHER = 0x3333
SESSION: dict[str, Plain] = {"session.id": "call-1", "user.id": "ada", "langfuse.trace.name": "Voice Session"}
CONTENT: dict[str, Plain] = {
    "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"a park nearby"}]}]',
    "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"a park at 300 m"}]}]',
    "gen_ai.system_instructions": "be brief, park expert",
    "langfuse.observation.input": '[{"role":"user","content":"a park nearby"}]',
    "langfuse.observation.output": '[{"role":"assistant","content":"a park at 300 m"}]',
}
TOOL_CONTENT: dict[str, Plain] = {
    "gen_ai.tool.call.arguments": '{"query":"park"}',
    "gen_ai.tool.call.result": '{"name":"Tiergarten park"}',
    "gen_ai.tool.definitions": '[{"name":"search_nearby","description":"finds a park"}]',
}


def call_spans() -> list[Span]:
    """One call as design has it, with what FastAPI and an HTTP client add."""
    second = 1_000_000_000
    start = 1_790_000_000 * second

    def span(name: str, span_id: int, parent: int, at: int, until: int, **more: object) -> Span:
        attributes = {**SESSION, **more.pop("attributes", {})}  # type: ignore[dict-item]
        return make_span(
            name,
            span_id,
            parent,
            trace_id=CALL,
            start_ns=start + at * second,
            end_ns=start + until * second,
            attributes=attributes,
            **more,  # type: ignore[arg-type]
        )

    return [
        span("Voice Session", 1, 0, 0, 1, kind=Span.SPAN_KIND_SERVER, attributes={"http.request.method": "GET"}),
        span("WebSocket Session", 2, 1, 1, 9, attributes={"voicespan.entry": True, **CONTENT}),
        span("Live Connection 1", 3, 2, 1, 2, kind=Span.SPAN_KIND_CLIENT),
        span("Turn 1", 4, 2, 3, 8, kind=Span.SPAN_KIND_CLIENT, attributes=CONTENT),
        span(
            "tool-search_nearby",
            5,
            4,
            4,
            6,
            attributes={"gen_ai.tool.name": "search_nearby", **TOOL_CONTENT},
            error="no answer from the map",
        ),
        span("GET", 6, 5, 5, 6, kind=Span.SPAN_KIND_CLIENT, attributes={"http.request.method": "GET"}),
    ]


def chat_spans() -> list[Span]:
    """A typed question over REST: the HTTP server's span and its ASGI children around a generation."""
    return [
        make_span(
            "POST /api/chat",
            1,
            trace_id=CHAT,
            kind=Span.SPAN_KIND_SERVER,
            attributes={**SESSION, "http.method": "POST"},
        ),
        make_span(
            "Chat", 2, 1, trace_id=CHAT, kind=Span.SPAN_KIND_CLIENT, attributes={**SESSION, "voicespan.entry": True}
        ),
        make_span(
            "POST /api/chat http send",
            3,
            1,
            trace_id=CHAT,
            attributes={**SESSION, "asgi.event.type": "http.response.body"},
        ),
    ]


def other_spans() -> list[Span]:
    """What belongs to no session."""
    return [make_span("GET /healthz", 1, trace_id=OTHER, kind=Span.SPAN_KIND_SERVER)]


def of_trace(spans: list[ReceivedSpan], trace_id: int) -> list[ReceivedSpan]:
    return [span for span in spans if int(span.trace_id, 16) == trace_id]


def comparable(span: ReceivedSpan) -> ReceivedSpan:
    """Without what a leg may change: attributes, the root's parent, and what follows from them."""
    return replace(span, attributes={}, parent_span_id="", received_ns=0, raw=b"")


def send(collector: CollectorProcess, spans: list[Span], resource: dict[str, Plain] | None = None) -> None:
    assert post(f"{collector.http_endpoint}/v1/traces", traces_request(spans, resource)) == 200


def test_langfuse_gets_the_conversation_as_trees_of_their_own(
    collector: CollectorProcess, langfuse: LangfuseSink
) -> None:
    send(collector, [*call_spans(), *chat_spans(), *other_spans()])
    spans = langfuse.spans.wait_count(6)
    assert render_tree(of_trace(spans, CALL)).splitlines() == [
        "WebSocket Session",
        "  Live Connection 1",
        "  Turn 1",
        "    tool-search_nearby",
        "      GET",
    ]
    assert render_tree(of_trace(spans, CHAT)) == "Chat"
    assert of_trace(spans, OTHER) == []


def test_a_session_id_of_somebody_elses_session_leads_no_span_to_langfuse(
    collector: CollectorProcess, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    visit: dict[str, Plain] = {"session.id": "visit-1"}
    browser = [
        make_span("documentLoad", 1, trace_id=OTHER, attributes=visit),
        make_span("HTTP GET", 2, 1, trace_id=OTHER, kind=Span.SPAN_KIND_CLIENT, attributes=visit),
    ]
    send(collector, [*browser, *call_spans()])
    assert len(jaeger.spans.wait_count(8)) == 8
    assert of_trace(langfuse.spans.wait_count(5), OTHER) == []


def test_other_programs_sessions_with_a_model_are_for_langfuse_too(
    collector: CollectorProcess, langfuse: LangfuseSink
) -> None:
    session: dict[str, Plain] = {"session.id": "chat-7"}
    send(
        collector,
        [
            make_span("answer", 1, trace_id=OTHER, attributes={**session, "langfuse.observation.type": "span"}),
            make_span("chat gpt", 2, 1, trace_id=OTHER, attributes={**session, "gen_ai.operation.name": "chat"}),
        ],
    )
    assert render_tree(langfuse.spans.wait_count(2)).splitlines() == ["answer", "  chat gpt"]


def test_a_span_too_large_for_langfuse_arrives_cut_and_costs_its_neighbours_nothing(
    collector: CollectorProcess, langfuse: LangfuseSink
) -> None:
    huge: dict[str, Plain] = {**SESSION, "langfuse.observation.input": "ä" * 2 * 2**20}
    spans = [make_span(name, n, trace_id=CALL, attributes=SESSION) for n, name in ((1, "before"), (3, "after"))]
    send(collector, [spans[0], make_span("huge", 2, trace_id=CALL, attributes=huge), spans[1]])
    arrived = {span.name: span for span in langfuse.spans.wait_count(3)}
    assert set(arrived) == {"before", "huge", "after"}
    assert arrived["huge"].attributes["langfuse.observation.input"] == "ä" * 2**18


def test_jaeger_gets_every_span_with_its_real_parent(
    collector: CollectorProcess, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    send(collector, [*call_spans(), *chat_spans(), *other_spans()])
    spans = jaeger.spans.wait_count(10)
    assert render_tree(of_trace(spans, CALL)).splitlines() == [
        "Voice Session",
        "  WebSocket Session",
        "    Live Connection 1",
        "    Turn 1",
        "      tool-search_nearby",
        "        GET",
    ]
    assert render_tree(of_trace(spans, CHAT)).splitlines() == [
        "POST /api/chat",
        "  Chat",
        "  POST /api/chat http send",
    ]
    assert render_tree(of_trace(spans, OTHER)) == "GET /healthz"
    by_id = {span.span_id: comparable(span) for span in of_trace(spans, CALL)}
    at_langfuse = of_trace(langfuse.spans.wait_count(6), CALL)
    assert [comparable(span) for span in at_langfuse] == [by_id[span.span_id] for span in at_langfuse]
    tool = by_id[f"{5:016x}"]
    assert (tool.status, tool.status_message) == ("ERROR", "no answer from the map")


def test_content_reaches_langfuse_and_not_jaeger(
    collector: CollectorProcess, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    message_event = {"gen_ai.client.inference.operation.details": {"gen_ai.input.messages": "a park nearby"}}
    spans = [*call_spans(), make_span("Turn 2", 7, 2, trace_id=CALL, attributes=SESSION, events=message_event)]
    send(collector, spans)
    at_langfuse = {span.name: span.attributes for span in langfuse.spans.wait_count(6)}
    assert at_langfuse["Turn 1"] == {**SESSION, **CONTENT}
    assert at_langfuse["tool-search_nearby"] == {
        **SESSION,
        **TOOL_CONTENT,
        "langfuse.observation.metadata.tool_name": "search_nearby",
    }
    at_jaeger = jaeger.spans.wait_count(7)
    assert "park" not in repr([(span.attributes, span.events) for span in at_jaeger])
    tool = next(span for span in at_jaeger if span.name == "tool-search_nearby")
    assert tool.attributes == {**SESSION, "gen_ai.tool.name": "search_nearby"}


def test_where_somebody_is_reaches_langfuse_and_not_jaeger(
    collector: CollectorProcess, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    place = '{"query":"cafe","latitude":60.169856,"longitude":24.938379}'
    told = dict.fromkeys(("gen_ai.tool.call.arguments", "langfuse.observation.input"), place)
    send(collector, [make_span("tool-search_nearby", 5, trace_id=CALL, attributes={**SESSION, **told})])
    (at_langfuse,) = langfuse.spans.wait_count(1)
    assert at_langfuse.attributes["langfuse.observation.input"] == place
    (at_jaeger,) = jaeger.spans.wait_count(1)
    assert "60.169856" not in at_jaeger.raw.decode("latin-1")


API_KEY = "AIza" + "k" * 35
LANGFUSE_KEY = "sk-lf-01234567-89ab-cdef-0123-456789abcdef"
EMAIL = "ada@example.com"
CARD = "4111 1111 1111 1111"
CANARIES = (API_KEY, LANGFUSE_KEY, "hunter2hunter2hunter2", "ya29.secretsecretsecret", EMAIL, CARD)


def test_secrets_and_personal_data_reach_no_backend(
    collector: CollectorProcess, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    turn = make_span(
        f"GET https://example.com/live?key={API_KEY}",
        4,
        trace_id=CALL,
        attributes={
            **SESSION,
            "url.full": f"https://example.com/live?key={API_KEY}&alt=json",
            "note": f"write to {EMAIL}",
            "process.command_args": ["run", f"--key={API_KEY}"],
            "langfuse.observation.input": f"my card is {CARD}, my key {LANGFUSE_KEY}",
        },
        events={"exception": {"exception.message": f"refused: {API_KEY}", "authorization": "hunter2hunter2hunter2"}},
        error=f"403 for https://example.com/live?key={API_KEY} with Bearer ya29.secretsecretsecret",
    )
    resource: dict[str, Plain] = {
        "service.name": "voicespan-test",
        "my.api_key": "hunter2hunter2hunter2",
        "process.command": f"run {API_KEY}",
    }
    send(collector, [turn], resource)
    for sink in (langfuse, jaeger):
        (span,) = sink.spans.wait_count(1)
        whole = repr(replace(span, raw=b"")) + span.raw.decode("latin-1")
        assert [canary for canary in CANARIES if canary in whole] == []
        assert span.name == "GET https://example.com/live****"
        assert span.attributes["process.command_args"] == '["run","--key=****"]'
        assert span.status_message == "403 for https://example.com/live**** with ****"
        assert span.resource["service.name"] == "voicespan-test"
        assert str(span.attributes["url.full"]).startswith("https://example.com/live")


def test_ids_and_numbers_that_look_like_cards_are_left_alone(
    collector: CollectorProcess, langfuse: LangfuseSink
) -> None:
    exempt: dict[str, Plain] = {
        "session.id": "5f0c1111-1111-1111-1111-111111111111",
        "langfuse.trace.name": "Voice Session",
        "user.id": EMAIL,
        "gen_ai.conversation.id": "4111111111111111",
        "langfuse.observation.usage_details": '{"input_text":4111111111111111,"total":4111111111111111}',
        "voicespan.turn.index": 4_111_111_111_111_111,
    }
    send(collector, [make_span("Turn 1", 4, trace_id=CALL, attributes=exempt)])
    (span,) = langfuse.spans.wait_count(1)
    assert span.attributes == exempt


def test_langfuse_is_spoken_to_as_it_demands(collector: CollectorProcess, langfuse: LangfuseSink) -> None:
    send(collector, call_spans())
    (request,) = langfuse.requests.wait_count(1)
    assert request.status == 200
    assert request.path == "/api/public/otel/v1/traces"
    assert request.headers["authorization"] == "Basic cGstbGYtdGVzdDpzay1sZi10ZXN0"
    assert request.headers["x-langfuse-ingestion-version"] == "4"
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers["content-encoding"] == "gzip"


def test_a_span_without_ids_costs_its_neighbours_nothing(collector: CollectorProcess, langfuse: LangfuseSink) -> None:
    send(collector, [Span(name="nameless", attributes=key_values(SESSION)), *call_spans()])
    spans = langfuse.spans.wait_count(5)
    assert {request.status for request in langfuse.requests.all()} == {200}
    assert "nameless" not in {span.name for span in spans}


def test_a_span_that_ended_is_at_langfuse_within_a_second(collector: CollectorProcess, langfuse: LangfuseSink) -> None:
    send(collector, call_spans())  # the first export pays for the connection
    sent_ns = langfuse.spans.wait_count(5)[-1].received_ns
    send(collector, [make_span("Turn 2", 9, 2, trace_id=CALL, attributes=SESSION)])
    assert langfuse.spans.wait_count(6)[-1].received_ns - sent_ns < 1_000_000_000


def test_what_langfuse_refused_for_now_is_sent_again_and_once(
    collector: CollectorProcess, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    langfuse.fail_next(503)
    send(collector, call_spans())
    spans = langfuse.spans.wait_count(5)
    assert [request.status for request in langfuse.requests.all()] == [503, 200]
    assert len({span.span_id for span in spans}) == len(spans) == 5
    assert len(jaeger.spans.wait_count(6)) == 6


def test_while_langfuse_is_away_jaeger_gets_its_spans_within_a_second(
    collector: CollectorProcess, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    send(collector, call_spans())  # the first export pays for the connection
    langfuse.spans.wait_count(5)
    langfuse.stop()
    send(collector, [make_span("Turn 2", 100, trace_id=CALL, attributes=SESSION)])
    collector.wait_for_log(lambda line: "otlp_http/langfuse" in line and "Exporting failed" in line)
    waited_s = []
    for number in range(1, 21):
        sent_ns = time.time_ns()
        send(collector, [make_span("Turn 3", 100 + number, trace_id=CALL, attributes=SESSION)])
        arrived = jaeger.spans.wait_count(7 + number)[-1]
        waited_s.append((arrived.received_ns - sent_ns) / 1e9)
    assert sorted(waited_s)[18] < 1.0, "p95"


def test_an_outage_of_langfuse_outlives_a_kill_of_the_collector(
    collector: CollectorProcess, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    langfuse.stop()
    turns = [make_span(f"Turn {n}", n, trace_id=CALL, attributes=SESSION) for n in range(1, 101)]
    send(collector, turns)
    # The Langfuse leg writes to disk before this log line tells of the first failed attempt.
    collector.wait_for_log(lambda line: "otlp_http/langfuse" in line and "Exporting failed" in line)
    assert len(jaeger.spans.wait_count(100)) == 100
    collector.kill()
    langfuse.start()
    collector.start()
    spans = langfuse.spans.wait_for(lambda received: len({span.span_id for span in received}) == 100)
    sent = {turn.span_id.hex(): turn.SerializeToString(deterministic=True) for turn in turns}
    assert {span.span_id: span.raw for span in spans} == sent


def test_a_full_queue_loses_spans_in_its_own_leg_only(
    collector_binary: Path, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    langfuse.stop()
    queue = "exporters::otlp_http/langfuse::sending_queue::"
    tiny: dict[str, str | int] = {
        queue + "queue_size": 600,
        queue + "batch::min_size": 1,
        queue + "batch::max_size": 600,
    }
    with CollectorProcess(collector_binary, langfuse=langfuse, jaeger=jaeger, overrides=tiny) as collector:
        for turn in range(1, 51):
            send(collector, [make_span(f"Turn {turn}", turn, trace_id=CALL, attributes=SESSION)])
        spans = jaeger.spans.wait_count(50)
        assert "otelcol_exporter_enqueue_failed_spans{" in collector.metrics()
    assert sorted(int(span.span_id, 16) for span in spans) == list(range(1, 51))


def test_the_alerts_watch_metrics_that_the_collector_has(collector: CollectorProcess, langfuse: LangfuseSink) -> None:
    send(collector, [*call_spans(), *other_spans()])
    langfuse.spans.wait_count(5)
    langfuse.fail_next(401)
    send(collector, chat_spans())
    collector.wait_for_log(lambda line: "Exporting failed. Dropping data." in line)
    told = set(re.findall(r"^(otelcol_\w+)[{ ]", collector.metrics(), re.MULTILINE))
    watched = set(re.findall(r"otelcol_\w+", (REPOSITORY / "deploy/prometheus/alerts.yml").read_text()))
    # These two are told once there is something to tell: of the first, the test above; of the second, its twin.
    assert watched - told == {
        "otelcol_exporter_enqueue_failed_spans",
        "otelcol_processor_memory_limiter_refused_spans",
    }
    assert "otelcol_processor_memory_limiter_accepted_spans" in told


def test_spans_are_taken_over_grpc_too(collector: CollectorProcess, jaeger: OtlpGrpcSink) -> None:
    with grpc.insecure_channel(collector.grpc_endpoint) as channel:
        export = channel.unary_unary(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            request_serializer=ExportTraceServiceRequest.SerializeToString,
            response_deserializer=ExportTraceServiceResponse.FromString,
        )
        export(traces_request(call_spans()), timeout=10)
    assert len(jaeger.spans.wait_count(6)) == 6


def test_metrics_reach_prometheus_without_secrets(collector: CollectorProcess, prometheus: OtlpHttpSink) -> None:
    resource: dict[str, Plain] = {"service.name": "voicespan-test", "my.api_key": "hunter2hunter2hunter2"}
    request = metrics_request("voicespan.tokens", 115, resource)
    assert post(f"{collector.http_endpoint}/v1/metrics", request) == 200
    (metric,) = prometheus.metrics.wait_count(1)
    assert (metric.name, metric.unit, metric.kind) == ("voicespan.tokens", "{token}", "sum")
    assert [point.value for point in metric.points] == [115]
    masked: dict[str, Value] = {"service.name": "voicespan-test", "my.api_key": "****"}
    assert metric.resource == masked


def test_logs_go_to_loki_where_asked_without_content_or_secrets(collector_binary: Path) -> None:
    event = logs_request(
        "gen_ai.client.inference.operation.details",
        f"refused {API_KEY} of {EMAIL}",
        {**SESSION, **CONTENT, "voicespan.session.close_reason": f"bye {EMAIL}"},
        CALL,
        4,
    )
    with OtlpHttpSink() as loki, CollectorProcess(collector_binary, loki=loki) as collector:
        assert post(f"{collector.http_endpoint}/v1/logs", event) == 200
        (log,) = loki.logs.wait_count(1)
    assert log.body == "refused **** of ****"
    assert log.attributes == {**SESSION, "voicespan.session.close_reason": "bye ****"}
    assert (int(log.trace_id, 16), int(log.span_id, 16)) == (CALL, 4)


def test_what_an_older_genai_event_says_in_its_body_does_not_reach_loki(collector_binary: Path) -> None:
    said = [
        logs_request("gen_ai.user.message", "a park nearby", {}, CALL, 4),
        logs_request("", "a park nearby", {"event.name": "gen_ai.choice"}, CALL, 4),
        logs_request("park.opened", "a park nearby", {}, CALL, 4),
    ]
    with OtlpHttpSink() as loki, CollectorProcess(collector_binary, loki=loki) as collector:
        for request in said:
            assert post(f"{collector.http_endpoint}/v1/logs", request) == 200
        logs = loki.logs.wait_count(3)
    assert sorted(str(log.body) for log in logs) == ["", "", "a park nearby"]


def test_metrics_of_two_programs_are_two_requests_to_prometheus(
    collector: CollectorProcess, prometheus: OtlpHttpSink
) -> None:
    # It refuses the whole of a request for one metric of delta temporality.
    for name in ("ours", "theirs"):
        request = metrics_request("voicespan.tokens", 1, {"service.name": name})
        assert post(f"{collector.http_endpoint}/v1/metrics", request) == 200
    prometheus.metrics.wait_count(2)
    assert len(prometheus.requests.all()) == 2


def test_it_starts_without_backends_and_warns_of_nothing(collector_binary: Path) -> None:
    with CollectorProcess(collector_binary) as collector:
        send(collector, call_spans())
        warnings = [line for line in collector.log if line["level"] != "info"]
        assert warnings == []
        assert not any("deprecated" in str(line).lower() for line in collector.log)
        assert "otelcol_receiver_accepted_spans{" in collector.metrics()


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({}, id="defaults"),
        pytest.param({"GENAI_EXPORTERS": "[nop]"}, id="no Langfuse"),
        pytest.param({"GENAI_EXPORTERS": "[otlp_http/langfuse, debug]"}, id="two exporters in a leg"),
        pytest.param({"LOG_EXPORTERS": "[otlp_http/loki]"}, id="Loki"),
    ],
)
def test_the_configuration_is_valid(collector_binary: Path, env: dict[str, str]) -> None:
    done = validate(collector_binary, env)
    assert (done.returncode, done.stderr) == (0, "")


def test_validate_can_fail(collector_binary: Path) -> None:
    done = validate(collector_binary, {"GENAI_EXPORTERS": "[otlp_http/nowhere]"})
    assert done.returncode != 0
    assert "otlp_http/nowhere" in done.stderr
