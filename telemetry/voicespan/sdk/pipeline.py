"""The providers of a program that uses Voicespan: spans go to the store and from there to a collector."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from voicespan import identity as ident
from voicespan.guard import guarded
from voicespan.sdk.endpoint import Endpoint, endpoint_from_environment
from voicespan.sdk.sender import Sender, transport_for
from voicespan.sdk.store import Store

logger = logging.getLogger(__name__)


class IdentityProcessor(SpanProcessor):
    """Stamps a session's identity on every span that is started inside it, also on the program's own."""

    @guarded(default=None)
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Identity comes from the context, never from baggage: the client could write that."""
        identity = ident.of_context(parent_context)
        if identity:
            present = span.attributes or {}
            span.set_attributes({k: v for k, v in identity.attributes().items() if k not in present})


class StoreProcessor(SpanProcessor):
    """Hands ended, sampled spans to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @guarded(default=None)
    def on_end(self, span: ReadableSpan) -> None:
        """Appends to a queue; encoding and writing happen in the store's thread."""
        if span.context and span.context.trace_flags.sampled:
            self._store.append(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until what has ended is in the store."""
        return self._store.flush(timeout_millis / 1000)


@dataclass(slots=True)
class Pipeline:
    """What `configure` built. `endpoint` is where spans are sent; None where they only go to the store."""

    tracer_provider: TracerProvider
    meter_provider: MeterProvider
    store: Store
    sender: Sender | None
    endpoint: Endpoint | None

    def shutdown(self, timeout_s: float = 5.0) -> bool:
        """Bring out what waits, within a bound even where the receiver hangs; blocks, so call it in a thread.

        True where everything was accepted; what was not stays in the store for the next start.
        """
        written = self.store.flush(timeout_s / 2)
        metrics_done = _start(lambda: self.meter_provider.shutdown(timeout_millis=timeout_s * 1000))
        sent = self.sender.stop(timeout_s) if self.sender else True
        metrics_done.wait(timeout_s)
        self.tracer_provider.shutdown()
        self.store.close(1.0)
        return written and sent


def configure(
    store_path: Path | None,
    *,
    service_version: str,
    set_global: bool = True,
    environ: Mapping[str, str] = os.environ,
) -> Pipeline:
    """Build the providers from the standard OTEL_* variables, and make them the program's.

    Raises:
        EndpointError: an OTEL_EXPORTER_OTLP_* variable cannot be understood.
    """
    endpoint = endpoint_from_environment(environ)
    resource = Resource.create({SERVICE_VERSION: service_version})
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "voicespan"}))
    store = Store(store_path, queue_for_sending=endpoint is not None)
    sender = Sender(store, transport_for(endpoint)) if endpoint else None
    # No shutdown at exit: uvicorn dies by its signal and skips it, so the program calls `Pipeline.shutdown` itself.
    tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracer_provider.add_span_processor(IdentityProcessor())
    tracer_provider.add_span_processor(StoreProcessor(store))
    meter_provider = MeterProvider(_metric_readers(environ), resource=resource, shutdown_on_exit=False)
    if set_global:
        trace.set_tracer_provider(tracer_provider)
        metrics.set_meter_provider(meter_provider)
    return Pipeline(tracer_provider, meter_provider, store, sender, endpoint)


def _metric_readers(environ: Mapping[str, str]) -> list[MetricReader]:
    """Metrics go by the SDK's own exporter, where the variables that it reads name a receiver."""

    def setting(name: str) -> str:
        return environ.get(f"OTEL_EXPORTER_OTLP_METRICS_{name}") or environ.get(f"OTEL_EXPORTER_OTLP_{name}") or ""

    exporter = environ.get("OTEL_METRICS_EXPORTER") or "otlp"
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if exporter == "none" or disabled or not setting("ENDPOINT"):
        return []
    if setting("PROTOCOL") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415 - 130 ms, rarely used
            OTLPMetricExporter as GrpcMetricExporter,
        )

        return [PeriodicExportingMetricReader(GrpcMetricExporter())]
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415

    return [PeriodicExportingMetricReader(OTLPMetricExporter())]


def _start(function: Callable[[], object]) -> threading.Event:
    done = threading.Event()

    def run() -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 - the SDK raises when told to shut down while its receiver hangs
            logger.warning("metrics could not be flushed: %s", error)
        finally:
            done.set()

    threading.Thread(target=run, name="voicespan-metrics-shutdown", daemon=True).start()
    return done
