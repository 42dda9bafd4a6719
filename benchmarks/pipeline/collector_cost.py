"""`python -m benchmarks.pipeline.collector_cost`: what a span costs the real collector, in CPU and memory.

CPU time, not wall time, so that it does not matter what else the machine does. Calls as `stories` tells them are sent
again and again under new ids; Jaeger and Langfuse are stand-ins that take everything.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.pipeline.stories import CLEAN, Teller
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.collector import REPOSITORY, CollectorProcess
from support.langfuse_sink import LangfuseSink
from support.otlp_client import post_bytes
from support.otlp_sink import OtlpGrpcSink
from support.telling import IDENTITY, MODEL, Recorder
from voicespan import Capture, VoiceSession

CALLS = 20
BACK_S = 300.0


def request() -> ExportTraceServiceRequest:
    """Twenty calls with their words."""
    recorder = Recorder(replace(IDENTITY, backend="gemini"))
    teller = Teller(CLEAN, seed=1)
    for _ in range(CALLS):
        teller.tell(VoiceSession(recorder.identity, MODEL, tracer=recorder.tracer, capture=Capture(on_spans=True)))
    return encode_spans(recorder.finished_spans())


def renamed(message: ExportTraceServiceRequest) -> bytes:
    """The same calls, in traces of their own."""
    traces: dict[bytes, bytes] = {}
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                span.trace_id = traces.setdefault(span.trace_id, os.urandom(16))
    return message.SerializeToString()


def send(collector: CollectorProcess, message: ExportTraceServiceRequest, requests: int) -> None:
    """Twenty calls, again and again."""
    for _ in range(requests):
        headers = {"Content-Type": "application/x-protobuf"}
        if post_bytes(f"{collector.http_endpoint}/v1/traces", renamed(message), headers) != 200:
            raise SystemExit("the collector refused")


def cost(binary: Path, requests: int) -> None:
    """CPU and memory of what passes."""
    message = request()
    with (
        LangfuseSink() as langfuse,
        OtlpGrpcSink() as jaeger,
        CollectorProcess(binary, langfuse=langfuse, jaeger=jaeger) as collector,
    ):
        before = _told(collector, "otelcol_process_cpu_seconds")
        send(collector, message, requests)
        sent = count(message) * requests
        jaeger.spans.wait_for(lambda received: len(received) >= sent, 120)
        cpu_s = _told(collector, "otelcol_process_cpu_seconds") - before
        memory = _told(collector, "otelcol_process_memory_rss")
    print(f"{sent} spans of {size(message)} bytes: {cpu_s / sent * 1e6:.0f} us CPU each, ", end="")
    print(f"{sent / cpu_s:.0f} spans per second and core; {memory / 2**20:.0f} MiB resident")


def outage(binary: Path, requests: int) -> None:
    """Memory and disk while Langfuse is away, and when it is back. What is told is as much as an outage queues."""
    message = request()
    with LangfuseSink() as langfuse, CollectorProcess(binary, langfuse=langfuse) as collector:
        langfuse.stop()
        send(collector, message, requests)
        sent = count(message) * requests
        memory = _told(collector, "otelcol_process_memory_rss")
        disk = sum(path.stat().st_size for path in collector.storage.rglob("*") if path.is_file())
        print(f"{sent} spans of {size(message)} bytes while Langfuse was away: ", end="")
        print(f"{disk / 2**20:.0f} MiB on disk, {memory / 2**20:.0f} MiB resident")
        langfuse.start()
        began_s, peak = time.monotonic(), memory
        while (arrived := len(langfuse.spans.all())) < sent and time.monotonic() - began_s < BACK_S:
            peak = max(peak, _told(collector, "otelcol_process_memory_rss"))
            time.sleep(1)
    print(f"{arrived} of them were there {time.monotonic() - began_s:.0f} s after it was back, ", end="")
    print(f"{peak / 2**20:.0f} MiB resident at the most")


def count(message: ExportTraceServiceRequest) -> int:
    """Its spans."""
    return sum(len(scope.spans) for resource in message.resource_spans for scope in resource.scope_spans)


def size(message: ExportTraceServiceRequest) -> int:
    """Bytes a span."""
    return len(renamed(message)) // count(message)


def main() -> int:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, help=f"of {CALLS} calls each (300; 640 with --outage)")
    parser.add_argument("--outage", action="store_true", help="what waits: ten minutes of 1,000 sessions' spans")
    options = parser.parse_args()
    binary = Path(subprocess.check_output([REPOSITORY / "scripts/build-collector"], text=True).strip())
    if options.outage:
        outage(binary, options.requests or 640)  # 190 spans a second
    else:
        cost(binary, options.requests or 300)
    return 0


def _told(collector: CollectorProcess, name: str) -> float:
    [value] = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", collector.metrics(), re.MULTILINE)
    return float(value)


if __name__ == "__main__":
    sys.exit(main())
