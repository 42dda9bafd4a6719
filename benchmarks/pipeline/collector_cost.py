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


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300, help=f"of {CALLS} calls each (default 300)")
    options = parser.parse_args()
    binary = Path(subprocess.check_output([REPOSITORY / "scripts/build-collector"], text=True).strip())
    message = request()
    spans = sum(len(scope.spans) for resource in message.resource_spans for scope in resource.scope_spans)
    with (
        LangfuseSink() as langfuse,
        OtlpGrpcSink() as jaeger,
        CollectorProcess(binary, langfuse=langfuse, jaeger=jaeger) as collector,
    ):
        size = len(renamed(message))
        before = _told(collector, "otelcol_process_cpu_seconds")
        for _ in range(options.requests):
            body = renamed(message)
            headers = {"Content-Type": "application/x-protobuf"}
            if post_bytes(f"{collector.http_endpoint}/v1/traces", body, headers) != 200:
                raise SystemExit("the collector refused")
        sent = spans * options.requests
        jaeger.spans.wait_for(lambda received: len(received) >= sent, 120)
        cpu_s = _told(collector, "otelcol_process_cpu_seconds") - before
        memory = _told(collector, "otelcol_process_memory_rss")
    print(f"{sent} spans of {size / spans:.0f} bytes: {cpu_s / sent * 1e6:.0f} us CPU each, ", end="")
    print(f"{sent / cpu_s:.0f} spans per second and core; {memory / 2**20:.0f} MiB resident")
    return 0


def _told(collector: CollectorProcess, name: str) -> float:
    [value] = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", collector.metrics(), re.MULTILINE)
    return float(value)


if __name__ == "__main__":
    sys.exit(main())
