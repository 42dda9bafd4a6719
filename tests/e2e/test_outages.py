"""What the pipeline does when something is away, refuses, or is full: the failure table of docs/operations.md."""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.backends import wait_for
from support.collector import CONFIG, REPOSITORY, CollectorProcess, validate
from support.dns import OneAddress
from support.gate import NGINX, Gate
from support.langfuse_sink import LangfuseSink
from support.otlp_client import make_span, metrics_request, post, traces_request
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink
from support.received import ReceivedSpan

pytestmark = [pytest.mark.e2e, pytest.mark.collector]

OVERLAYS = REPOSITORY / "deploy/collector"
IDENTITY = {"session.id": "call-1", "langfuse.trace.name": "Voice Session"}


def turn(number: int) -> Span:
    return make_span(f"Turn {number}", number, trace_id=0x1111, attributes=IDENTITY)


def send(collector: CollectorProcess, *numbers: int) -> int:
    return post(f"{collector.http_endpoint}/v1/traces", traces_request([turn(number) for number in numbers]))


def numbers(spans: list[ReceivedSpan]) -> list[int]:
    return sorted(int(span.span_id, 16) for span in spans)


def statuses(langfuse: LangfuseSink) -> list[int]:
    return [request.status for request in langfuse.requests.all()]


def dropped(line: str) -> bool:
    return "Exporting failed. Dropping data." in line and "otlp_http/langfuse" in line


RENAMED = """
exporters:
  otlp_http/tracing:
    endpoint: ${env:LANGFUSE_BASE_URL}/api/public/otel
    auth: {authenticator: basicauth/langfuse}
    headers: {x-langfuse-ingestion-version: "4"}
    sending_queue: {storage: file_storage/queue}
"""


# --- Langfuse -------------------------------------------------------------------------------------------------------


def test_an_outage_outlives_a_stop_of_the_collector(
    collector: CollectorProcess, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    langfuse.stop()
    send(collector, *range(1, 51))
    collector.wait_for_log(lambda line: "otlp_http/langfuse" in line and "Exporting failed" in line)
    jaeger.spans.wait_count(50)
    collector.stop()
    langfuse.start()
    collector.start()
    assert numbers(langfuse.spans.wait_count(50)) == list(range(1, 51))


def test_a_renamed_exporter_leaves_its_queue_where_the_old_name_finds_it(
    collector_binary: Path, langfuse: LangfuseSink, tmp_path: Path
) -> None:
    renamed = tmp_path / "renamed.yaml"
    renamed.write_text(RENAMED)
    queue = tmp_path / "queue"
    langfuse.stop()
    with CollectorProcess(collector_binary, langfuse=langfuse, storage=queue) as before:
        send(before, 1)
        before.wait_for_log(lambda line: "otlp_http/langfuse" in line and "Exporting failed" in line)
    langfuse.start()
    new_name = {"GENAI_EXPORTERS": "[otlp_http/tracing]"}
    with CollectorProcess(
        collector_binary, langfuse=langfuse, storage=queue, env=new_name, configs=(CONFIG, renamed)
    ) as after:
        send(after, 2)
        assert numbers(langfuse.spans.wait_count(1)) == [2], "what waits under the old name is not looked for"
    with CollectorProcess(collector_binary, langfuse=langfuse, storage=queue):
        assert numbers(langfuse.spans.wait_count(2)) == [1, 2]


def test_a_limit_is_waited_for_as_long_as_langfuse_asks(collector: CollectorProcess, langfuse: LangfuseSink) -> None:
    langfuse.fail_next(429, retry_after_s=3)
    send(collector, 1)
    langfuse.spans.wait_count(1)
    refused, taken = langfuse.requests.all()
    assert (refused.status, taken.status) == (429, 200)
    assert taken.received_ns - refused.received_ns >= 3_000_000_000


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 500])
def test_what_is_refused_otherwise_is_lost_alone_and_counted(
    collector: CollectorProcess, langfuse: LangfuseSink, jaeger: OtlpGrpcSink, status: int
) -> None:
    langfuse.fail_next(status)
    send(collector, 1)
    collector.wait_for_log(dropped)
    send(collector, 2)
    assert numbers(langfuse.spans.wait_count(1)) == [2]
    assert statuses(langfuse) == [status, 200]
    assert numbers(jaeger.spans.wait_count(2)) == [1, 2]
    [told] = [
        line for line in collector.metrics().splitlines() if line.startswith("otelcol_exporter_send_failed_spans{")
    ]
    assert 'exporter="otlp_http/langfuse"' in told
    assert f'error_type="{status}"' in told or "error_permanent" in told
    assert told.endswith(" 1")


