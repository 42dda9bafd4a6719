"""How a request reaches a receiver, and what its answer means: OTLP by HTTP or gRPC, Langfuse's scores by JSON.

Retries follow OTLP: transport errors and 429, 502, 503, 504 (gRPC: the codes of the specification) may pass; whatever
else a receiver refuses it will refuse again.
"""

from __future__ import annotations

import gzip
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Protocol, cast

import grpc
import requests
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from voicespan.sdk.endpoint import Endpoint
from voicespan.sdk.signals import Signal

_RETRYABLE_STATUS = {429, 502, 503, 504}
_RETRYABLE_CODES = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
_GRPC_METHODS = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """The receiver has the request; `rejected` records of it it did not want, and `message` says why."""

    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Again:
    """Try again, not before `after_s` where the receiver said so."""

    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The receiver will never take this request."""

    reason: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The receiver takes no request of this size."""

    reason: str


Answer = Accepted | Again | Refused | TooLarge


class Transport(Protocol):
    """A way to post an encoded request."""

    def post(self, body: bytes) -> Answer: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102

    def renewed(self) -> Transport:
        """Another like it, for a forked process: connections cannot be shared."""
        ...


class HttpTransport:
    """POST to one URL; `accepted` reads the body of an answer of the 200s."""

    def __init__(
        self, endpoint: Endpoint, content_type: str, accepted: Callable[[requests.Response], Accepted]
    ) -> None:
        self._endpoint = endpoint
        self._content_type = content_type
        self._accepted = accepted
        self._http = requests.Session()
        self._http.headers.update(endpoint.headers)
        self._http.headers["Content-Type"] = content_type
        if endpoint.gzip:
            self._http.headers["Content-Encoding"] = "gzip"
        if endpoint.certificate:
            self._http.verify = endpoint.certificate
        if endpoint.client_certificate:
            self._http.cert = (
                (endpoint.client_certificate, endpoint.client_key)
                if endpoint.client_key
                else endpoint.client_certificate
            )
        _keep_environment(self._http, endpoint.url)

    def post(self, body: bytes) -> Answer:
        """Send; any status of the 200s is acceptance, whatever the body looks like (Langfuse answers in JSON)."""
        data = gzip.compress(body, 5) if self._endpoint.gzip else body
        try:
            # A redirect would turn the POST into a GET: refuse it by name instead.
            answer = self._http.post(
                self._endpoint.url, data=data, timeout=self._endpoint.timeout_s, allow_redirects=False
            )
        except requests.RequestException as error:
            return Again(f"{type(error).__name__}: {error}")
        if answer.ok and answer.status_code < 300:
            return self._accepted(answer)
        return refusal(answer)

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def renewed(self) -> HttpTransport:
        """Another to the same endpoint."""
        return HttpTransport(self._endpoint, self._content_type, self._accepted)


class GrpcTransport:
    """OTLP over gRPC; the stored bytes are the message, nothing is encoded again."""

    def __init__(self, endpoint: Endpoint, signal: Signal) -> None:
        self._endpoint = endpoint
        self._signal = signal
        compression = grpc.Compression.Gzip if endpoint.gzip else grpc.Compression.NoCompression
        if endpoint.insecure:
            self._channel = grpc.insecure_channel(endpoint.url, compression=compression)
        else:
            self._channel = grpc.secure_channel(endpoint.url, endpoint.grpc_credentials(), compression=compression)
        self._export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            _GRPC_METHODS[signal], request_serializer=None, response_deserializer=None
        )
        self._metadata = tuple((name.lower(), value) for name, value in endpoint.headers.items())

    def post(self, body: bytes) -> Answer:
        """Send."""
        try:
            return _accepted_otlp(self._export(body, timeout=self._endpoint.timeout_s, metadata=self._metadata))
        except grpc.RpcError as error:
            failed = cast("grpc.Call", error)  # what a unary call raises is both
            reason = f"gRPC {failed.code().name} {failed.details()}".strip()
            if failed.code() in _RETRYABLE_CODES:
                return Again(reason, _retry_info(failed))
            if failed.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                return Refused(reason)
            # Only with a delay is it a quota that comes back; without, it is the limit on a message's size.
            after_s = _retry_info(failed)
            return TooLarge(reason) if after_s is None else Again(reason, after_s)

    def close(self) -> None:
        """Let go of the channel."""
        self._channel.close()

    def renewed(self) -> GrpcTransport:
        """Another to the same endpoint."""
        return GrpcTransport(self._endpoint, self._signal)


def _keep_environment(http: requests.Session, url: str) -> None:
    """Look for proxies, certificates and .netrc once: requests looks through the whole environment for each request."""
    found = http.merge_environment_settings(url, {}, None, None, None)
    http.proxies.update(found["proxies"])
    http.verify = found["verify"]
    http.auth = requests.utils.get_netrc_auth(url)
    http.trust_env = False


def refusal(answer: requests.Response) -> Again | Refused | TooLarge:
    """What a status that is none of the 200s means."""
    reason = f"HTTP {answer.status_code} {answer.text[:200]}".strip()
    if answer.status_code in _RETRYABLE_STATUS:
        return Again(reason, _retry_after(answer.headers.get("Retry-After")))
    return TooLarge(reason) if answer.status_code == 413 else Refused(reason)


def transport_for(endpoint: Endpoint, signal: Signal = Signal.TRACES) -> Transport:
    """The transport of a signal to its endpoint."""
    if signal is Signal.SCORES:
        return HttpTransport(endpoint, "application/json", _accepted_scores)
    if endpoint.protocol == "grpc":
        return GrpcTransport(endpoint, signal)
    return HttpTransport(endpoint, "application/x-protobuf", _accepted_http)


def _accepted_http(answer: requests.Response) -> Accepted:
    return _accepted_otlp(answer.content if "protobuf" in answer.headers.get("Content-Type", "") else b"")


def _accepted_otlp(body: bytes) -> Accepted:
    """A partial success. ExportLogsServiceResponse has the same fields under another name."""
    try:
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except DecodeError:
        return Accepted()
    return Accepted(partial.rejected_spans, partial.error_message)


def _accepted_scores(answer: requests.Response) -> Accepted:
    """Langfuse answers 202, or 207 with counts and reasons; a 207 must not be sent again."""
    try:
        told = json.loads(answer.content)
        rejected = int(told["rejected"])
        message = str(told["errors"][0]["message"]) if rejected else ""
    except (ValueError, LookupError, TypeError):
        return Accepted()
    return Accepted(rejected, message)


def _retry_after(header: str | None) -> float | None:
    """Seconds from now, of a number of them or a date; None leaves it to our own delay."""
    try:
        seconds = float(header or "")
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header or "").timestamp() - time.time()
        except ValueError:
            return None
        seconds = max(0.0, seconds)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _retry_info(failed: grpc.Call) -> float | None:
    """The delay that a receiver's google.rpc.RetryInfo asks for, in seconds."""
    for key, value in failed.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        try:
            details = status_pb2.Status.FromString(value if isinstance(value, bytes) else value.encode()).details
        except DecodeError:
            return None
        for detail in details:
            info = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                seconds: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
                return seconds
    return None
