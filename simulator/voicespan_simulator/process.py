"""A simulator in a process of its own, for the demo, the server and tests."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Literal

_POLL_S = 0.02
_STOP_S = 5.0


class SimulatorStartError(RuntimeError):
    """The simulator did not come up; the message holds what it wrote to stderr."""


class SimulatorProcess:
    """Starts the simulator on entry and ends it on exit; it also ends when this process goes away.

    `base_url` and `ca_file` are set between. `deeds` is a file for what it did (`voicespan_simulator.deeds`); it is
    whole once the simulator has stopped. Needs the extra `voicespan[simulator]`.
    """

    def __init__(
        self,
        scenario: str = "demo",
        *,
        pace: Literal["real", "fast"] = "real",
        host: str = "127.0.0.1",
        port: int = 0,
        start_timeout_s: float = 20.0,
        deeds: Path | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self._options = (
            *("--scenario", scenario),
            *("--pace", pace),
            *("--host", host),
            *("--port", str(port)),
            *(("--deeds", str(deeds)) if deeds else ()),
            *arguments,
        )
        self._start_timeout_s = start_timeout_s
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.base_url = ""
        self.ca_file = Path()

    @property
    def pid(self) -> int:
        """Of the simulator."""
        if self._process is None:
            raise RuntimeError("the simulator is not running")
        return self._process.pid

    def start(self) -> None:
        """Returns when connections are taken, or raises `SimulatorStartError`."""
        if self._process is not None:
            raise RuntimeError("the simulator is running already")
        self._folder = tempfile.TemporaryDirectory(prefix="voicespan-simulator-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        ready_file, errors_file = folder / "ready.json", folder / "stderr.txt"
        with errors_file.open("wb") as errors:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "voicespan_simulator"),
                    *self._options,
                    *("--ca-file", str(folder / "ca.pem")),
                    *("--ready-file", str(ready_file)),
                    "--exit-with-stdin",
                    *("--remove-folder", str(folder)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                # Ctrl-C, and a terminal that is closed, are for its parent, whose calls may end in their own time.
                start_new_session=True,
            )
        deadline = monotonic() + self._start_timeout_s
        while not ready_file.exists():
            code = self._process.poll()
            if code is not None or monotonic() > deadline:
                problem = f"ended with {code}" if code is not None else f"was not ready in {self._start_timeout_s:g} s"
                said = errors_file.read_text(encoding="utf-8", errors="replace").strip() or "no output"
                said = said.splitlines()[-1]  # what argparse, and a traceback, end in
                self.stop()
                raise SimulatorStartError(f"the simulator {problem}: {said}")
            sleep(_POLL_S)
        ready = json.loads(ready_file.read_text(encoding="utf-8"))
        self.base_url = ready["base_url"]
        self.ca_file = Path(ready["ca_file"])

    def stop(self) -> None:
        """Ends the process; does nothing if none runs."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()

    def __enter__(self) -> "SimulatorProcess":
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
