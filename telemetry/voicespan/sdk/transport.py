"""How a request reaches a receiver, and what its answer means.

What each way needs is imported where it is used first: 0.1 s for HTTP's, half as much for gRPC's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from voicespan.sdk.endpoint import Endpoint
from voicespan.sdk.signals import Signal


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


def transport_for(endpoint: Endpoint, signal: Signal = Signal.TRACES) -> Transport:
    """The transport of a signal to its endpoint."""
    if endpoint.protocol == "grpc" and signal is not Signal.SCORES:
        from voicespan.sdk.grpc_transport import GrpcTransport  # noqa: PLC0415

        return GrpcTransport(endpoint, signal)
    from voicespan.sdk import http_transport  # noqa: PLC0415

    return http_transport.of_scores(endpoint) if signal is Signal.SCORES else http_transport.of_otlp(endpoint)


def accepted_otlp(body: bytes) -> Accepted:
    """A partial success. ExportLogsServiceResponse has the same fields under another name."""
    try:
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except DecodeError:
        return Accepted()
    return Accepted(partial.rejected_spans, partial.error_message)
