"""The server under test, with its witness."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from support.server import ServerProcess
from voicespan_simulator.process import SimulatorProcess

TESTS = Path(__file__).resolve().parents[1]


class TruthfulServer(ServerProcess):
    """`voicespan serve` that notes in `truth` what ended, and in `lateness` how late its event loop was."""

    module = "chaos.truthful"

    def __init__(self, simulator: SimulatorProcess, otlp_url: str, more: Mapping[str, str], *arguments: str) -> None:
        super().__init__(
            {
                "PYTHONPATH": str(TESTS),
                "VOICESPAN_BACKEND": "simulator",
                "VOICESPAN_SIMULATOR_URL": simulator.base_url,
                "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
                "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_url,
                "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
                "OTEL_METRICS_EXPORTER": "none",
                **more,
            },
            *arguments,
        )
        self.truth = self.folder / "truth.txt"
        self.lateness = self.folder / "lateness.txt"
        self.env |= {"VOICESPAN_TRUTH": str(self.truth), "VOICESPAN_LATENESS": str(self.lateness)}
