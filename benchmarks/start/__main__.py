"""`make bench-start`: how soon `voicespan --help` has answered and `voicespan serve` is ready, and at what cost.

Ready is when `/readyz` says so: all is imported, FastAPI and google-genai are warmed up, the store is open. The rows
take turns, so that a machine that slows down slows all of them; the last is the floor, what the libraries take to be
imported.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.server import free_port

LIMIT_S = 60.0
POLL_S = 0.01
LIBRARIES = "import gc; gc.disable(); import fastapi, uvicorn, google.genai.live, opentelemetry.sdk.trace, typer"
COMMAND = str(Path(sys.executable).with_name("voicespan"))
KEY = {"GEMINI_API_KEY": "not-a-key"}


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """What was started, and for each time the seconds until it was there, and those of CPU that it took till then."""

    what: str
    start: Callable[[], Took]
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Once more."""
        took = self.start()
        self.wall_s.append(took.wall_s)
        self.cpu_s.append(took.cpu_s)

    def __str__(self) -> str:
        numbers = " ".join(f"{value:7.2f}" for kept in (self.wall_s, self.cpu_s) for value in _spread(kept))
        return f"{self.what:<34} {numbers}"


def main() -> int:
    """Start each in turn, and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.start")
    parser.add_argument("--runs", type=int, default=7, help="how often each is started")
    parser.add_argument("--json", type=Path, help="write the medians there")
    options = parser.parse_args()
    rows = {
        "help": Row("voicespan --help", lambda: _ended(COMMAND, "--help")),
        "serve_simulator": Row("serve, with the simulator", lambda: _ready({"VOICESPAN_BACKEND": "simulator"})),
        "serve_key": Row("serve, with a key", lambda: _ready(KEY)),
        "serve_key_collector": Row(
            "serve, with a key and a collector",
            lambda: _ready({**KEY, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}),
        ),
        "libraries": Row("the libraries' import alone", lambda: _ended(sys.executable, "-c", LIBRARIES)),
    }
    for row in rows.values():
        row.start()  # once for the page cache
    for _ in range(options.runs):
        for row in rows.values():
            row.run()
    print(f"{'':<34} {'wall s':^23} {'CPU s':^23}")
    print(f"{'':<34} {'min     median  max':>23} {'min     median  max':>23}")
    print(*rows.values(), sep="\n")
    medians = {
        f"{name}_{kind}_s": round(statistics.median(values), 3)
        for name, row in rows.items()
        for kind, values in (("wall", row.wall_s), ("cpu", row.cpu_s))
    }
    if options.json:
        options.json.write_text(json.dumps(medians, indent=2) + "\n")
    print(
        f"start: --help {medians['help_cpu_s']:.2f} s of CPU; ready after {medians['serve_simulator_wall_s']:.2f} s "
        f"with the simulator, {medians['serve_key_wall_s']:.2f} s with a key"
    )
    return 0


def _ended(*command: str) -> Took:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    wall_s = time.monotonic() - began_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(wall_s, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def _ready(env: Mapping[str, str]) -> Took:
    """Until a server says that it is ready, with no settings but these; without the simulator's CPU."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="voicespan-start-") as home:
        own = {"PATH": os.environ["PATH"], "HOME": home, "VOICESPAN_STORE_PATH": f"{home}/traces.db", **env}
        began_s = time.monotonic()
        server = subprocess.Popen(
            [COMMAND, "serve", "--port", str(port)],
            env=own,
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not _answers(f"http://127.0.0.1:{port}/readyz"):
                if server.poll() is not None or time.monotonic() > began_s + LIMIT_S:
                    raise SystemExit(f"`voicespan serve` with {env} did not become ready")
                time.sleep(POLL_S)
            return Took(time.monotonic() - began_s, _cpu_s(server.pid))
        finally:
            server.terminate()
            server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _cpu_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


if __name__ == "__main__":
    sys.exit(main())
