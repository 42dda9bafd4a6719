"""Log records and scores go the way of spans: into the store, and from there to who takes them."""

import base64
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from support.http_server import HttpServer, Request, Response
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink
from support.received import Inbox
from support.stores import rejected_count
from voicespan import conventions as c
from voicespan.identity import Identity, in_context
from voicespan.sdk.endpoint import Endpoint, EndpointError, endpoint_from_environment
from voicespan.sdk.pipeline import Pipeline, configure
from voicespan.sdk.processors import IdentityLogProcessor, StoreLogProcessor
from voicespan.sdk.reading import reader_of
from voicespan.sdk.scores import Scores, scores_endpoint
from voicespan.sdk.sender import Sender
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store
from voicespan.sdk.transport import Accepted, Refused, transport_for


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "traces.db", send=Signal)
    yield opened
    opened.close()


def emit(store: Store, *names: str, context: Context | None = None) -> None:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(IdentityLogProcessor())
    provider.add_log_record_processor(StoreLogProcessor(store))
    for name in names:
        record = LogRecord(event_name=name, context=context, timestamp=1_000, attributes={"n": 1}, body="said")
        provider.get_logger("scope").emit(record)
    assert store.flush(5)


def test_a_log_record_arrives_with_its_trace_and_its_session(store: Store) -> None:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("turn")
    context = trace.set_span_in_context(span, in_context(Identity("s-1", user_id="u-1")))
    with OtlpHttpSink() as receiver:
        endpoint = endpoint_from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.base_url}, Signal.LOGS)
        assert endpoint is not None
        sender = Sender(store, transport_for(endpoint, Signal.LOGS), Signal.LOGS)
        emit(store, "voicespan.stall", context=context)
        [log] = receiver.logs.wait_count(1)
        assert sender.stop(5)
    assert (log.event_name, log.body, log.time_ns) == ("voicespan.stall", "said", 1_000)
    assert int(log.trace_id, 16) == span.get_span_context().trace_id
    assert int(log.span_id, 16) == span.get_span_context().span_id
    assert {name: log.attributes[name] for name in ("n", "session.id", "user.id")} == {
        "n": 1,
        "session.id": "s-1",
        "user.id": "u-1",
    }


def test_a_log_record_of_no_session_is_left_as_it_is(store: Store) -> None:
    emit(store, "elsewhere")
    with store.locked() as database:
        rows = database.execute("SELECT signal, name, session_id, trace_id FROM records").fetchall()
    assert rows == [("logs", "elsewhere", None, "")]


