"""Spans for the real collector, as many as wanted, and backends that only count them."""

from __future__ import annotations

import gzip
import os
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import Self

from benchmarks.pipeline.stories import CLEAN, Teller
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.http_server import HttpServer, Request, Response
from support.otlp_client import post_bytes
from support.otlp_sink import OtlpGrpcSink
from support.telling import IDENTITY, MODEL, Recorder
from voicespan import Capture, VoiceSession

CALLS = 20


class Load:
    """Twenty calls with their words, as `stories` tells them, sent again and again in traces of their own.

    Several threads may send at a time.
    """

    def __init__(self) -> None:
        recorder = Recorder(replace(IDENTITY, backend="gemini"))
        teller = Teller(CLEAN, seed=1)
        for _ in range(CALLS):
            teller.tell(VoiceSession(recorder.identity, MODEL, tracer=recorder.tracer, capture=Capture(on_spans=True)))
        self._request = encode_spans(recorder.finished_spans())
        self._spans = [span for r in self._request.resource_spans for s in r.scope_spans for span in s.spans]
        self._lock = threading.Lock()
        self.spans = len(self._spans)
        """In a request."""
        self.span_bytes = len(self._renamed()) // self.spans

    def send(self, http_endpoint: str) -> None:
        """One request.

        Raises:
            SystemExit: the collector refused it.
        """
        headers = {"Content-Type": "application/x-protobuf"}
        status = post_bytes(f"{http_endpoint}/v1/traces", self._renamed(), headers)
        if status != 200:
            raise SystemExit(f"the collector answered {status}")

    def send_paced(self, http_endpoint: str, *, rate: float, seconds: float, after_s: float = 0.0) -> int:
        """So many spans a second for so long, the first request after `after_s`; gives how many.

        What is late is caught up with, not left out.
        """
        requests = max(1, round(rate * seconds / self.spans))
        began_s = time.monotonic() + after_s
        for number in range(requests):
            time.sleep(max(0.0, began_s + number * self.spans / rate - time.monotonic()))
            self.send(http_endpoint)
        return requests * self.spans

    def _renamed(self) -> bytes:
        traces: dict[bytes, bytes] = {}
        with self._lock:
            for span in self._spans:
                span.trace_id = traces.setdefault(span.trace_id, os.urandom(16))
            return self._request.SerializeToString()


class Tally:
    """Spans that arrived, each counted once, whatever their number."""

    def __init__(self) -> None:
        self._arrived: set[bytes] = set()
        self._changed = threading.Condition()

    def add(self, request: ExportTraceServiceRequest) -> None:
        """What a backend received."""
        ids = [span.trace_id + span.span_id for r in request.resource_spans for s in r.scope_spans for span in s.spans]
        with self._changed:
            self._arrived.update(ids)
            self._changed.notify_all()

    @property
    def count(self) -> int:
        """How many there are."""
        with self._changed:
            return len(self._arrived)

    def wait_for(self, count: int, timeout_s: float) -> bool:
        """Whether so many have arrived within that time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._arrived) >= count, timeout_s)


class Backends:
    """Jaeger's and Langfuse's ways in. They take everything, and keep only what tells one span from another."""

    def __init__(self) -> None:
        self.jaeger, self.langfuse = Tally(), Tally()
        self._grpc = OtlpGrpcSink(self.jaeger.add)
        self._http = HttpServer(self._respond)

    @property
    def env(self) -> dict[str, str]:
        """What leads the collector to them, once they run."""
        return {
            "TRACE_EXPORTERS": "[otlp_grpc/jaeger]",
            "JAEGER_OTLP_ENDPOINT": self._grpc.endpoint,
            "GENAI_EXPORTERS": "[otlp_http/langfuse]",
            "LANGFUSE_BASE_URL": self._http.url,
        }

    def stop_langfuse(self) -> None:
        """From here on nobody answers there."""
        self._http.stop()

    def start_langfuse(self) -> None:
        """It is back, at the same address."""
        self._http.start()

    def __enter__(self) -> Self:
        self._http.start()
        self._grpc.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.stop()
        self._grpc.stop()

    def _respond(self, request: Request) -> Response:
        self.langfuse.add(ExportTraceServiceRequest.FromString(gzip.decompress(request.body)))
        return Response(200, b"{}")
