"""The nginx of deploy/nginx before a Langfuse, on a free port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from support.collector import REPOSITORY
from support.server import free_port

TEMPLATE = REPOSITORY / "deploy/nginx/langfuse-gate.conf.template"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


class Gate:
    """Runs inside a `with`; `url` is what LANGFUSE_BASE_URL is set to."""

    def __init__(self, upstream: str, resolver: str = "127.0.0.1") -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="gate-")
        self._folder = Path(self._temporary.name)
        self._port = free_port()
        self._upstream = upstream
        self._resolver = resolver
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        assert NGINX is not None
        site = TEMPLATE.read_text()
        for name, value in (
            ("LANGFUSE_UPSTREAM", self._upstream),
            ("LANGFUSE_GATE_PORT", f"127.0.0.1:{self._port}"),
            ("LANGFUSE_RETRY_AFTER_S", "1"),
            ("LANGFUSE_RESOLVER", self._resolver),
        ):
            site = site.replace(f"${{{name}}}", value)
        folders = "".join(
            f"{kind}_temp_path {self._folder / kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = self._folder / "nginx.conf"
        config.write_text(
            f"daemon off;\nerror_log stderr;\npid {self._folder / 'pid'};\nevents {{}}\n"
            f"http {{\naccess_log off;\n{folders}{site}\n}}\n"
        )
        self._process = subprocess.Popen([NGINX, "-p", self._folder, "-c", config], stderr=subprocess.PIPE)
        deadline = time.monotonic() + 20
        while not self._listens():
            assert self._process.poll() is None, self._process.stderr.read() if self._process.stderr else ""
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.05)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)
        if self._process.stderr:
            self._process.stderr.close()
        self._temporary.cleanup()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0
