"""A connection to the model without sockets: what the service would write is read from memory, what is sent is kept."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from functools import cache
from typing import Any, TypeVar

from google import genai
from google.genai import live
from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.uri import parse_uri

C = TypeVar("C", bound=ClientConnection)


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closing = False

    def write(self, data: Any) -> None:
        assert not self.closing
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def can_write_eof(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def upgrade_answer(key: str, *extra: str) -> bytes:
    accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
    lines = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
    return "\r\n".join((*lines, f"Sec-WebSocket-Accept: {accept}", *extra, "\r\n")).encode()


def connected(kind: type[C], *, answer_then: bytes = b"", cut_answer_at: int | None = None) -> C:
    """A connection whose upgrade was answered, with some bytes right behind the answer."""
    protocol = ClientProtocol(parse_uri("wss://service.test/live"), max_size=16 << 20)
    connection = kind(protocol, ping_interval=None, max_queue=None)
    connection.connection_made(Transport())
    connection.request = protocol.connect()
    protocol.send_request(connection.request)
    connection.send_data()
    answer = upgrade_answer(connection.request.headers["Sec-WebSocket-Key"]) + answer_then
    for part in (answer[:cut_answer_at], answer[cut_answer_at:]) if cut_answer_at else (answer,):
        connection.data_received(part)
    return connection


def session_over(connection: ClientConnection, *, vertex: bool = False) -> live.AsyncSession:
    """google-genai's session on it, as after its setup."""
    return live.AsyncSession(api_client=_client(vertex=vertex)._api_client, websocket=connection)


@cache
def _client(*, vertex: bool) -> genai.Client:
    return genai.Client(api_key="none", vertexai=vertex)


def frame(payload: bytes, opcode: Opcode = Opcode.BINARY, *, fin: bool = True) -> bytes:
    """As a server writes it."""
    return Frame(opcode, payload, fin).serialize(mask=False)


def close_frame(code: int, reason: str) -> bytes:
    return frame(Close(code, reason).serialize(), Opcode.CLOSE)
