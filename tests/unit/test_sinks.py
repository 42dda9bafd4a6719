"""The stand-in for Langfuse refuses what Langfuse refuses."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.langfuse_sink import PATH, LangfuseSink
from support.otlp_client import make_span, post_bytes, traces_request

GOOD = {
    "Authorization": "Basic " + base64.b64encode(b"pk-lf-test:sk-lf-test").decode(),
    "Content-Type": "application/x-protobuf",
}
BODY = traces_request([make_span("Turn 1", 4, trace_id=1, attributes={"n": 3})]).SerializeToString()
JSON_BODY = json.dumps(
    {
        "resourceSpans": [
            {"scopeSpans": [{"spans": [{"traceId": "1".zfill(32), "spanId": "4".zfill(16), "name": "Turn 1"}]}]}
        ]
    }
).encode()


@pytest.fixture
def sink() -> Iterator[LangfuseSink]:
    with LangfuseSink() as running:
        yield running


def post(sink: LangfuseSink, body: bytes = BODY, path: str = PATH, **headers: str) -> int:
    return post_bytes(sink.base_url + path, body, {**GOOD, **{k.replace("_", "-"): v for k, v in headers.items()}})


def test_it_keeps_what_it_accepts(sink: LangfuseSink) -> None:
    assert post(sink) == 200
    assert post(sink, gzip.compress(BODY), Content_Encoding="gzip") == 200
    assert post(sink, JSON_BODY, Content_Type="application/json") == 200
    spans = sink.spans.all()
    assert [(span.name, int(span.trace_id, 16), int(span.span_id, 16)) for span in spans] == [("Turn 1", 1, 4)] * 3
    assert spans[0].raw == spans[1].raw
    assert sink.requests.all()[0].answer == '{"name":"otel-ingestion-job","data":{}}'
    assert post(sink, b"") == 200
    assert sink.requests.all()[-1].answer == "{}"


@pytest.mark.parametrize(
    ("status", "body", "path", "headers"),
    [
        pytest.param(404, BODY, "/api/public/otel/v1/logs", {}, id="another path"),
        pytest.param(401, BODY, PATH, {"Authorization": "Basic d3Jvbmc6a2V5"}, id="wrong key"),
        pytest.param(401, BODY, PATH, {"Authorization": "Bearer pk-lf-test"}, id="bearer"),
        pytest.param(400, BODY, PATH, {"Content_Type": "text/plain"}, id="content type"),
        pytest.param(400, BODY, PATH, {"x_langfuse_ingestion_version": "5"}, id="ingestion version"),
        pytest.param(400, zlib.compress(BODY), PATH, {"Content_Encoding": "deflate"}, id="deflate"),
        pytest.param(400, BODY, PATH, {"Content_Encoding": "gzip"}, id="gzip that is none"),
        pytest.param(400, b"\xff\xff", PATH, {}, id="no protobuf"),
        pytest.param(400, JSON_BODY.replace(b"04", b"0g"), PATH, {"Content_Type": "application/json"}, id="no hex"),
    ],
)
def test_it_refuses_a_bad_request(
    sink: LangfuseSink, status: int, body: bytes, path: str, headers: dict[str, str]
) -> None:
    assert post(sink, body, path, **headers) == status
    assert sink.spans.all() == []


@pytest.mark.parametrize(
    "bad",
    [
        Span(name="no ids"),
        make_span("zero trace id", 1, trace_id=0),
        make_span("zero span id", 0, trace_id=1),
        Span(name="short parent", trace_id=b"1" * 16, span_id=b"1" * 8, parent_span_id=b"1"),
    ],
    ids=lambda span: span.name,
)
def test_one_bad_id_refuses_the_whole_export(sink: LangfuseSink, bad: Span) -> None:
    export = traces_request([make_span("good", 1, trace_id=1), bad])
    assert post(sink, export.SerializeToString()) == 400
    assert sink.spans.all() == []


def test_ordered_answers_come_first_and_run_out(sink: LangfuseSink) -> None:
    sink.fail_next(503, times=2, retry_after_s=1)
    assert [post(sink) for _ in range(3)] == [503, 503, 200]
    assert len(sink.spans.all()) == 1


def test_it_can_be_down_and_come_back(sink: LangfuseSink) -> None:
    address = sink.base_url
    sink.stop()
    with pytest.raises(OSError, match="refused"):
        post_bytes(address + PATH, BODY, GOOD)
    sink.start()
    assert sink.base_url == address
    assert post(sink) == 200
