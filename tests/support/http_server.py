"""A small HTTP server in a thread, for sinks: one function from request to response, and a real outage on stop()."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.running import Running


@dataclass(frozen=True)
class Request:
    """Header names are lower-case; received_ns is Unix time."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)
    received_ns: int


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, status: int, body: object) -> Response:
        return cls(status, json.dumps(body).encode())


class Faults:
    """Answers that a test ordered for the next requests."""

    def __init__(self) -> None:
        self._queue: deque[Response] = deque()
        self._lock = threading.Lock()

    def order(self, status: int, times: int, retry_after_s: int | None) -> None:
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        with self._lock:
            self._queue.extend([Response(status, b'{"message":"ordered by the test"}', headers=headers)] * times)

    def take(self) -> Response | None:
        with self._lock:
            return self._queue.popleft() if self._queue else None


class HttpServer(Running):
    """Serves on 127.0.0.1 between start() and stop(); stop() also cuts the connections that clients keep alive."""

    def __init__(self, respond: Callable[[Request], Response], port: int = 0) -> None:
        self._respond = respond
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.port = port

    def start(self) -> None:
        """Listens; the port that was chosen the first time is kept for later starts."""
        self._server = _Server(("127.0.0.1", self.port), self._respond)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server.cut_connections()
        self._thread.join()
        self._server = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # server_close would wait for clients to hang up

    def __init__(self, address: tuple[str, int], respond: Callable[[Request], Response]) -> None:
        self.respond = respond
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        with self._lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Clients are killed in these tests; their broken pipes are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _serve(self) -> None:
        received_ns = time.time_ns()
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        response = self.server.respond(Request(self.command, self.path, headers, body, received_ns))
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  # names that http.server looks up

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in http.server
        """Quiet: a test prints what it needs."""
