"""The providers of a program that uses Voicespan: what it tells goes to the store, and from there to a collector."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider

from voicespan import conventions as c
from voicespan.sdk.endpoint import Endpoint, EndpointError, endpoint_from_environment
from voicespan.sdk.langfuse_endpoint import langfuse_endpoint
from voicespan.sdk.media import Media
from voicespan.sdk.processors import IdentityLogProcessor, IdentityProcessor, StoreLogProcessor, StoreProcessor
from voicespan.sdk.scores import scores_endpoint
from voicespan.sdk.self_metrics import observe
from voicespan.sdk.sender import Sender
from voicespan.sdk.series_start import SeriesStart
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Bounds, Store
from voicespan.sdk.transport import Transport, transport_for

MEDIA_TIMEOUT_S = 30.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Pipeline:
    """What `configure` built. Where metrics go nowhere, `meter_provider` is one that measures nothing.

    `endpoints` says where each signal is sent; one that is not in it only goes to the store. `media` is None where no
    Langfuse keys are set.
    """

    tracer_provider: TracerProvider
    meter_provider: metrics.MeterProvider
    logger_provider: LoggerProvider
    store: Store
    media: Media | None
    senders: Mapping[Signal, Sender]
    endpoints: Mapping[Signal, Endpoint]
    _ended: bool | None = field(default=None, init=False)

    def shutdown(self, timeout_s: float = 5.0) -> bool:
        """Bring out what waits, within a bound even where the receiver hangs; blocks, so call it in a thread.

        True where everything was accepted; what was not stays in the store for the next start. Once is enough.
        """
        if self._ended is None:
            self._ended = self._shut_down(timeout_s)
        return self._ended

    def _shut_down(self, timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s

        def left_s() -> float:
            return max(0.0, deadline_s - time.monotonic())

        meters = self.meter_provider
        metrics_done = (
            _start(lambda: meters.shutdown(timeout_millis=timeout_s * 1000))
            if isinstance(meters, MeterProvider)
            else None
        )
        if self.media:
            self.media.flush(timeout_s / 4)
        written = self.store.flush(timeout_s / 2)
        for sender in self.senders.values():
            sender.stop_soon()
        sent = [sender.stop(left_s()) for sender in self.senders.values()]
        if metrics_done:
            metrics_done.wait(left_s())
        self.tracer_provider.shutdown()
        self.logger_provider.shutdown()
        self.store.close(1.0)
        return written and all(sent)


def configure(
    store_path: Path | None,
    *,
    service_version: str,
    set_global: bool = True,
    bounds: Bounds | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Pipeline:
    """Build the providers from the standard OTEL_* variables, and make them the program's.

    Without a `store_path` what waits to be sent waits in memory, and is gone with the process.

    Raises:
        EndpointError: an OTEL_EXPORTER_OTLP_* variable, or OTEL_METRIC_EXPORT_INTERVAL, cannot be understood.
    """
    endpoints = _endpoints(environ)
    readers = _metric_readers(environ)
    resource = Resource.create({SERVICE_VERSION: service_version})
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "voicespan"}))
    if SERVICE_INSTANCE_ID not in resource.attributes:
        # SDKs before 1.43 give none, and two processes' counters would be one series in Prometheus that jumps.
        resource = resource.merge(Resource({SERVICE_INSTANCE_ID: str(uuid4())}))
    store = Store(store_path, send=endpoints, bounds=bounds or Bounds())
    senders = {signal: Sender(store, _transport(endpoint, signal), signal) for signal, endpoint in endpoints.items()}
    # No shutdown at exit: uvicorn dies by its signal and skips it, so the program calls `Pipeline.shutdown` itself.
    tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracer_provider.add_span_processor(IdentityProcessor())
    tracer_provider.add_span_processor(StoreProcessor(store))
    logger_provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    logger_provider.add_log_record_processor(IdentityLogProcessor())
    logger_provider.add_log_record_processor(StoreLogProcessor(store))
    # The SDK's would work as hard for nobody.
    meter_provider: metrics.MeterProvider = metrics.NoOpMeterProvider()
    if readers:
        meter_provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    if set_global:
        trace.set_tracer_provider(tracer_provider)
        metrics.set_meter_provider(meter_provider)
        _logs.set_logger_provider(logger_provider)
    observe(meter_provider.get_meter(c.SCOPE), store, senders)
    media = Media(store) if Signal.MEDIA in endpoints else None
    return Pipeline(tracer_provider, meter_provider, logger_provider, store, media, senders, endpoints)


def _transport(endpoint: Endpoint, signal: Signal) -> Transport:
    if signal is not Signal.MEDIA:
        return transport_for(endpoint, signal)
    from voicespan.sdk.media_transport import MediaTransport  # noqa: PLC0415 - see transport.py

    return MediaTransport(endpoint)


def _endpoints(environ: Mapping[str, str]) -> dict[Signal, Endpoint]:
    found = {
        Signal.TRACES: endpoint_from_environment(environ, Signal.TRACES),
        Signal.LOGS: endpoint_from_environment(environ, Signal.LOGS),
        Signal.SCORES: scores_endpoint(environ),
        # A recording may be megabytes, on a slow line.
        Signal.MEDIA: langfuse_endpoint("/api/public/media", environ, timeout_s=MEDIA_TIMEOUT_S),
    }
    return {signal: endpoint for signal, endpoint in found.items() if endpoint}


def _metric_readers(environ: Mapping[str, str]) -> list[MetricReader]:
    """Metrics go by the SDK's own exporter, where the variables that it reads name a receiver."""
    endpoint = endpoint_from_environment(environ, "metrics")
    if endpoint is None:
        return []
    exporter: MetricExporter
    if endpoint.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415 - 130 ms, rarely used
            OTLPMetricExporter as GrpcMetricExporter,
        )

        exporter = GrpcMetricExporter()
    else:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415

        exporter = OTLPMetricExporter()
    try:
        return [PeriodicExportingMetricReader(SeriesStart(exporter))]
    except ValueError:
        raise EndpointError("OTEL_METRIC_EXPORT_INTERVAL must be above zero: it is in milliseconds") from None


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
