"""A real Jaeger and a real Prometheus, with the repository's own configuration, on free ports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from support.collector import REPOSITORY
from support.running import Running
from support.server import free_port

T = TypeVar("T")
PROMETHEUS = REPOSITORY / "deploy/prometheus"


class BackendProcess(Running):
    """A program that serves HTTP; runs between start() and stop()."""

    def __init__(self, name: str, port: int, ready_path: str) -> None:
        self._name = name
        self._temporary = tempfile.TemporaryDirectory(prefix=f"{name}-")
        self.folder = Path(self._temporary.name)
        self.url = f"http://127.0.0.1:{port}"
        self._ready_path = ready_path
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> Sequence[str | Path]:
        """What is run."""
        raise NotImplementedError

    @property
    def environment(self) -> Mapping[str, str]:
        """What it is told beside PATH."""
        return {}

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self, timeout_s: float = 60.0) -> None:
        """Returns when it says that it is ready."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command, env={"PATH": os.environ["PATH"], **self.environment}, stdout=log, stderr=log
            )
        process, deadline = self._process, time.monotonic() + timeout_s
        while not self._is_ready():
            assert process.poll() is None, f"{self._name} ended at its start:\n{self.log}"
            assert time.monotonic() < deadline, f"{self._name} was not ready in {timeout_s:g} s:\n{self.log}"
            time.sleep(0.05)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def get(self, path: str, **parameters: str | float) -> Any:
        """The JSON behind a path."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=30) as answer:
            return json.load(answer)

    def dispose(self) -> None:
        self.stop()
        print(f"{self._name}'s log:\n{self.log[-4000:]}", file=sys.stderr)  # pytest shows it under a test that failed
        self._temporary.cleanup()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + self._ready_path, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


@dataclass(frozen=True)
class JaegerSpan:
    """A span as Jaeger's API gives it back; times in microseconds."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_us: int
    duration_us: int
    tags: dict[str, Any]
    logs: tuple[str, ...]
    references: tuple[tuple[str, str, str], ...]
    warnings: tuple[str, ...]


class JaegerProcess(BackendProcess):
    """Jaeger with deploy/jaeger/jaeger.yaml: traces in memory."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary
        self._query_port, self._otlp_port = free_port(), free_port()
        super().__init__("jaeger", self._query_port, "/api/services")

    @property
    def endpoint(self) -> str:
        """Of OTLP over gRPC."""
        return f"127.0.0.1:{self._otlp_port}"

    @property
    def command(self) -> Sequence[str | Path]:
        return [self._binary, "--config", REPOSITORY / "deploy/jaeger/jaeger.yaml"]

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "JAEGER_LISTEN_HOST": "127.0.0.1",
            "JAEGER_OTLP_PORT": str(self._otlp_port),
            "JAEGER_QUERY_PORT": str(self._query_port),
            "JAEGER_QUERY_GRPC_PORT": str(free_port()),
            "JAEGER_HEALTH_PORT": str(free_port()),
        }

    def trace(self, trace_id: str) -> list[JaegerSpan]:
        """The spans of a trace, oldest first; none where it is not known."""
        try:
            [trace] = self.get(f"/api/traces/{trace_id}")["data"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise
        return sorted((_jaeger_span(span) for span in trace["spans"]), key=lambda span: span.start_us)

    def traces(self, service: str, **parameters: str | float) -> list[list[JaegerSpan]]:
        """The traces that a search finds; `operation`, `tags` (JSON), `limit` and so on are Jaeger's."""
        found = self.get("/api/traces", service=service, **parameters)["data"]
        return [[_jaeger_span(span) for span in trace["spans"]] for trace in found]

    def wait_for_trace(
        self, trace_id: str, predicate: Callable[[list[JaegerSpan]], bool], timeout_s: float = 30.0
    ) -> list[JaegerSpan]:
        """The spans of a trace, once they are as wanted."""
        return wait_for(lambda: self.trace(trace_id), predicate, timeout_s)


def _jaeger_span(span: dict[str, Any]) -> JaegerSpan:
    references = tuple((r["refType"], r["traceID"], r["spanID"]) for r in span["references"])
    parents = [span_id for kind, trace_id, span_id in references if kind == "CHILD_OF" and trace_id == span["traceID"]]
    names = tuple(
        next((field["value"] for field in log["fields"] if field["key"] == "event"), "") for log in span["logs"]
    )
    return JaegerSpan(
        trace_id=span["traceID"],
        span_id=span["spanID"],
        parent_id=parents[0] if parents else "",
        name=span["operationName"],
        start_us=span["startTime"],
        duration_us=span["duration"],
        tags={tag["key"]: tag["value"] for tag in span["tags"]},
        logs=names,
        references=references,
        warnings=tuple(span["warnings"] or ()),
    )


