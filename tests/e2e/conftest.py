"""Parts that end-to-end tests share: the collector's binary and its legs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.built import BUILT, binary
from support.collector import CollectorProcess
from support.langfuse_sink import LangfuseSink
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink
from voicespan_simulator.process import SimulatorProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("collector"):
            # The first of them may build the collector for two minutes, in a fixture.
            item.add_marker(pytest.mark.timeout(func_only=True))


@pytest.fixture(scope="session")
def collector_binary() -> Path:
    """The collector that scripts/build-collector gives; skips where there is none, unless VOICESPAN_REQUIRE_ALL=1."""
    return binary("build-collector")


@pytest.fixture(scope="session")
def jaeger_binary() -> Path:
    """The Jaeger of scripts/build-jaeger. Only where all tests are required is it built."""
    return binary("build-jaeger", *BUILT)


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    """The Prometheus of scripts/build-prometheus, likewise."""
    return binary("build-prometheus", *BUILT)


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Its tool, likewise."""
    return binary("build-prometheus", *BUILT, "promtool")


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorProcess]:
    """A Gemini that waits for nothing."""
    with SimulatorProcess(pace="fast") as process:
        yield process


@pytest.fixture
def langfuse() -> Iterator[LangfuseSink]:
    with LangfuseSink() as sink:
        yield sink


@pytest.fixture
def jaeger() -> Iterator[OtlpGrpcSink]:
    with OtlpGrpcSink() as sink:
        yield sink


@pytest.fixture
def prometheus() -> Iterator[OtlpHttpSink]:
    with OtlpHttpSink() as sink:
        yield sink


@pytest.fixture
def collector(
    collector_binary: Path, langfuse: LangfuseSink, jaeger: OtlpGrpcSink, prometheus: OtlpHttpSink
) -> Iterator[CollectorProcess]:
    """The real collector with the repository's configuration, a sink behind each leg."""
    with CollectorProcess(collector_binary, langfuse=langfuse, jaeger=jaeger, prometheus=prometheus) as process:
        yield process


@pytest.fixture
def receiver() -> Iterator[OtlpHttpSink]:
    """What a server sends to without a collector between."""
    with OtlpHttpSink() as sink:
        yield sink


@pytest.fixture
def environ(simulator: SimulatorProcess, receiver: OtlpHttpSink) -> dict[str, str]:
    """A server's environment: the simulator answers, and what is told goes to `receiver`."""
    return {
        "VOICESPAN_BACKEND": "simulator",
        "VOICESPAN_SIMULATOR_URL": simulator.base_url,
        "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.base_url,
    }
