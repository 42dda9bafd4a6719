"""The real OpenTelemetry Collector with the repository's own configuration, on free ports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from support.langfuse_sink import LangfuseSink
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink
from support.received import Inbox
from support.running import Running

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = REPOSITORY / "otel-collector.yaml"


class CollectorProcess(Running):
    """Runs between start() and stop() or kill(); a later start() takes the same ports and the same queue on disk.

    A leg whose sink is None goes nowhere. `env` is added last and so can override everything; `overrides` are keys of
    the configuration itself, such as "exporters::debug::verbosity", for what no variable switches. Of several `configs`
    the later ones are laid over the first.
    """

    def __init__(
        self,
        binary: Path,
        *,
        langfuse: LangfuseSink | None = None,
        jaeger: OtlpGrpcSink | None = None,
        prometheus: OtlpHttpSink | None = None,
        loki: OtlpHttpSink | None = None,
        env: Mapping[str, str] | None = None,
        overrides: Mapping[str, str | int] | None = None,
        storage: Path | None = None,
        configs: Sequence[Path] = (CONFIG,),
    ) -> None:
        self._binary = binary
        self._temporary = None if storage else tempfile.TemporaryDirectory(prefix="otelcol-")
        self.storage = storage or Path(self._temporary.name if self._temporary else "")
        self.grpc_port, self.http_port, self.health_port, self.metrics_port = _free_ports(4)
        self._env = {
            "OTELCOL_BIND": "127.0.0.1",
            "OTELCOL_GRPC_PORT": str(self.grpc_port),
            "OTELCOL_HTTP_PORT": str(self.http_port),
            "OTELCOL_HEALTH_PORT": str(self.health_port),
            "OTELCOL_METRICS_PORT": str(self.metrics_port),
            "OTELCOL_STORAGE_DIR": str(self.storage),
            **_langfuse_leg(langfuse),
            **_leg("TRACE_EXPORTERS", "JAEGER_OTLP_ENDPOINT", jaeger.endpoint if jaeger else None),
            **_leg("METRIC_EXPORTERS", "PROMETHEUS_OTLP_ENDPOINT", prometheus.base_url if prometheus else None),
            **_leg("LOG_EXPORTERS", "LOKI_OTLP_ENDPOINT", loki.base_url if loki else None),
            **({"LOG_EXPORTERS": "[otlp_http/loki]"} if loki else {}),  # off by default
            **(env or {}),
        }
        self._configs = [f"--config={path}" for path in configs]
        self._overrides = [f"--config=yaml:{key}: {value}" for key, value in (overrides or {}).items()]
        self._lines: Inbox[str] = Inbox()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def grpc_endpoint(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def http_endpoint(self) -> str:
        """Base of /v1/traces, /v1/metrics and /v1/logs."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def metrics_url(self) -> str:
        """The collector's metrics about itself."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its log, a dict per line, over all starts."""
        return [json.loads(line) for line in self._lines.all() if line.startswith("{")]

    def start(self, timeout_s: float = 30.0) -> None:
        """Returns when the health check answers 200. Raises AssertionError with the log where it does not."""
        seen = len(self._lines.all())
        self._process = subprocess.Popen(
            [self._binary, *self._configs, *self._overrides],
            env=minimal_env(self._env),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        lines = self._lines.wait_for(
            lambda lines: any("Everything is ready" in line or line == _ENDED for line in lines[seen:]), timeout_s
        )
        if _ENDED in lines[seen:]:
            raise AssertionError("the collector ended at its start:\n" + "\n".join(lines[seen:]))
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/", timeout=5) as answer:
            assert answer.status == 200

    def stop(self, timeout_s: float = 30.0) -> None:
        """SIGTERM, and waits: what its queues hold in memory gets one last try."""
        self._end(subprocess.Popen.terminate, timeout_s)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(subprocess.Popen.kill, 10.0)

    def metrics(self) -> str:
        """The text of its own metrics endpoint."""
        with urllib.request.urlopen(self.metrics_url, timeout=5) as answer:
            return str(answer.read().decode())

    def wait_for_log(self, predicate: Callable[[str], bool], timeout_s: float = 15.0) -> None:
        """Waits for a line, from any start."""
        self._lines.wait_for(lambda lines: any(predicate(line) for line in lines), timeout_s)

    def dispose(self) -> None:
        self.stop()
        if self._temporary:
            self._temporary.cleanup()
        # pytest shows this under a test that failed, and hides it otherwise.
        told = [f"  {line['level']}: {line['msg']} {line.get('error', '')}" for line in self.log]
        print("\n".join(["collector's log:", *told]), file=sys.stderr)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self._lines.add([line.rstrip("\n")])
        self._lines.add([_ENDED])

    def _end(self, signal: Callable[[subprocess.Popen[str]], None], timeout_s: float) -> None:
        if self._process is None or self._reader is None:
            return
        if self._process.poll() is None:
            signal(self._process)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._reader.join()
            self._process = None


_ENDED = "(the process ended)"


def minimal_env(env: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the developer's own OTEL_* and LANGFUSE_* reaches a test."""
    return {"PATH": os.environ["PATH"], **env}


def validate(binary: Path, env: Mapping[str, str], *configs: Path) -> subprocess.CompletedProcess[str]:
    """`otelcol validate` of the repository's configuration, or of others, under these variables."""
    return subprocess.run(
        [binary, "validate", *(f"--config={path}" for path in configs or (CONFIG,))],
        env=minimal_env(env),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def _langfuse_leg(sink: LangfuseSink | None) -> dict[str, str]:
    if sink is None:
        return {"GENAI_EXPORTERS": "[nop]"}
    return {
        "LANGFUSE_BASE_URL": sink.base_url,
        "LANGFUSE_PUBLIC_KEY": sink.public_key,
        "LANGFUSE_SECRET_KEY": sink.secret_key,
    }


def _leg(exporters: str, endpoint: str, address: str | None) -> dict[str, str]:
    return {exporters: "[nop]"} if address is None else {endpoint: address}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