def render_jaeger(spans: Sequence[JaegerSpan]) -> str:
    """Names, children indented under their parents, oldest first."""

    def lines(parent_id: str, depth: int) -> list[str]:
        children = sorted((s for s in spans if s.parent_id == parent_id), key=lambda s: s.start_us)
        return [line for s in children for line in ("  " * depth + s.name, *lines(s.span_id, depth + 1))]

    return "\n".join(lines("", 0))


@dataclass(frozen=True)
class Sample:
    """A series' labels, without its name, and its value at one moment."""

    labels: dict[str, str]
    value: float


class PrometheusProcess(BackendProcess):
    """Prometheus with deploy/prometheus/prometheus.yml.

    Scrapes and evaluates each second. `faster` divides every duration in the rules: their windows, and how long a
    condition has to hold. Its feature flags are those that docker-compose.yml gives.
    """

    def __init__(self, binary: Path, *, faster: int = 1) -> None:
        self._binary, self._faster = binary, faster
        self._collector_port = 0
        self._port = free_port()
        super().__init__("prometheus", self._port, "/-/ready")

    def scrapes(self, port: int) -> None:
        """Before its start: where the collector tells of itself."""
        self._collector_port = port

    @property
    def base_url(self) -> str:
        """What PROMETHEUS_OTLP_ENDPOINT is set to."""
        return f"{self.url}/api/v1/otlp"

    @property
    def command(self) -> Sequence[str | Path]:
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(self.folder / Path(path).name) for path in config["rule_files"]]
        for path in config["rule_files"]:
            rules = (PROMETHEUS / Path(path).name).read_text()
            Path(path).write_text(shorten(rules, self._faster))
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{self._collector_port}"]
        file = self.folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
        features = [flag for flag in compose["services"]["prometheus"]["command"] if "enable" in flag]
        return [
            self._binary,
            *features,
            f"--config.file={file}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        """The samples of an instant vector, now or at a time in seconds since the epoch."""
        parameters: dict[str, str | float] = {"query": expression, **({"time": at} if at is not None else {})}
        result = self.get("/api/v1/query", **parameters)["data"]["result"]
        return [
            Sample({k: v for k, v in each["metric"].items() if k != "__name__"}, float(each["value"][1]))
            for each in result
        ]

    def wait_for(
        self, expression: str, predicate: Callable[[list[Sample]], bool] = bool, timeout_s: float = 60.0
    ) -> list[Sample]:
        """The samples, once they are as wanted."""
        return wait_for(lambda: self.query(expression), predicate, timeout_s)

    def exemplars(self, expression: str, since_s: float = 3600.0) -> list[dict[str, str]]:
        """The labels of the exemplars of the series that an expression selects."""
        now = time.time()
        found = self.get("/api/v1/query_exemplars", query=expression, start=now - since_s, end=now + 60)["data"]
        return [exemplar["labels"] for series in found for exemplar in series["exemplars"]]

    def firing(self) -> set[tuple[str, str]]:
        """The alerts that fire, each with the job it fires for."""
        return {
            (alert["labels"]["alertname"], alert["labels"].get("job", ""))
            for alert in self.get("/api/v1/alerts")["data"]["alerts"]
            if alert["state"] == "firing"
        }


_DURATION = re.compile(r"(\[|for: |offset )(\d+)([smhd])\b")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def shorten(rules: str, faster: int) -> str:
    """Rules whose windows (`[10m]`) and patience (`for: 2m`) are so many times shorter, but a second at least."""
    if faster == 1:
        return rules
    return _DURATION.sub(lambda found: f"{found[1]}{max(1, int(found[2]) * _SECONDS[found[3]] // faster)}s", rules)


def wait_for(read: Callable[[], T], predicate: Callable[[T], bool], timeout_s: float) -> T:
    """What is read, once it is as wanted; asks again every 100 ms, as these programs have nobody to tell."""
    deadline = time.monotonic() + timeout_s
    while not predicate(found := read()):
        assert time.monotonic() < deadline, f"still so after {timeout_s:g} s: {found}"
        time.sleep(0.1)
    return found