def test_logs_are_no_traces(store: Store) -> None:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("turn")
    emit(store, "one", context=trace.set_span_in_context(span, Context()))
    with reader_of(store) as traces:
        assert traces.latest(10) == []
        assert traces.spans(f"{span.get_span_context().trace_id:032x}") == []


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_receiver_without_logs_is_told_of_once_and_spans_go_on(
    store: Store, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    with OtlpGrpcSink() as grpc_receiver, OtlpHttpSink() as http_receiver:
        if protocol == "grpc":
            endpoint = Endpoint(grpc_receiver.endpoint, "grpc", insecure=True)
        else:
            endpoint = Endpoint(f"{http_receiver.base_url}/v1/nothing")
        sender = Sender(store, transport_for(endpoint, Signal.LOGS), Signal.LOGS)
        for name in ("one", "two", "three"):
            emit(store, name)
            while store.queued(Signal.LOGS):
                store.flush(5)
        assert sender.stop(5)
    assert (sender.stats.rejected, sender.stats.failed_posts, rejected_count(store)) == (3, 0, 3)
    assert len([r for r in caplog.records if r.name == "voicespan.sdk.sender" and r.levelno == logging.WARNING]) == 1


class ScoresSink:
    """POST /api/public/scores, whose answer a test sets."""

    def __init__(self) -> None:
        self.answers: list[Response] = []
        self.requests: Inbox[Request] = Inbox()
        self.server = HttpServer(self._respond)

    def _respond(self, request: Request) -> Response:
        self.requests.add([request])
        return self.answers.pop(0) if self.answers else Response(202, b'{"message":"Accepted"}')


@pytest.fixture
def langfuse() -> Iterator[ScoresSink]:
    sink = ScoresSink()
    with sink.server:
        yield sink


def start_scores(store: Store, langfuse: ScoresSink) -> Sender:
    keys = {"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk", "LANGFUSE_BASE_URL": langfuse.server.url + "/"}
    endpoint = scores_endpoint(keys)
    assert endpoint is not None
    return Sender(store, transport_for(endpoint, Signal.SCORES), Signal.SCORES)


def test_scores_arrive_as_one_json_list_with_their_ids(store: Store, langfuse: ScoresSink) -> None:
    scores = Scores(store)
    scores.put("s-1-liked", {"name": "liked", "value": 1, "sessionId": "s-1"})
    scores.put("t-1-speed", {"name": "speed", "value": 0.5, "traceId": "t-1", "comment": "é"})
    assert store.flush(5)
    sender = start_scores(store, langfuse)
    [request] = langfuse.requests.wait_count(1)
    assert (request.method, request.path) == ("POST", "/api/public/scores")
    assert request.headers["authorization"] == "Basic " + base64.b64encode(b"pk:sk").decode()
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == [
        {"id": "s-1-liked", "name": "liked", "value": 1, "sessionId": "s-1"},
        {"id": "t-1-speed", "name": "speed", "value": 0.5, "traceId": "t-1", "comment": "é"},
    ]
    assert sender.stop(5)
    assert store.queued(Signal.SCORES) == 0


def test_scores_are_retried_set_aside_or_counted_as_langfuse_answers(
    store: Store, langfuse: ScoresSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicespan.sdk.sender.FIRST_DELAY_S", 0.02)
    langfuse.answers = [
        Response(503),
        Response(400, b'{"message":"no"}'),
        Response(207, b'{"accepted":0,"rejected":1,"errors":[{"message":"no such config"}]}'),
    ]
    scores, sender = Scores(store), start_scores(store, langfuse)
    for number, requests in ((1, 2), (2, 3), (3, 4)):
        scores.put(f"id-{number}", {"name": "liked", "value": 1})
        langfuse.requests.wait_count(requests)
        while store.queued(Signal.SCORES):
            store.flush(5)
    assert sender.stop(5)
    sent = [[score["id"] for score in json.loads(request.body)] for request in langfuse.requests.all()]
    assert sent == [["id-1"], ["id-1"], ["id-2"], ["id-3"]]
    stats = sender.stats
    assert (stats.sent, stats.failed_posts, stats.rejected, rejected_count(store)) == (1, 1, 2, 1)


@pytest.mark.parametrize("score", [{"value": 1}, {"name": "", "value": 1}, {"name": "x", "value": float("nan")}])
def test_a_score_that_langfuse_would_refuse_is_refused_at_once(store: Store, score: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"name|JSON"):
        Scores(store).put("id", score)  # type: ignore[arg-type]


def configured(tmp_path: Path, **environ: str) -> Pipeline:
    return configure(tmp_path / "traces.db", service_version="1", set_global=False, environ=environ)


def test_each_signal_has_variables_of_its_own(tmp_path: Path) -> None:
    pipeline = configured(
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_EXPORTER_OTLP_LOGS_ENDPOINT="http://127.0.0.1:10/logs",
        OTEL_METRICS_EXPORTER="none",
    )
    assert {signal: endpoint.url for signal, endpoint in pipeline.endpoints.items()} == {
        Signal.TRACES: "http://127.0.0.1:9/v1/traces",
        Signal.LOGS: "http://127.0.0.1:10/logs",
    }
    assert pipeline.shutdown(5)
    assert pipeline.shutdown(5), "twice does no harm"


def test_metrics_are_measured_where_somebody_takes_them(tmp_path: Path) -> None:
    for environ, measures in (
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_METRICS_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9/v1/metrics"}, True),
    ):
        pipeline = configure(tmp_path / "traces.db", service_version="1", set_global=False, environ=environ)
        pipeline.shutdown(0.1)
        assert isinstance(pipeline.meter_provider, MeterProvider) is measures
        assert isinstance(pipeline.meter_provider, NoOpMeterProvider) is not measures


def test_an_sdk_that_names_no_instance_is_helped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As before 1.43. In Prometheus the counters of two processes would be one series that jumps between them.
    monkeypatch.setattr(Resource, "create", staticmethod(Resource))
    instances = set()
    for number in range(2):
        pipeline = configured(tmp_path / str(number), OTEL_METRICS_EXPORTER="none")
        instances.add(pipeline.tracer_provider.resource.attributes["service.instance.id"])
        pipeline.shutdown(0.1)
    assert len(instances) == 2


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "Authorization: Bearer canary"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
        ("OTEL_METRICS_EXPORTER", "console"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1"),
    ],
)
def test_what_metrics_cannot_be_sent_by_is_named(
    variable: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(variable, value)  # the SDK's own exporter reads the process's environment
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", variable: value}
    with pytest.raises(EndpointError, match=variable) as raised:
        configured(tmp_path, **environ)
    assert "canary" not in str(raised.value) + caplog.text


def test_logs_that_nobody_sends_do_not_wait(tmp_path: Path) -> None:
    pipeline = configured(
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_LOGS_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        LANGFUSE_PUBLIC_KEY="pk",
        LANGFUSE_SECRET_KEY="sk",
    )
    assert set(pipeline.endpoints) == {Signal.TRACES, Signal.SCORES, Signal.MEDIA}
    pipeline.logger_provider.get_logger("t").emit(event_name="stays", context=Context())
    assert pipeline.store.flush(5)
    assert pipeline.store.stats().written == 1
    assert pipeline.store.stats().queued == {Signal.TRACES: 0, Signal.SCORES: 0, Signal.MEDIA: 0}
    pipeline.shutdown(5)


def test_without_a_store_spans_go_straight_to_the_receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with OtlpHttpSink() as receiver:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.base_url, "OTEL_METRICS_EXPORTER": "none"}
        pipeline = configure(None, service_version="1", set_global=False, environ=environ)
        tracer = pipeline.tracer_provider.get_tracer(c.SCOPE)
        session = tracer.start_span(c.WEBSOCKET_SESSION, attributes={c.SESSION_ID: "s-1"})
        tracer.start_span("Turn 1", attributes={c.SESSION_ID: "s-1", c.TURN_INDEX: 1}).end()
        session.end()
        assert pipeline.shutdown(5)
    assert [span.name for span in receiver.spans.all()] == ["Turn 1", c.WEBSOCKET_SESSION]
    assert list(tmp_path.iterdir()) == []


def test_a_transport_by_json_knows_langfuses_answers(langfuse: ScoresSink) -> None:
    endpoint = scores_endpoint(
        {"LANGFUSE_PUBLIC_KEY": "a", "LANGFUSE_SECRET_KEY": "b", "LANGFUSE_HOST": langfuse.server.url}
    )
    assert endpoint is not None
    transport = transport_for(endpoint, Signal.SCORES)
    langfuse.answers = [Response(202, b"not json"), Response(404, b"{}")]
    assert transport.post(b"[]") == Accepted()
    assert transport.post(b"[]") == Refused("HTTP 404 {}")
    transport.close()
    assert scores_endpoint({"LANGFUSE_PUBLIC_KEY": "a"}) is None
