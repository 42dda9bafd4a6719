"""A simulator that the tests of the server share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.call_bench import Simulated
from voicespan_simulator.process import SimulatorProcess


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    deeds: Path = tmp_path_factory.mktemp("simulator") / "deeds.jsonl"
    with SimulatorProcess(pace="fast", deeds=deeds) as process:
        yield Simulated(process, deeds)
