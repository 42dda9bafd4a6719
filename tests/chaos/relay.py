"""Between the server and the collector: passes on, keeps what the collector accepted, and fails as it is told."""

from __future__ import annotations

import gzip
import threading
import time
import urllib.error
import urllib.request
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.http_server import Faults, HttpServer, Request, Response
from support.received import Inbox, ReceivedSpan, decode_traces

FORWARD_TIMEOUT_S = 30.0


class Relay:
    """`spans` are those of requests that the collector answered with 200: they are its now."""

    def __init__(self, collector_url: str) -> None:
        self.spans: Inbox[ReceivedSpan] = Inbox()
        self.failed = 0
        self._collector_url = collector_url
        self._faults = Faults()
        self._lock = threading.Lock()
        self._server = HttpServer(self._respond)

    @property
    def url(self) -> str:
        return self._server.url

    def fail_next(self, status: int, times: int, retry_after_s: int | None = None) -> None:
        """Answer the next requests with this status instead of asking the collector."""
        self._faults.order(status, times, retry_after_s)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop()

    def _respond(self, request: Request) -> Response:
        response = self._faults.take() if request.path.endswith("/v1/traces") else None
        response = response or self._forward(request)
        if response.status != 200:
            with self._lock:
                self.failed += 1
        elif request.path.endswith("/v1/traces"):
            export = ExportTraceServiceRequest.FromString(gzip.decompress(request.body))
            self.spans.add(decode_traces(export, time.time_ns()))
        return response

    def _forward(self, request: Request) -> Response:
        names = ("content-type", "content-encoding")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        forwarded = urllib.request.Request(self._collector_url + request.path, request.body, headers)
        try:
            with urllib.request.urlopen(forwarded, timeout=FORWARD_TIMEOUT_S) as answer:
                return Response(answer.status, answer.read(), answer.headers.get("Content-Type", ""))
        except urllib.error.HTTPError as error:
            return Response(error.code, error.read(), error.headers.get("Content-Type", ""))
        except OSError:
            return Response(502)  # as a proxy before a dead collector says
