"""OTLP receivers: gRPC as Jaeger has it, HTTP as Prometheus and Loki have it."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from support.http_server import Faults, HttpServer, Request, Response
from support.received import (
    Inbox,
    ReceivedLog,
    ReceivedMetric,
    ReceivedSpan,
    decode_logs,
    decode_metrics,
    decode_traces,
)
from support.running import Running


class OtlpGrpcSink(Running):
    """The trace service of OTLP/gRPC on 127.0.0.1. `take` gets what comes, where it shall not be kept in `spans`."""

    def __init__(self, take: Callable[[ExportTraceServiceRequest], None] | None = None) -> None:
        self.spans: Inbox[ReceivedSpan] = Inbox()
        self._take = take or self._keep
        self._server = grpc.server(ThreadPoolExecutor(max_workers=4))
        export = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=ExportTraceServiceRequest.FromString,
            response_serializer=ExportTraceServiceResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    "opentelemetry.proto.collector.trace.v1.TraceService", {"Export": export}
                )
            ]
        )
        self.port = int(self._server.add_insecure_port("127.0.0.1:0"))

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop(grace=None).wait()

    def _export(self, request: ExportTraceServiceRequest, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        self._take(request)
        return ExportTraceServiceResponse()

    def _keep(self, request: ExportTraceServiceRequest) -> None:
        self.spans.add(decode_traces(request, time.time_ns()))


class OtlpHttpSink(Running):
    """OTLP over HTTP and protobuf on 127.0.0.1, under any path that ends in /v1/traces, /v1/metrics or /v1/logs."""

    def __init__(self, port: int = 0) -> None:
        self.spans: Inbox[ReceivedSpan] = Inbox()
        self.metrics: Inbox[ReceivedMetric] = Inbox()
        self.logs: Inbox[ReceivedLog] = Inbox()
        self.requests: Inbox[Request] = Inbox()
        self._faults = Faults()
        self._server = HttpServer(self._respond, port)

    @property
    def base_url(self) -> str:
        return self._server.url

    def fail_next(self, status: int, times: int = 1, retry_after_s: int | None = None) -> None:
        """Answers the next requests with this status, whatever they are."""
        self._faults.order(status, times, retry_after_s)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        """From here on connections are refused; start() comes back on the same port with what was received."""
        self._server.stop()

    def _respond(self, request: Request) -> Response:
        self.requests.add([request])
        return self._faults.take() or self._accept(request)

    def _accept(self, request: Request) -> Response:
        if request.method != "POST":
            return Response(405)
        try:
            body = gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
            if request.path.endswith("/v1/traces"):
                self.spans.add(decode_traces(ExportTraceServiceRequest.FromString(body), request.received_ns))
            elif request.path.endswith("/v1/metrics"):
                self.metrics.add(decode_metrics(ExportMetricsServiceRequest.FromString(body), request.received_ns))
            elif request.path.endswith("/v1/logs"):
                self.logs.add(decode_logs(ExportLogsServiceRequest.FromString(body), request.received_ns))
            else:
                return Response(404)
        except (DecodeError, gzip.BadGzipFile) as error:
            return Response(400, str(error).encode(), "text/plain")
        # Empty is a valid Export*ServiceResponse without a partial success.
        return Response(200, b"", "application/x-protobuf")
