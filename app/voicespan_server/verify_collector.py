"""The repository's own collector, run for one call: built once, on free ports, with only its Langfuse leg on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


class CollectorError(Exception):
    """No collector can be run here; one line that says why and what to do."""


@dataclass(frozen=True, slots=True)
class LocalCollector:
    """A running collector: where it takes OTLP over HTTP, and its log."""

    endpoint: str
    log: Path

    def refusals(self) -> list[str]:
        """What Langfuse would not take, in the collector's words."""
        found = []
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            if "otlp_http/langfuse" in line and '"level":"info"' not in line:
                told = json.loads(line)
                found.append(f"{told.get('msg', '')} {told.get('error', '')}".strip())
        return found


@contextmanager
def local_collector(langfuse: Mapping[str, str], folder: Path) -> Iterator[LocalCollector]:
    """Run the collector with these LANGFUSE_* variables; its queue and log are in `folder`.

    Raises:
        CollectorError: it cannot be built, or does not start.
    """
    root = repository()
    binary = _build(root / "scripts" / "build-collector")
    grpc_port, http_port, health_port, metrics_port = _free_ports(4)
    environ = {
        **os.environ,
        **langfuse,
        "OTELCOL_BIND": "127.0.0.1",
        "OTELCOL_GRPC_PORT": str(grpc_port),
        "OTELCOL_HTTP_PORT": str(http_port),
        "OTELCOL_HEALTH_PORT": str(health_port),
        "OTELCOL_METRICS_PORT": str(metrics_port),
        "OTELCOL_STORAGE_DIR": str(folder / "queue"),
        "GENAI_EXPORTERS": "[otlp_http/langfuse]",
        "TRACE_EXPORTERS": "[nop]",
        "METRIC_EXPORTERS": "[nop]",
        "LOG_EXPORTERS": "[nop]",
    }
    log = folder / "collector.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [binary, "--config", root / "otel-collector.yaml"], env=environ, stdout=output, stderr=output
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{health_port}/", log)
        yield LocalCollector(f"http://127.0.0.1:{http_port}", log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def repository() -> Path:
    """The checkout that this module is part of.

    Raises:
        CollectorError: it is installed without one.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "otel-collector.yaml").exists():
        raise CollectorError(
            "the collector is built from a checkout of the repository: run `make verify-live` in one, "
            "or say by --otlp-endpoint where a collector runs"
        )
    return root


def _build(script: Path) -> Path:
    # Its progress goes to our stderr: the first time it takes about two minutes.
    done = subprocess.run(
        [script], env={"PYTHON": sys.executable, **os.environ}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise CollectorError("scripts/build-collector has no collector: say by --otlp-endpoint where one runs")
    return Path(done.stdout.strip())


def _wait_until_ready(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            told = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise CollectorError(f"the collector did not start: {told[-1] if told else 'it said nothing'}")
        try:
            with urllib.request.urlopen(health, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    """All are held until all are known, so that no two are the same."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
