"""A name server on loopback that has one address for every name."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

QUESTION_AT = 12  # RFC 1035, 4.1: the header's length
A, IN = b"\x00\x01", b"\x00\x01"


class OneAddress:
    """Runs inside a `with`. `ip` can be changed at any time; `endpoint` is what a resolver is told."""

    def __init__(self, ip: str) -> None:
        self.ip = ip
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.endpoint = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.sendto(b"", self._socket.getsockname())  # wakes it up
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(512)
            if not query:
                return
            name_ends = query.index(b"\x00", QUESTION_AT) + 1
            question = query[QUESTION_AT : name_ends + 4]
            wanted = question.endswith(A + IN)  # of IPv6 it knows nothing
            header = query[:2] + b"\x81\x80\x00\x01" + (b"\x00\x01" if wanted else b"\x00\x00") + bytes(4)
            answer = b"\xc0\x0c" + A + IN + b"\x00\x00\x0e\x10\x00\x04" + socket.inet_aton(self.ip)
            self._socket.sendto(header + question + (answer if wanted else b""), sender)
