"""A stand-in for Langfuse: an OTLP endpoint that is as strict as the real one, and the API that reads back.

Source of the rules: langfuse/langfuse v4.16, web/src/pages/api/public/otel/v1/traces/index.ts. Stricter in one point:
the public key must match too, where Langfuse only logs a warning. What a span becomes is in langfuse_rows.py, what the
API answers in langfuse_api.py.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import zlib
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.http_server import Faults, HttpServer, Request, Response
from support.langfuse_api import LangfuseApi
from support.langfuse_media import STORAGE
from support.langfuse_rows import row_of
from support.received import Inbox, ReceivedSpan, decode_traces
from support.running import Running

OTLP = "/api/public/otel/"
PATH = OTLP + "v1/traces"


@dataclass(frozen=True)
class LangfuseRequest:
    """An export and how it was answered; header names are lower-case."""

    path: str
    headers: dict[str, str]
    status: int
    answer: str
    received_ns: int


class LangfuseSink(Running):
    """Keeps the spans of the exports that it accepted; `requests` has every export, also those refused.

    What was taken can be read by `api` after `readable_after_s` seconds; `api_requests` has what else was asked,
    `storage_requests` what was put into the object store.
    """

    def __init__(
        self,
        public_key: str = "pk-lf-test",
        secret_key: str = "sk-lf-test",
        port: int = 0,
        readable_after_s: float = 0.0,
    ) -> None:
        self.public_key = public_key
        self.secret_key = secret_key
        self.spans: Inbox[ReceivedSpan] = Inbox()
        self.requests: Inbox[LangfuseRequest] = Inbox()
        self.api = LangfuseApi(readable_after_s)
        self.api_requests: Inbox[Request] = Inbox()
        self._faults = Faults()
        self._api_faults = Faults()
        self.storage_requests: Inbox[Request] = Inbox()
        self._storage_faults = Faults()
        self._server = HttpServer(self._respond, port)

    @property
    def base_url(self) -> str:
        """What LANGFUSE_BASE_URL is set to."""
        return self._server.url

    def fail_next(self, status: int, times: int = 1, retry_after_s: int | None = None) -> None:
        """Answers the next exports with this status, whatever they are."""
        self._faults.order(status, times, retry_after_s)

    def fail_next_api(self, status: int, times: int = 1, retry_after_s: int | None = None) -> None:
        """The same for what is no export: scores, media, and what is read back."""
        self._api_faults.order(status, times, retry_after_s)

    def fail_next_storage(self, status: int, times: int = 1, retry_after_s: int | None = None) -> None:
        """The same for files that are put into the object store."""
        self._storage_faults.order(status, times, retry_after_s)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        """From here on connections are refused; start() comes back on the same port with what was received."""
        self._server.stop()

    def _respond(self, request: Request) -> Response:
        if request.path.startswith(STORAGE):
            self.storage_requests.add([request])
            return self._storage_faults.take() or self.api.media.put(request)
        if not request.path.startswith(OTLP):
            return self._respond_api(request)
        ordered = self._faults.take()
        response, spans = (ordered, []) if ordered else self._judge(request)
        # The request first: who waited for a span finds the request that brought it.
        self.requests.add(
            [
                LangfuseRequest(
                    request.path, request.headers, response.status, response.body.decode(), request.received_ns
                )
            ]
        )
        self.api.add_rows([row_of(span) for span in spans])
        self.spans.add(spans)
        return response

    def _respond_api(self, request: Request) -> Response:
        self.api_requests.add([request])
        try:
            check_credentials(request, self.public_key, self.secret_key)
        except RefusedError as refused:
            return Response(refused.status, json.dumps({"message": str(refused)}).encode())
        return self._api_faults.take() or self.api.respond(request)

    def _judge(self, request: Request) -> tuple[Response, list[ReceivedSpan]]:
        try:
            check_headers(request, self.public_key, self.secret_key)
            export = parse_export(request.body, request.headers)
            check_ids(export)
        except RefusedError as refused:
            return Response(refused.status, json.dumps({"message": str(refused)}).encode()), []
        spans = decode_traces(export, request.received_ns)
        # The answer is a queue's job in JSON, also to a protobuf request.
        return Response(200, b'{"name":"otel-ingestion-job","data":{}}' if spans else b"{}"), spans


class RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_headers(request: Request, public_key: str, secret_key: str) -> None:
    if request.path != PATH:
        raise RefusedError(404, "Not Found")
    if request.method != "POST":
        raise RefusedError(405, "Method not allowed")
    check_credentials(request, public_key, secret_key)
    version = request.headers.get("x-langfuse-ingestion-version")
    if version is not None and (not version.isdigit() or int(version) > 4):
        raise RefusedError(400, "Unsupported ingestion version")
    content_type = request.headers.get("content-type", "")
    if "application/x-protobuf" not in content_type and "application/json" not in content_type:
        raise RefusedError(400, "Invalid content type")


def check_credentials(request: Request, public_key: str, secret_key: str) -> None:
    if "authorization" not in request.headers:
        raise RefusedError(401, "No authorization header")
    expected = base64.b64encode(f"{public_key}:{secret_key}".encode()).decode()
    if request.headers["authorization"] != f"Basic {expected}":
        raise RefusedError(401, "Invalid credentials. Confirm that you've configured the correct host.")


def parse_export(body: bytes, headers: dict[str, str]) -> ExportTraceServiceRequest:
    encoding = headers.get("content-encoding", "")
    try:
        # Any other encoding is parsed as if there were none, and fails there.
        plain = gzip.decompress(body) if "gzip" in encoding else body
        if "application/json" in headers.get("content-type", ""):
            return _parse_json(plain)
        return ExportTraceServiceRequest.FromString(plain)
    except (DecodeError, json_format.ParseError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise RefusedError(400, f"Failed to parse OTel trace: {error}") from error


def check_ids(export: ExportTraceServiceRequest) -> None:
    """One bad id refuses the whole export, the good spans in it too."""
    for resource_spans in export.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                if len(span.trace_id) != 16 or not any(span.trace_id):
                    raise RefusedError(400, f"Invalid trace id in span {span.name!r}")
                if len(span.span_id) != 8 or not any(span.span_id):
                    raise RefusedError(400, f"Invalid span id in span {span.name!r}")
                if span.parent_span_id and (len(span.parent_span_id) != 8 or not any(span.parent_span_id)):
                    raise RefusedError(400, f"Invalid parent span id in span {span.name!r}")


def _parse_json(plain: bytes) -> ExportTraceServiceRequest:
    document = json.loads(plain)
    for resource_spans in document.get("resourceSpans", []):
        for scope_spans in resource_spans.get("scopeSpans", []):
            for span in scope_spans.get("spans", []):
                for holder in (span, *span.get("links", [])):
                    _hex_ids_to_base64(holder)
    return json_format.ParseDict(document, ExportTraceServiceRequest(), ignore_unknown_fields=True)


def _hex_ids_to_base64(holder: dict[str, Any]) -> None:
    """OTLP's JSON writes ids in hex, protobuf's own JSON mapping reads bytes in base64."""
    for key in ("traceId", "spanId", "parentSpanId"):
        if key in holder:
            try:
                holder[key] = base64.b64encode(binascii.unhexlify(holder[key])).decode()
            except (binascii.Error, TypeError) as error:
                raise ValueError(f"{key} is not hex") from error
