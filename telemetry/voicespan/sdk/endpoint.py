"""Where spans and log records are sent: the OTEL_EXPORTER_OTLP_* variables that Voicespan's sender honours.

For each of ENDPOINT, HEADERS, TIMEOUT (seconds, as in the Python SDK), COMPRESSION, PROTOCOL, CERTIFICATE,
CLIENT_CERTIFICATE, CLIENT_KEY and INSECURE, OTEL_EXPORTER_OTLP_TRACES_x (for log records OTEL_EXPORTER_OTLP_LOGS_x)
goes before OTEL_EXPORTER_OTLP_x.
An empty variable is an unset one. Without an endpoint nothing is sent: the specification's default,
localhost, would make every laptop without a collector log failures. PROTOCOL defaults to http/protobuf, and
COMPRESSION to gzip, which costs a ninth of the encoding and saves 12/13 of the bytes.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from opentelemetry.util.re import parse_env_headers

from voicespan.redaction import without_password
from voicespan.sdk.signals import Signal

# As `parse_env_headers` takes it where it is liberal.
_HEADER = re.compile(r"[!#-'*+.0-9A-Z^-z|~-]+[ \t]*=[ \t]*[ !#-+\--:<-\[\]-~]*")
PROTOCOLS = ("http/protobuf", "grpc")


class EndpointError(ValueError):
    """A variable has a value that cannot be used; the message names it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver of one signal by OTLP. `url` is the full URL for HTTP and host:port for gRPC."""

    url: str
    protocol: str = "http/protobuf"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 10.0
    gzip: bool = True
    insecure: bool = False
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None


def endpoint_from_environment(
    environ: Mapping[str, str] = os.environ, signal: Signal | Literal["metrics"] = Signal.TRACES
) -> Endpoint | None:
    """The receiver that the standard variables name; None where they name none, or ask for no exporter of the signal.

    Metrics have the SDK's own exporter, which logs what it cannot understand, a header's secret too: it is asked first.

    Raises:
        EndpointError: a variable cannot be understood.
    """

    def setting(name: str) -> tuple[str, str]:
        for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
            if value := environ.get(variable, "").strip():
                return variable, value
        return "", ""

    variable, endpoint = setting("ENDPOINT")
    exporter_variable = f"OTEL_{signal.upper()}_EXPORTER"
    exporter = environ.get(exporter_variable, "otlp").strip() or "otlp"
    if not endpoint or exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if exporter != "otlp":
        raise EndpointError(f"{exporter_variable}={exporter!r} is not supported: use otlp or none")
    protocol_variable, protocol = setting("PROTOCOL")
    protocol = protocol or PROTOCOLS[0]
    if protocol not in PROTOCOLS:
        raise EndpointError(f"{protocol_variable}={protocol!r} is not supported: use one of {', '.join(PROTOCOLS)}")
    # gRPC's may be a bare host:port, as the specification has it.
    url = f"http://{endpoint}" if protocol == "grpc" and "://" not in endpoint else endpoint
    parts = _parts(url)
    if parts is None:
        shown = without_password(endpoint)
        raise EndpointError(f"{variable}={shown!r} is not an http or https URL, such as http://localhost:4318")
    insecure = parts.scheme == "http"
    if "://" not in endpoint and protocol == "grpc":
        insecure = setting("INSECURE")[1].lower() == "true"
    if protocol == "grpc":
        url = parts.netloc
    elif variable == "OTEL_EXPORTER_OTLP_ENDPOINT":
        url = url.rstrip("/") + f"/v1/{signal}"
    return Endpoint(
        url=url,
        protocol=protocol,
        headers=_headers(*setting("HEADERS")),
        timeout_s=_seconds(*setting("TIMEOUT")),
        gzip=_gzip(*setting("COMPRESSION")),
        insecure=insecure,
        certificate=_file(*setting("CERTIFICATE")),
        client_certificate=_file(*setting("CLIENT_CERTIFICATE")),
        client_key=_file(*setting("CLIENT_KEY")),
    )


def _parts(url: str) -> SplitResult | None:
    """None of what is no URL of a receiver."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # an address in brackets that is none, or a port that is no number or too large
        return None
    return parts if usable else None


def _headers(variable: str, value: str) -> Mapping[str, str]:
    """OpenTelemetry would log the text of one that cannot be read, which is mostly a secret, and go on without it."""
    for header in value.split(","):
        if header.strip(" \t") and not _HEADER.fullmatch(header.strip()):
            raise EndpointError(f"{variable} is no list such as name=value,other=value with its values URL-encoded")
    return parse_env_headers(value, liberal=True)


def _seconds(variable: str, value: str) -> float:
    try:
        seconds = float(value or 10.0)
    except ValueError:
        raise EndpointError(f"{variable}={value!r} is not a number of seconds") from None
    if not 0 < seconds < math.inf:
        raise EndpointError(f"{variable}={value!r} must be above zero, and a number")
    return seconds


def _file(variable: str, value: str) -> str | None:
    if not value:
        return None
    try:
        with Path(value).open("rb"):
            return value
    except OSError as error:
        raise EndpointError(f"{variable}={value!r} cannot be read: {error.strerror}") from None


def _gzip(variable: str, value: str) -> bool:
    if value.lower() not in {"", "gzip", "none"}:
        raise EndpointError(f"{variable}={value!r} is not supported: use gzip or none")
    return value.lower() != "none"
