"""OTLP over gRPC. The codes that may pass are those of the OTLP specification."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from voicespan.sdk.endpoint import Endpoint
from voicespan.sdk.signals import Signal
from voicespan.sdk.transport import Again, Answer, Refused, TooLarge, accepted_otlp

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


class GrpcTransport:
    """OTLP over gRPC; the stored bytes are the message, nothing is encoded again."""

    def __init__(self, endpoint: Endpoint, signal: Signal) -> None:
        self._endpoint = endpoint
        self._signal = signal
        compression = grpc.Compression.Gzip if endpoint.gzip else grpc.Compression.NoCompression
        if endpoint.insecure:
            self._channel = grpc.insecure_channel(endpoint.url, compression=compression)
        else:
            self._channel = grpc.secure_channel(endpoint.url, _credentials(endpoint), compression=compression)
        self._export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            _GRPC_METHODS[signal], request_serializer=None, response_deserializer=None
        )
        self._metadata = tuple((name.lower(), value) for name, value in endpoint.headers.items())

    def post(self, body: bytes) -> Answer:
        """Send."""
        try:
            return accepted_otlp(self._export(body, timeout=self._endpoint.timeout_s, metadata=self._metadata))
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


def _credentials(endpoint: Endpoint) -> grpc.ChannelCredentials:
    """TLS, with the given certificates where there are any."""
    return grpc.ssl_channel_credentials(
        root_certificates=_content(endpoint.certificate),
        private_key=_content(endpoint.client_key),
        certificate_chain=_content(endpoint.client_certificate),
    )


def _content(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None


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
