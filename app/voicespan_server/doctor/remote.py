"""What a server talks to, asked by real requests: the model's service, the collector, Langfuse."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from urllib.parse import urlsplit

import httpx2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from voicespan.extras import install_command
from voicespan.sdk.endpoint import EndpointError, endpoint_from_environment
from voicespan.sdk.langfuse_endpoint import langfuse_endpoint
from voicespan.sdk.transport import Accepted, transport_for
from voicespan_server.doctor.check import Check, fail, ok, warn
from voicespan_server.settings import Settings

TIMEOUT_S = 5.0
GEMINI = "https://generativelanguage.googleapis.com"
SPAN_NAME = "voicespan doctor"


def gemini_address(environ: Mapping[str, str]) -> str:
    """Where google-genai finds the Developer API."""
    return environ.get("GOOGLE_GEMINI_BASE_URL", "").rstrip("/") or GEMINI


def model(settings: Settings, environ: Mapping[str, str]) -> Check:
    """Whether the model can be had with these credentials."""
    match settings.chosen_backend:
        case "gemini":
            return _gemini(settings, gemini_address(environ))
        case "vertex":
            return _vertex(settings)
        case _:
            return _simulator(settings)


def _gemini(settings: Settings, address: str) -> Check:
    key = settings.gemini_api_key.get_secret_value() if settings.gemini_api_key else ""
    url = f"{address}/{settings.api_version or 'v1beta'}/models/{settings.model.removeprefix('models/')}"
    try:
        answer = httpx2.get(url, headers={"x-goog-api-key": key}, timeout=TIMEOUT_S)
    except httpx2.HTTPError as error:
        return fail("model", f"{address} cannot be reached: {_told(error)}", "is there a way out, or a proxy to name?")
    match answer.status_code:
        case 200:
            methods = _methods(answer)
            if methods and "bidiGenerateContent" not in methods:
                return fail(
                    "model", f"{settings.model} does not speak the Live API", "set VOICESPAN_MODEL to one that does"
                )
            return ok("model", f"{settings.model} at {address} takes the key")
        case 400 | 401 | 403:
            return fail(
                "model",
                f"{address} does not take GEMINI_API_KEY (HTTP {answer.status_code})",
                "make a key at https://aistudio.google.com/apikey, or lift its restrictions",
            )
        case 404:
            return fail(
                "model", f"{address} has no model {settings.model} for this key", "set VOICESPAN_MODEL to one it lists"
            )
        case 429:
            return warn("model", "the key is taken, and its quota is used up (HTTP 429)", "wait, or raise the quota")
        case status:
            return fail("model", f"{address} answers HTTP {status}", "try again; the service may be down")


def _methods(answer: httpx2.Response) -> list[str]:
    try:
        return [str(method) for method in answer.json().get("supportedGenerationMethods", [])]
    except (ValueError, AttributeError, TypeError):
        return []


def _vertex(settings: Settings) -> Check:
    if settings.gemini_api_key and not settings.google_cloud_project:
        return warn("model", "Vertex in express mode: the key was not tried", "place a call to try it: voicespan call")
    import google.auth  # noqa: PLC0415 - for who uses Vertex only
    import google.auth.transport.requests  # noqa: PLC0415
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415

    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        credentials.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call]
    except GoogleAuthError as error:
        return fail(
            "model",
            f"no token for Vertex: {str(error).splitlines()[0]}",
            "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
        )
    return ok("model", f"a token for {settings.google_cloud_project} in {settings.google_cloud_location}")


def _simulator(settings: Settings) -> Check:
    hint = "" if settings.backend == "simulator" else ": set GEMINI_API_KEY for the real one"
    if not settings.simulator_url:
        if find_spec("trustme") is None:
            return fail(
                "model", "a simulator would answer, and is not installed", f"{install_command('simulator')}{hint}"
            )
        return ok("model", f"a simulator answers, which the server starts itself{hint}")
    parts = urlsplit(settings.simulator_url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), TIMEOUT_S):
            return ok("model", f"a simulator answers at {settings.simulator_url}")
    except OSError as error:
        return fail(
            "model",
            f"no simulator at {settings.simulator_url}: {error.strerror or error}",
            "start it, or unset VOICESPAN_SIMULATOR_URL: the server starts one itself",
        )


def collector(environ: Mapping[str, str]) -> Check:
    """Whether the receiver of spans takes one, by the transport that the server uses."""
    try:
        endpoint = endpoint_from_environment(environ)
        if endpoint is None:
            return _nowhere(environ)
        transport = transport_for(replace(endpoint, timeout_s=min(endpoint.timeout_s, TIMEOUT_S)))
    except EndpointError as error:
        return fail("collector", str(error), "set it right: docs/settings.md")
    except OSError as error:
        return fail("collector", f"a certificate cannot be read: {error}", "see OTEL_EXPORTER_OTLP_CERTIFICATE")
    where = f"{endpoint.url} ({endpoint.protocol})"
    try:
        answer = transport.post(_one_span())
    finally:
        transport.close()
    if not isinstance(answer, Accepted):
        return fail(
            "collector",
            f"{where}: {_cause(answer.reason)}",
            "start it, or set OTEL_EXPORTER_OTLP_ENDPOINT, _PROTOCOL and _HEADERS right; spans wait meanwhile",
        )
    if answer.rejected:
        return fail("collector", f"{where} refused a span: {answer.message}", "see the collector's log")
    return ok("collector", f'{where} took a span, "{SPAN_NAME}"')


def _nowhere(environ: Mapping[str, str]) -> Check:
    if environ.get("LANGFUSE_PUBLIC_KEY"):
        return warn(
            "collector",
            "nothing is sent, and spans reach Langfuse through a collector alone",
            "set OTEL_EXPORTER_OTLP_ENDPOINT; docker-compose.yml has one",
        )
    return ok("collector", "nothing is sent: OTEL_EXPORTER_OTLP_ENDPOINT is unset")


def _one_span() -> bytes:
    now_ns = time.time_ns()
    span = Span(
        trace_id=os.urandom(16),
        span_id=os.urandom(8),
        name=SPAN_NAME,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=now_ns,
        end_time_unix_nano=now_ns,
    )
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])]
    ).SerializeToString()


def langfuse(settings: Settings, environ: Mapping[str, str]) -> Check:
    """Whether Langfuse takes the keys."""
    endpoint = langfuse_endpoint("/api/public/projects", environ)
    if endpoint is None:
        return ok("langfuse", "not used: LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are unset")
    where = settings.langfuse_base_url
    try:
        answer = httpx2.get(endpoint.url, headers=dict(endpoint.headers), timeout=TIMEOUT_S)
        if answer.status_code in {401, 403}:
            return fail(
                "langfuse",
                f"{where} does not take the keys (HTTP {answer.status_code})",
                "take both from the project's settings, and LANGFUSE_BASE_URL of the region they are of",
            )
        project = answer.raise_for_status().json()["data"][0]["name"]
    except httpx2.HTTPError as error:
        return fail("langfuse", f"{where}: {_told(error)}", "is LANGFUSE_BASE_URL right, and is Langfuse up?")
    except (ValueError, LookupError, TypeError):
        return fail("langfuse", f"{where} is no Langfuse", "set LANGFUSE_BASE_URL right")
    return ok("langfuse", f"{where} takes the keys of project {project}")


def _cause(reason: str) -> str:
    """Of a failure that names all that it went through, the innermost."""
    found = re.search(r"\[Errno -?\d+\] [^\"\')]+", reason)
    return found[0] if found else reason[:300]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
