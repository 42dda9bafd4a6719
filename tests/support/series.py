"""Series as Prometheus keeps them: which labels may be on them, and which values are of one call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from support.received import ReceivedMetric
from voicespan import conventions as c


@dataclass(frozen=True)
class Series:
    """A name and labels, in Prometheus's spelling."""

    name: str
    labels: frozenset[tuple[str, str]]

    @property
    def text(self) -> str:
        return f"{self.name}{dict(sorted(self.labels))}"


APPLICATION_LABELS = {
    name.replace(".", "_")
    for name in (
        *(name for metric in c.METRICS.values() for name in metric.attributes),
        *(c.PROVIDER_NAME, c.REQUEST_MODEL, c.BACKEND),
    )
}
COLLECTOR_LABELS = {
    *("cause", "data_type", "exporter", "filter", "otel_signal", "processor", "receiver", "transport"),
    *("http_request_method", "http_response_status_code", "http_route", "url_path", "url_scheme"),
    *("rpc_method", "rpc_response_status_code", "rpc_system_name", "network_protocol_name", "network_protocol_version"),
    *("server_address", "server_port", "error_permanent", "error_type", "le"),
}
# Of a process, told once: target_info.
PROCESS_LABELS = {
    *("service_name", "service_namespace", "service_version", "service_instance_id", "deployment_environment_name"),
    *("telemetry_sdk_language", "telemetry_sdk_name", "telemetry_sdk_version"),
}
# A span's number, a trace's or span's id in hex, a UUID.
_OF_ONE_CALL = re.compile(r"(Turn|Connection|Session) \d+|[0-9a-f]{16}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-")


def of_one_call(value: str) -> bool:
    """Whether a label's value looks as if each call, turn or span had its own."""
    return bool(_OF_ONE_CALL.search(value))


def series_of(name: str, labels: Mapping[str, str]) -> Series:
    return Series(name.replace(".", "_"), frozenset((key.replace(".", "_"), value) for key, value in labels.items()))


def of_metrics(metrics: Iterable[ReceivedMetric]) -> set[Series]:
    """Of metrics that came as OTLP; a histogram is one."""
    return {
        series_of(metric.name, {name: str(value) for name, value in point.attributes.items()})
        for metric in metrics
        for point in metric.points
    }


def of_text(exposition: str) -> set[Series]:
    """Of Prometheus's text format; a histogram is one for each bucket, its sum and its count."""
    lines = re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", exposition, re.MULTILINE)
    return {series_of(name, dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels))) for name, labels in lines}


def label_names(found: Iterable[Series]) -> set[str]:
    return {name for each in found for name, _ in each.labels}


def label_values(found: Iterable[Series], *, but: Iterable[str] = ()) -> set[str]:
    """The values of all labels but these."""
    left_out = set(but)
    return {value for each in found for name, value in each.labels if name not in left_out}
