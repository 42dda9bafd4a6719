"""A client's connection without sockets: what it writes is read from memory, what it is sent is kept."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from websockets.frames import Frame, Opcode

from support.upstream_wire import Transport

UPGRADE = "\r\n".join(
    (
        "GET /ws HTTP/1.1",
        "Host: server.test",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
        "\r\n",
    )
).encode()


class Wire(Transport):
    """Delivers while it is not told to pause, as a socket does."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = asyncio.Event()
        self.reading.set()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        self.reading.clear()

    def resume_reading(self) -> None:
        self.reading.set()


def frame(payload: bytes | str, opcode: Opcode | None = None, *, fin: bool = True) -> bytes:
    """As a client writes it."""
    data = payload.encode() if isinstance(payload, str) else payload
    return Frame(opcode or (Opcode.TEXT if isinstance(payload, str) else Opcode.BINARY), data, fin).serialize(mask=True)
