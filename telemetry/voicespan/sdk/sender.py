"""Stored spans to an OTLP receiver: one thread, one request at a time, in order, until each is accepted.

Retries follow OTLP: transport errors and 429, 502, 503, 504 (gRPC: the codes of the specification) are tried again,
after Retry-After or a growing delay with jitter; whatever else a receiver refuses is set aside with its reason.
"""

from __future__ import annotations

import gzip
import logging
import math
import random
import threading
from dataclasses import dataclass
from typing import Protocol, cast

import grpc
import requests
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from voicespan.guard import report_in_thread
from voicespan.sdk.endpoint import Endpoint
from voicespan.sdk.store import Store

# Spans that end together leave together, and none waits longer than this.
GATHER_S = 0.1
MAX_RECORDS = 512
MAX_BYTES = 2 << 20
FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
MAX_RETRY_AFTER_S = 300.0
_RETRYABLE_STATUS = {429, 502, 503, 504}
_RETRYABLE_CODES = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
_GRPC_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The receiver has the request; `rejected_spans` of it it did not want, and `message` says why."""

    rejected_spans: int = 0
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
    """A way to post an encoded ExportTraceServiceRequest."""

    def post(self, body: bytes) -> Answer: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class HttpTransport:
    """OTLP over HTTP with protobuf bodies."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._http = requests.Session()
        self._http.trust_env = True
        self._http.headers.update(endpoint.headers)
        self._http.headers["Content-Type"] = "application/x-protobuf"
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
            return _accepted(answer.content if "protobuf" in answer.headers.get("Content-Type", "") else b"")
        reason = f"HTTP {answer.status_code} {answer.text[:200]}".strip()
        if answer.status_code in _RETRYABLE_STATUS:
            return Again(reason, _retry_after(answer.headers.get("Retry-After")))
        return TooLarge(reason) if answer.status_code == 413 else Refused(reason)

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()


class GrpcTransport:
    """OTLP over gRPC; the stored bytes are the message, nothing is encoded again."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        compression = grpc.Compression.Gzip if endpoint.gzip else grpc.Compression.NoCompression
        if endpoint.insecure:
            self._channel = grpc.insecure_channel(endpoint.url, compression=compression)
        else:
            self._channel = grpc.secure_channel(endpoint.url, endpoint.grpc_credentials(), compression=compression)
        self._export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            _GRPC_METHOD, request_serializer=None, response_deserializer=None
        )
        self._metadata = tuple((name.lower(), value) for name, value in endpoint.headers.items())

    def post(self, body: bytes) -> Answer:
        """Send."""
        try:
            return _accepted(self._export(body, timeout=self._endpoint.timeout_s, metadata=self._metadata))
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


@dataclass(slots=True)
class SenderStats:
    """Counts since the process began, and the last thing that went wrong."""

    sent: int = 0
    failed_posts: int = 0
    rejected: int = 0
    last_error: str = ""


class Sender:
    """Empties a store's outbox. `stop` makes one last effort, bounded in time."""

    def __init__(self, store: Store, transport: Transport) -> None:
        self._store = store
        self._transport = transport
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self.stats = SenderStats()
        store.on_commit = self._wake.set
        self._thread = threading.Thread(target=self._send_forever, name="voicespan-sender", daemon=True)
        self._thread.start()
        self._wake.set()  # what an earlier process left

    def stop(self, timeout_s: float) -> bool:
        """Send what waits, for `timeout_s` seconds at most; what is left stays in the store. True where nothing is."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        self._transport.close()
        return self._store.stats().queued == 0

    def _send_forever(self) -> None:
        delay_s = FIRST_DELAY_S
        while True:
            self._wake.wait()
            self._wake.clear()
            last = self._stopping.wait(GATHER_S)
            try:
                delay_s = self._drain(delay_s)
            except Exception as error:  # noqa: BLE001 - a broken store must not end the thread in silence
                if not self._stopping.wait(1.0):
                    self._wake.set()
                    report_in_thread(error)
            if last:
                return

    def _drain(self, delay_s: float) -> float:
        """Send until the outbox is empty; returns the delay to begin with next time."""
        limit = MAX_RECORDS
        while batch := self._store.next_batch(limit, MAX_BYTES):
            answer = self._transport.post(batch.request)
            match answer:
                case Accepted(rejected_spans, message):
                    self._store.accepted(batch)
                    self.stats.sent += len(batch.ids) - rejected_spans
                    self.stats.rejected += rejected_spans
                    if message:
                        self._say(f"the receiver took a batch but for {rejected_spans} spans: {message}")
                    delay_s = FIRST_DELAY_S
                    limit = MAX_RECORDS
                case TooLarge() if len(batch.ids) > 1:
                    limit = len(batch.ids) // 2
                case Refused(reason) | TooLarge(reason):
                    self._store.rejected(batch, reason)
                    self.stats.rejected += len(batch.ids)
                    self._say(f"the receiver refused {len(batch.ids)} spans, which are set aside: {reason}")
                case Again(reason, after_s):
                    self.stats.failed_posts += 1
                    self._say(f"spans wait, the receiver cannot be reached: {reason}")
                    wait_s = min(max(after_s or 0.0, delay_s * random.uniform(0.8, 1.2)), MAX_RETRY_AFTER_S)
                    if self._stopping.wait(wait_s):
                        return delay_s  # what is left stays in the store
                    delay_s = min(delay_s * 2, MAX_DELAY_S)
        return delay_s

    def _say(self, what: str) -> None:
        if what != self.stats.last_error:
            self.stats.last_error = what
            logger.warning(what)


def transport_for(endpoint: Endpoint) -> Transport:
    """The transport of the endpoint's protocol."""
    return GrpcTransport(endpoint) if endpoint.protocol == "grpc" else HttpTransport(endpoint)


def _accepted(body: bytes) -> Accepted:
    try:
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except DecodeError:
        return Accepted()
    return Accepted(partial.rejected_spans, partial.error_message)


def _retry_after(header: str | None) -> float | None:
    """Seconds; a date, or what is no number, leaves it to our own delay."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
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