def test_what_is_large_reaches_langfuse_in_requests_of_three_mebibytes_at_the_most(
    collector: CollectorProcess, langfuse: LangfuseSink
) -> None:
    words = {**IDENTITY, "langfuse.observation.output": "said " * 40_000}
    turns = [make_span(f"Turn {number}", number, trace_id=0x1111, attributes=words) for number in range(1, 51)]
    assert post(f"{collector.http_endpoint}/v1/traces", traces_request(turns)) == 200  # ten of them
    requests: Counter[int] = Counter()
    for received in langfuse.spans.wait_count(50, 60):
        requests[received.received_ns] += len(received.raw)
    assert 2 << 20 < max(requests.values()) <= 3 << 20
    assert statuses(langfuse) == [200] * len(requests)


@pytest.fixture
def nginx() -> None:
    if NGINX is None:
        reason = "there is no nginx"
        pytest.fail(reason) if os.environ.get("VOICESPAN_REQUIRE_ALL") == "1" else pytest.skip(reason)


@pytest.fixture
def gated(nginx: None, collector_binary: Path, langfuse: LangfuseSink) -> Iterator[CollectorProcess]:
    with (
        Gate(langfuse.base_url) as gate,
        CollectorProcess(collector_binary, langfuse=langfuse, env={"LANGFUSE_BASE_URL": gate.url}) as collector,
    ):
        yield collector


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_behind_the_gate_it_is_tried_again(gated: CollectorProcess, langfuse: LangfuseSink, status: int) -> None:
    langfuse.fail_next(status)
    send(gated, 1)
    assert numbers(langfuse.spans.wait_count(1)) == [1]
    assert statuses(langfuse) == [status, 200]


def test_the_gate_waits_for_langfuse_and_lets_its_words_through(
    gated: CollectorProcess, langfuse: LangfuseSink
) -> None:
    langfuse.stop()
    send(gated, 1)
    gated.wait_for_log(lambda line: "Exporting failed. Will retry" in line)
    langfuse.start()
    langfuse.spans.wait_count(1)
    # A batch that is itself to blame is not tried for ever.
    langfuse.fail_next(400)
    send(gated, 2)
    gated.wait_for_log(dropped)
    assert statuses(langfuse) == [200, 400]


def test_the_gate_follows_a_langfuse_that_moved(nginx: None, collector_binary: Path, langfuse: LangfuseSink) -> None:
    upstream = langfuse.base_url.replace("127.0.0.1", "langfuse.test")
    with (
        OneAddress("127.0.0.9") as names,  # where nobody listens any more
        Gate(upstream, names.endpoint) as gate,
        CollectorProcess(collector_binary, langfuse=langfuse, env={"LANGFUSE_BASE_URL": gate.url}) as collector,
    ):
        send(collector, 1)
        collector.wait_for_log(lambda line: "Exporting failed. Will retry" in line)
        names.ip = "127.0.0.1"
        assert numbers(langfuse.spans.wait_count(1, 30)) == [1]


# --- the collector --------------------------------------------------------------------------------------------------


def test_a_queue_folder_that_cannot_be_written_is_told_at_the_start(collector_binary: Path, tmp_path: Path) -> None:
    file = tmp_path / "a-file"
    file.write_text("")
    process = CollectorProcess(collector_binary, storage=file / "queue")
    with pytest.raises(AssertionError, match=r"file_storage/queue.*not a directory"):
        process.start()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Two megabytes; skips where nothing can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_loses_spans_in_the_langfuse_leg_only(
    collector_binary: Path, langfuse: LangfuseSink, jaeger: OtlpGrpcSink, small_disk: Path
) -> None:
    langfuse.stop()
    words = {"langfuse.observation.input": "word " * 2000}
    with CollectorProcess(collector_binary, langfuse=langfuse, jaeger=jaeger, storage=small_disk) as collector:
        for number in range(1, 401):
            span = make_span(f"Turn {number}", number, trace_id=0x1111, attributes={**IDENTITY, **words})
            assert post(f"{collector.http_endpoint}/v1/traces", traces_request([span])) == 200
        assert numbers(jaeger.spans.wait_count(400)) == list(range(1, 401))
        collector.wait_for_log(lambda line: "no space left on device" in line)
        assert "otelcol_exporter_enqueue_failed_spans{" in collector.metrics()
        langfuse.start()
        kept = numbers(langfuse.spans.wait_for(lambda spans: len(spans) > 20))
    assert set(kept) <= set(range(1, 401))


