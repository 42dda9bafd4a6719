"""What Prometheus has to keep: series that do not grow with calls, labels from a closed list, and nobody's id."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.caller import PACE, ask
from support.collector import CollectorProcess
from support.langfuse_sink import LangfuseSink
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink
from support.received import ReceivedMetric
from support.series import (
    APPLICATION_LABELS,
    COLLECTOR_LABELS,
    PROCESS_LABELS,
    Series,
    label_names,
    label_values,
    of_metrics,
    of_one_call,
    of_text,
)
from support.server import ServerProcess
from voicespan_server import client
from voicespan_simulator.process import SimulatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.collector]

FEW, MANY, AT_ONCE = 5, 25, 5
# Of a server with one model and two tools, and of a collector with three legs, whose histograms count by the bucket.
SERVER_LIMIT, COLLECTOR_LIMIT = 60, 1000


@dataclass(frozen=True)
class Seen:
    """The series after a few calls and after many, and what is the calls' own: ids, and span names with a number."""

    server: tuple[set[Series], set[Series]]
    collector: tuple[set[Series], set[Series]]
    of_calls: set[str]


@pytest.fixture(scope="module")
def seen(collector_binary: Path, simulator: SimulatorProcess) -> Seen:
    with (
        LangfuseSink() as langfuse,
        OtlpGrpcSink() as jaeger,
        OtlpHttpSink() as prometheus,
        CollectorProcess(collector_binary, langfuse=langfuse, jaeger=jaeger, prometheus=prometheus) as collector,
    ):
        environ = {
            "VOICESPAN_BACKEND": "simulator",
            "VOICESPAN_SIMULATOR_URL": simulator.base_url,
            "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }
        after: list[tuple[set[Series], set[Series]]] = []
        with ServerProcess(environ) as server:
            for numbers in (range(FEW), range(FEW, MANY)):
                asyncio.run(place_calls(server, numbers))
                told = prometheus.metrics.wait_for(lambda found, calls=numbers.stop: all_is_told(found, calls))
                after.append((of_metrics(told), of_text(collector.metrics())))
        spans = jaeger.spans.wait_for(lambda found: sum(span.name == "WebSocket Session" for span in found) == MANY)
    of_calls = {str(span.attributes[name]) for span in spans for name in ("session.id", "user.id")}
    of_calls |= {one for span in spans for one in (span.trace_id, span.span_id)}
    of_calls |= {span.name for span in spans if re.search(r"\d", span.name)}
    (server_few, collector_few), (server_many, collector_many) = after
    return Seen((server_few, server_many), (collector_few, collector_many), of_calls)


async def place_calls(server: ServerProcess, numbers: range) -> None:
    """Calls of two turns, each somebody else's, and closed with a code of its own."""

    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with gate, client.call(server.voice_url, pace=PACE, user_id=f"caller-{number}") as caller:
            await ask(caller)
            await ask(caller)
            await caller.socket.close(4100 + number)

    await asyncio.gather(*(one(number) for number in numbers))


def all_is_told(metrics: list[ReceivedMetric], calls: int) -> bool:
    """Also the loop's lag, which is first read half a second after the start: a few calls may be over by then."""
    return ended_calls(metrics) == calls and any(metric.name == "voicespan.event_loop.lag" for metric in metrics)


def ended_calls(metrics: list[ReceivedMetric]) -> int:
    latest = [metric for metric in metrics if metric.name == "voicespan.session.duration"][-1:]
    return sum(point.count for metric in latest for point in metric.points)


def test_series_do_not_grow_with_calls(seen: Seen) -> None:
    for few, many in (seen.server, seen.collector):
        assert sorted(each.text for each in many - few) == []
    assert 40 < len(seen.server[1]) <= SERVER_LIMIT
    assert 400 < len(seen.collector[1]) <= COLLECTOR_LIMIT


def test_labels_are_from_a_closed_list(seen: Seen) -> None:
    assert label_names(seen.server[1]) - APPLICATION_LABELS == set()
    assert label_names(seen.collector[1]) - COLLECTOR_LABELS - PROCESS_LABELS == set()


def test_no_label_is_of_one_call(seen: Seen) -> None:
    assert {"Turn 1", "Turn 2", "Live Connection 1", "caller-17"} <= seen.of_calls
    values = label_values(seen.server[1] | seen.collector[1], but=PROCESS_LABELS)
    assert {"completed", "gemini-3.8-live", "otlp_http/langfuse"} <= values
    assert [value for value in values if of_one_call(value)] == []
    assert [value for value in values if any(own in value for own in seen.of_calls)] == []


@pytest.mark.parametrize("value", ["Turn 17", "Live Connection 3", "5f0c1111-1111-1111-1111-111111111111", "ab" * 16])
def test_what_is_of_one_call_is_seen(value: str) -> None:
    assert of_one_call(value)
