"""The processes of a run: the load on one core, a relay alone on another, and what the kernel says of it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

RELAY_CORE, LOAD_CORE = 0, 1
START_S, SAID = 60.0, 2_000
HERE = "benchmarks.relay"


class BenchError(Exception):
    """A run that came to nothing."""


class LoadProcess:
    """`benchmarks.relay.load`: the service it offers, and one command at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", f"{HERE}.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        serving = self.answer()
        self.service, self.ca_file = serving["url"], serving["ca_file"]

    def tell(self, **command: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("the load ended: see what it printed")
        found: dict[str, Any] = json.loads(line)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait(20)


@dataclass(frozen=True)
class Kind:
    """A relay that is measured: what it is called, and how it is started with a port at its command's end."""

    key: str
    name: str
    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    receiver: bool = False


_OPEN = (
    ("VOICESPAN_BACKEND", "simulator"),
    ("VOICESPAN_MAX_SESSIONS", "0"),
    ("VOICESPAN_MAX_SESSIONS_PER_ADDRESS", "0"),
    ("VOICESPAN_NEW_SESSIONS_PER_MINUTE_PER_ADDRESS", "0"),
)
VOICESPAN = Kind(
    "full_telemetry",
    "Voicespan, full telemetry",
    ("voicespan_server.cli", "serve", "--port"),
    (*_OPEN, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")),
    receiver=True,
)
UNTOLD = Kind(
    "no_telemetry",
    "Voicespan, no telemetry",
    (f"{HERE}.untold", "serve", "--port"),
    (*_OPEN, ("OTEL_SDK_DISABLED", "true"), ("VOICESPAN_STORE", "off")),
)
SDK = Kind("google_sdk", "FastAPI and google-genai", (f"{HERE}.sdk_relay",))
RAW = Kind("websockets", "websockets, uvloop", (f"{HERE}.websockets_relay",))
ASYNCIO = Kind("asyncio", "websockets, asyncio", (f"{HERE}.websockets_relay",), (("RELAY_LOOP", "asyncio"),))
PICOWS = Kind("picows", "picows (the floor)", (f"{HERE}.picows_relay",))
KINDS = (VOICESPAN, UNTOLD, SDK, RAW, ASYNCIO, PICOWS)


class Relay:
    """A running relay."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.url = ("127.0.0.1", port)

    def cpu_s(self) -> float:
        """Of all threads, from the scheduler's own count."""
        found = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            found += int((task / "schedstat").read_text().split()[0])
        return found / 1e9

    def pss_kib(self) -> int:
        """Its share of memory."""
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        assert found
        return int(found[1])


@contextmanager
def relay(kind: Kind, load: LoadProcess) -> Iterator[Relay]:
    """One, from when it answers until the end of the context."""
    with tempfile.TemporaryDirectory(prefix="voicespan-bench-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        env = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "RELAY_SERVICE": load.service,
            "RELAY_CA_FILE": load.ca_file,
            "VOICESPAN_SIMULATOR_URL": load.service,
            "VOICESPAN_SIMULATOR_CA_FILE": load.ca_file,
            "VOICESPAN_STORE_PATH": f"{folder}/traces.db",
            **dict(kind.env),
        }
        with _receiver() as endpoint, (Path(folder) / "log").open("w+") as log:
            if kind.receiver:
                env["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
            command = ["taskset", "-c", str(RELAY_CORE), sys.executable, "-m", *kind.command, str(port)]
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=Path.cwd())
            try:
                _wait_for(process, port, log)
                yield Relay(process.pid, port)
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                log.seek(0)
                if said := log.read().strip():
                    print(f"  {kind.name} said: {said[-SAID:]}", file=sys.stderr)


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Any) -> None:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        if process.poll() is not None:
            log.seek(0)
            raise BenchError(f"the relay did not start: {log.read()}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        except ValueError:
            return
        else:
            return
    raise BenchError("the relay did not answer in time")


@contextmanager
def _receiver() -> Iterator[str]:
    """An OTLP receiver, beside the load, which it does not hold up: elsewhere it is another machine's."""
    command = [
        "taskset",
        "-c",
        str(LOAD_CORE),
        "nice",
        "-n",
        "19",
        sys.executable,
        "-m",
        "benchmarks.telemetry.receiver",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()