def test_out_of_memory_it_refuses_before_the_fan_out(
    collector_binary: Path, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    limit = "processors::memory_limiter::"
    tight: dict[str, str | int] = {
        limit + "limit_percentage": 0,
        limit + "spike_limit_percentage": 0,
        limit + "limit_mib": 2,
        limit + "spike_limit_mib": 1,
    }
    with CollectorProcess(collector_binary, langfuse=langfuse, jaeger=jaeger, overrides=tight) as collector:
        # It says so a moment before it does so.
        collector.wait_for_log(lambda line: "Memory usage is above soft limit" in line)
        request = metrics_request("voicespan.tokens", 1, {"service.name": "voicespan-test"})
        wait_for(lambda: post(f"{collector.http_endpoint}/v1/metrics", request), lambda status: status == 503, 10)
        assert send(collector, 1) == 503
        assert "otelcol_processor_memory_limiter_refused_spans{" in collector.metrics()
    assert langfuse.spans.all() == jaeger.spans.all() == []


def test_prometheus_being_away_costs_the_other_legs_nothing(
    collector: CollectorProcess, langfuse: LangfuseSink, jaeger: OtlpGrpcSink, prometheus: OtlpHttpSink
) -> None:
    prometheus.stop()
    request = metrics_request("voicespan.tokens", 1, {"service.name": "voicespan-test"})
    assert post(f"{collector.http_endpoint}/v1/metrics", request) == 200
    collector.wait_for_log(lambda line: "otlp_http/prometheus" in line and "Exporting failed" in line)
    send(collector, 1)
    assert numbers(langfuse.spans.wait_count(1)) == numbers(jaeger.spans.wait_count(1)) == [1]
    prometheus.start()
    prometheus.metrics.wait_count(1)


def test_jaeger_being_away_costs_the_other_legs_nothing(
    collector: CollectorProcess, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    jaeger.stop()
    assert send(collector, 1) == 200
    collector.wait_for_log(lambda line: "otlp_grpc/jaeger" in line and "Exporting failed. Will retry" in line)
    assert numbers(langfuse.spans.wait_count(1)) == [1]


def test_without_the_bulkhead_a_full_queue_would_turn_everybody_away(
    collector_binary: Path, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    """Why each leg begins with it. Its twin, with it, is in test_collector.py."""
    langfuse.stop()
    queue = "exporters::otlp_http/langfuse::sending_queue::"
    bare: dict[str, str | int] = {
        queue + "queue_size": 600,
        queue + "batch::min_size": 1,
        queue + "batch::max_size": 600,
        "service::pipelines::traces/langfuse::processors": "[filter/genai_projection, transform/genai_shape]",
    }
    with CollectorProcess(collector_binary, langfuse=langfuse, jaeger=jaeger, overrides=bare) as collector:
        answers = [send(collector, number) for number in range(1, 51)]
        # Jaeger has all of it, and an application would send it again.
        jaeger.spans.wait_count(50)
    assert 503 in answers


@pytest.mark.parametrize(("origin", "allowed"), [("http://localhost:5173", True), ("https://elsewhere.example", False)])
def test_browsers_may_send_from_where_they_are_let(collector: CollectorProcess, origin: str, allowed: bool) -> None:
    asked = urllib.request.Request(
        f"{collector.http_endpoint}/v1/traces",
        method="OPTIONS",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,traceparent",
        },
    )
    with urllib.request.urlopen(asked, timeout=5) as answer:
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)


# --- how it is switched ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("TRACE_EXPORTERS", "GENAI_EXPORTERS", "METRIC_EXPORTERS", "LOG_EXPORTERS", "OTELCOL_QUEUE_BYTES"),
        *("JAEGER_OTLP_ENDPOINT", "PROMETHEUS_OTLP_ENDPOINT", "LOKI_OTLP_ENDPOINT"),
    ],
)
def test_set_but_empty_is_refused_at_the_start(collector_binary: Path, name: str) -> None:
    assert validate(collector_binary, {name: ""}).returncode == 1


@pytest.mark.parametrize("overlay", ["gateway.yaml", "no-langfuse.yaml", "sampling.yaml"])
def test_an_overlay_is_valid(collector_binary: Path, overlay: str) -> None:
    done = validate(collector_binary, {}, CONFIG, OVERLAYS / overlay)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_langfuse_nothing_is_written_to_disk(
    collector_binary: Path, jaeger: OtlpGrpcSink, tmp_path: Path
) -> None:
    configs = (CONFIG, OVERLAYS / "no-langfuse.yaml")
    folder = tmp_path / "queue"
    with CollectorProcess(collector_binary, jaeger=jaeger, storage=folder, configs=configs) as collector:
        send(collector, 1)
        jaeger.spans.wait_count(1)
    assert not folder.exists()


def test_an_agent_acknowledges_what_the_gateway_has_and_nothing_else(
    collector_binary: Path, langfuse: LangfuseSink, jaeger: OtlpGrpcSink
) -> None:
    gateway = CollectorProcess(
        collector_binary, langfuse=langfuse, jaeger=jaeger, configs=(CONFIG, OVERLAYS / "gateway.yaml")
    )
    agent = CollectorProcess(
        collector_binary, env={"OTELCOL_GATEWAY": gateway.grpc_endpoint}, configs=(OVERLAYS / "agent.yaml",)
    )
    with gateway, agent:
        assert send(agent, 1) == 200
        langfuse.spans.wait_count(1)
        gateway.stop()
        assert send(agent, 2) == 503
    assert numbers(jaeger.spans.all()) == [1]
