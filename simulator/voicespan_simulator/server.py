"""The process: a TLS port on loopback with a throw-away certificate, until it is told to stop."""

import json
import os
import signal
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import trustme
import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request

from voicespan_simulator.application import ABORT_EXTENSION, NO_PONGS_EXTENSION, Simulation, application

_LARGEST_MESSAGE_BYTES = 16 << 20
_SHUTDOWN_S = 2


class NotLoopbackError(ValueError):
    """The simulator answers anybody, so it listens on loopback only."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Where a running simulator is found, and whose certificates to trust."""

    base_url: str
    ca_file: str
    pid: int

    def to_json(self) -> str:
        """One line."""
        return json.dumps({"base_url": self.base_url, "ca_file": self.ca_file, "pid": self.pid})


class _UnreliableProtocol(WebSocketsSansIOProtocol):
    """Lets the application lose a connection as a network would, and leave pings unanswered."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            # The application's task was created, but has not run yet.
            extensions: dict[object, object] = self.scope["extensions"]  # type: ignore[assignment]
            extensions[ABORT_EXTENSION] = self.transport.abort
            extensions[NO_PONGS_EXTENSION] = self._send_no_pongs

    def _send_no_pongs(self) -> None:
        send_frame = self.conn.send_frame

        def send_all_but_pongs(frame: Frame) -> None:
            if frame.opcode is not Opcode.PONG:
                send_frame(frame)

        self.conn.send_frame = send_all_but_pongs  # type: ignore[method-assign]


def serve(
    simulation: Simulation,
    *,
    host: str,
    port: int,
    ca_file: Path | None,
    on_ready: Callable[[Ready], None],
    exit_with_stdin: bool,
) -> None:
    """Serves until SIGTERM, SIGINT or, if asked for, the end of stdin; then returns."""
    listener = _listen(host, port)
    with tempfile.TemporaryDirectory(prefix="voicespan-simulator-") as folder:
        trusted = ca_file or Path(folder) / "ca.pem"
        context = _tls(host, trusted)
        config = uvicorn.Config(
            application(simulation),
            ws=_UnreliableProtocol,
            ws_max_size=_LARGEST_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_SHUTDOWN_S,
            ssl_context_factory=lambda _config, _default: context,
        )
        url_host = f"[{host}]" if ":" in host else host
        base_url = f"https://{url_host}:{listener.getsockname()[1]}"
        ready = Ready(base_url, str(trusted.absolute()), os.getpid())
        server = _AnnouncingServer(config, lambda: on_ready(ready))

        def stop(*_: object) -> None:
            server.should_exit = True

        if exit_with_stdin:
            threading.Thread(target=_stop_at_end_of_stdin, args=(server,), daemon=True).start()
        # While it serves uvicorn takes these signals; when it is done it raises the one that stopped it again.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        server.run(sockets=[listener])


class _AnnouncingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()


def _listen(host: str, port: int) -> socket.socket:
    if host != "localhost":
        try:
            loopback = ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise NotLoopbackError(f"{host} is not a loopback address; use 127.0.0.1, ::1 or localhost")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def _tls(host: str, ca_file: Path) -> ssl.SSLContext:
    authority = trustme.CA()
    ca_file.parent.mkdir(parents=True, exist_ok=True)
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host, "localhost", "127.0.0.1", "::1").configure_cert(context)
    return context


def _stop_at_end_of_stdin(server: uvicorn.Server) -> None:
    # os.read, not sys.stdin: a thread that holds the buffer's lock would crash the interpreter's exit.
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    server.should_exit = True
