"""The whole pipeline: a real collector, Jaeger and Prometheus, and strict stand-ins for Langfuse and Loki."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from support.backends import JaegerProcess, PrometheusProcess
from support.collector import CollectorProcess
from support.langfuse_sink import LangfuseSink
from support.otlp_sink import OtlpHttpSink


@dataclass(frozen=True)
class Binaries:
    """What scripts/build-collector, build-jaeger and build-prometheus give."""

    collector: Path
    jaeger: Path
    prometheus: Path


class Stack:
    """Runs inside a `with`. `faster` divides the durations in the alerts' rules."""

    def __init__(self, binaries: Binaries, *, faster: int = 1) -> None:
        self._binaries = binaries
        self.langfuse = LangfuseSink()
        self.loki = OtlpHttpSink()
        self.jaeger = JaegerProcess(binaries.jaeger)
        self.prometheus = PrometheusProcess(binaries.prometheus, faster=faster)
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            starting.enter_context(self.langfuse)
            starting.enter_context(self.loki)  # the stand-ins have an address once they run
            starting.enter_context(self.jaeger)
            self.collector = CollectorProcess(
                self._binaries.collector,
                langfuse=self.langfuse,
                loki=self.loki,
                env={
                    "TRACE_EXPORTERS": "[otlp_grpc/jaeger]",
                    "JAEGER_OTLP_ENDPOINT": self.jaeger.endpoint,
                    "METRIC_EXPORTERS": "[otlp_http/prometheus]",
                    "PROMETHEUS_OTLP_ENDPOINT": self.prometheus.base_url,
                },
            )
            self.prometheus.scrapes(self.collector.metrics_port)
            starting.enter_context(self.prometheus)
            starting.enter_context(self.collector)
            self._running = starting.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.__exit__(exc_type, exc, traceback)
