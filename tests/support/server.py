"""The voice server as its users run it: `voicespan serve` in a process of its own, on a free port."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.running import Running


class ServerProcess(Running):
    """Runs between start() and stop() or kill(). Nothing of the developer's own settings reaches it."""

    module = "voicespan_server.cli"

    def __init__(self, env: Mapping[str, str], *arguments: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="voicespan-server-")
        self.folder = Path(self._folder.name)
        self.store_path = self.folder / "traces.db"
        self.port = free_port()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": self._folder.name,
            "VOICESPAN_RAISE": "1",
            "VOICESPAN_STORE_PATH": str(self.store_path),
            # The tests' callers speak twenty times as fast as people do.
            "VOICESPAN_MAX_UPLINK_MS": "20000",
            "VOICESPAN_MAX_AUDIO_SPEED": "0",
            # On a machine that the tests keep busy, late timers are nobody's overload.
            "VOICESPAN_MAX_SESSIONS": "0",
            **env,
        }
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.folder / "server.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def voice_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/voice"

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self, timeout_s: float = 30.0) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,  # as in a terminal of its own
            )
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                assert self.get("/healthz")["status"] == "ok"
            except (urllib.error.URLError, ConnectionError):
                assert self._process.poll() is None, self.log
                assert time.monotonic() < deadline, self.log
                time.sleep(0.05)
            else:
                return

    def command(self) -> list[str]:
        return [sys.executable, "-m", self.module, "serve", "--port", str(self.port), *self._arguments]

    def signal(self, number: signal.Signals) -> int:
        """Send a signal, wait for the end, return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(20)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Any:
        with urllib.request.urlopen(
            urllib.request.Request(self.url + path, headers=dict(headers or {})), timeout=10
        ) as answer:
            return json.load(answer)

    def post(self, path: str, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Any:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def stop(self) -> None:
        """SIGTERM, and waits, where it runs."""
        if self._process and self._process.poll() is None:
            self.signal(signal.SIGTERM)

    def dispose(self) -> None:
        self.stop()
        print(f"server's log:\n{self.log}", file=sys.stderr)  # pytest shows it under a test that failed
        self._folder.cleanup()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
