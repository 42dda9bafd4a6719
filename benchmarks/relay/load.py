"""The load: voice clients on one side of a relay and the Live service on the other, in one process, all paced.

Reads commands as JSON lines and answers in JSON lines:

    {"do": "call", "url": [host, port] or null, "sessions": N, "warm_s": S, "seconds": S}   "measuring", then figures
    {"do": "hold", "url": [host, port], "sessions": N}                                     "held"; until the next line

Without a URL the clients call the service directly, with what a relay would send: what the load itself takes and how
late it is.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import random
import ssl
import sys
import tempfile
import time
from array import array
from collections import deque
from pathlib import Path
from typing import Any

import trustme
import uvloop
from benchmarks.relay import wire

from voicespan_server.audio_wire import audio_writer, unmasked

CONNECTS_AT_ONCE = 20
CHECKED_EVERY = 50
KEPT = 256  # times of frames that are on their way


class Figures:
    """What a run found; times in microseconds."""

    def __init__(self) -> None:
        self.measuring = False
        self.up = self.down = self.up_sent = self.down_sent = self.texts = self.wrong = self.lost = 0
        self.up_us, self.down_us = array("L"), array("L")

    def begin(self) -> None:
        self.__init__()  # type: ignore[misc]
        self.measuring = True


class Peer(asyncio.Protocol):
    """One end: cuts what it reads into frames, sends frames at times of its own."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.rest = b""
        self.upgraded = False
        self.sent: deque[float] = deque(maxlen=KEPT)
        self.sent_count = self.got_count = 0
        self.timer: asyncio.TimerHandle | None = None
        self.due_s = 0.0
        self.closed = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed:
            self.load.figures.lost += 1
        self.stop()

    def stop(self) -> None:
        self.closed = True
        if self.timer:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data, self.rest = self.rest + data, b""
        if not self.upgraded:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self.rest = data
                return
            self.upgraded = True
            self.on_upgrade(data[: end + 4])
            data = data[end + 4 :]
        at = 0
        while (frame := wire.end_of_frame(data, at)) is not None:
            self.on_frame(data, at, *frame)
            at = frame[1]
        if at < len(data):
            self.rest = data[at:]

    def on_upgrade(self, head: bytes) -> None:
        raise NotImplementedError

    def on_frame(self, data: bytes, at: int, payload: int, end: int) -> None:
        raise NotImplementedError

    def begin(self, every_s: float) -> None:
        """Send from some moment within the first period on."""
        self.every_s = every_s
        self.due_s = self.load.loop.time() + random.random() * every_s
        self.timer = self.load.loop.call_at(self.due_s, self.tick)

    def tick(self) -> None:
        self.send()
        # Late is late: what could not be sent in time is not made good by a burst.
        self.due_s = max(self.due_s + self.every_s, self.load.loop.time() - self.every_s)
        self.timer = self.load.loop.call_at(self.due_s, self.tick)

    def send(self) -> None:
        raise NotImplementedError

    def lateness_us(self, other: Peer) -> int:
        """Of the frame that arrived here just now; the other end has the time at which it was sent."""
        behind = other.sent_count - self.got_count
        return int((time.perf_counter() - other.sent[-1 - behind]) * 1e6) if 0 <= behind < len(other.sent) else 0


class Client(Peer):
    """A voice client: 20 ms of audio at a time."""

    def __init__(self, load: Load, direct: bool) -> None:
        super().__init__(load)
        self.ready = load.loop.create_future()
        self.direct = direct
        self.frames = load.direct_frames if direct else wire.UP_FRAMES

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.write(wire.upgrade("127.0.0.1"))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the relay hung up"))

    def on_upgrade(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 101"):
            self.ready.set_exception(ConnectionError(head.split(b"\r\n")[0].decode()))
            return
        self.transport.write(wire.HELLO)

    def on_frame(self, data: bytes, at: int, payload: int, end: int) -> None:
        figures = self.load.figures
        if data[at] == 0x82 and end - payload >= wire.DOWN_BYTES:  # the service's JSON where there is no relay
            figures.down += 1
            expected = self.got_count % wire.POOL
            self.got_count += 1
            if figures.measuring:
                figures.down_us.append(self.lateness_us(self.service))
            if not self.direct and self.got_count % CHECKED_EVERY == 0:
                figures.wrong += data[payload:end] != wire.DOWN_PCM[expected]
        elif data[at] == 0x89:
            self.transport.write(b"\x8a\x80\0\0\0\0" if end == payload else _pong(data[payload:end]))
        elif not self.ready.done() and (wire.READY in data[payload:end] or self.direct):
            self.service = self.load.newest
            self.service.client = self
            self.ready.set_result(None)
        else:
            figures.texts += 1

    def send(self) -> None:
        self.transport.write(self.frames[self.sent_count % wire.POOL])
        self.sent.append(time.perf_counter())
        self.sent_count += 1
        self.load.figures.up_sent += 1


def _pong(payload: bytes) -> bytes:
    return bytes([0x8A, 0x80 | len(payload)]) + bytes(4) + payload


class Service(Peer):
    """The Live service on one connection: 40 ms of audio at a time, and a turn's other messages between."""

    client: Client

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self.set_up = False
        self.script = random.randrange(int(wire.TURN_S / wire.DOWN_S))

    def on_upgrade(self, head: bytes) -> None:
        self.transport.write(wire.accept(head))

    def on_frame(self, data: bytes, at: int, payload: int, end: int) -> None:
        figures = self.load.figures
        if not self.set_up:
            self.set_up = True
            self.load.newest = self
            self.transport.write(wire.SETUP_COMPLETE)
        elif end - payload > wire.UP_BYTES:
            figures.up += 1
            expected = self.got_count % wire.POOL
            self.got_count += 1
            if figures.measuring:
                figures.up_us.append(self.lateness_us(self.client))
            if self.got_count % CHECKED_EVERY == 0:
                text = unmasked(data, payload, end)
                begin = text.index(b'"', text.index(b'"data"') + 6) + 1
                pcm = base64.urlsafe_b64decode(text[begin : text.index(b'"', begin)].translate(_ALPHABET))
                figures.wrong += pcm != wire.UP_PCM[expected]

    def send(self) -> None:
        chunks = int(wire.TURN_S / wire.DOWN_S)
        self.script += 1
        for part, message in wire.TURN:
            if self.script % chunks == int(part * chunks):
                self.transport.write(message)
        self.transport.write(wire.DOWN_FRAMES[self.sent_count % wire.POOL])
        self.sent.append(time.perf_counter())
        self.sent_count += 1
        self.load.figures.down_sent += 1


_ALPHABET = bytes.maketrans(b"+/", b"-_")


class Load:
    """Both sides of all calls."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.figures = Figures()
        self.newest: Service
        self.services: set[Service] = set()
        write = audio_writer("audio/pcm;rate=16000")
        self.direct_frames = [write(pcm) for pcm in wire.UP_PCM]

    def service(self) -> Service:
        made = Service(self)
        self.services.add(made)
        return made

    async def connect(self, url: tuple[str, int], sessions: int, trust: ssl.SSLContext | None) -> list[Client]:
        """Clients whose calls are up. One after the other, so that it is known which connection is whose."""
        clients = []
        for _ in range(sessions):
            _, client = await self.loop.create_connection(lambda: Client(self, trust is not None), *url, ssl=trust)
            async with asyncio.timeout(20):
                await client.ready
            clients.append(client)
        return clients

    async def call(self, url: tuple[str, int], sessions: int, warm_s: float, seconds: float, direct: Any) -> None:
        clients = await self.connect(url, sessions, direct)
        for client in clients:
            client.begin(wire.UP_S)
            client.service.begin(wire.DOWN_S)
        await asyncio.sleep(warm_s)
        gc.collect()
        gc.freeze()
        self.figures.begin()
        began, cpu = time.perf_counter(), time.process_time()
        say({"said": "measuring"})
        await asyncio.sleep(seconds)
        figures, self.figures = self.figures, Figures()
        lasted_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        say(
            {
                "said": "figures",
                "seconds": lasted_s,
                "load_share": cpu_s / lasted_s,
                "up": figures.up,
                "down": figures.down,
                "up_sent": figures.up_sent,
                "down_sent": figures.down_sent,
                "wrong": figures.wrong,
                "lost": figures.lost,
                "up_us": percentiles(figures.up_us),
                "down_us": percentiles(figures.down_us),
            }
        )
        await self.hang_up(clients)

    async def hang_up(self, clients: list[Client]) -> None:
        for client in clients:
            client.stop()
            client.service.stop()
            client.transport.write(b"\x88\x82\0\0\0\0\x03\xe8")
            client.transport.close()
        await asyncio.sleep(1.0)
        for service in self.services:
            service.stop()
            service.transport.abort()
        self.services.clear()


def percentiles(found: array[int]) -> dict[str, float]:
    """p50, p90 and p99."""
    ranked = sorted(found)
    return {f"p{p}": ranked[min(len(ranked) - 1, len(ranked) * p // 100)] for p in (50, 90, 99)} if ranked else {}


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


async def main() -> None:
    load = Load()
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    with tempfile.TemporaryDirectory(prefix="voicespan-bench-") as folder:
        trusted = Path(folder) / "ca.pem"
        authority.cert_pem.write_to_path(str(trusted))
        trust = ssl.create_default_context(cafile=str(trusted))
        server = await load.loop.create_server(load.service, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        say({"said": "serving", "url": f"https://127.0.0.1:{port}", "ca_file": str(trusted)})
        reader = asyncio.StreamReader()
        await load.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        held: list[Client] = []
        while line := await reader.readline():
            await load.hang_up(held)
            held = []
            command = json.loads(line)
            url = tuple(command["url"]) if command["url"] else ("127.0.0.1", port)
            if command["do"] == "hold":
                held = await load.connect(url, command["sessions"], None)
                say({"said": "held"})
            else:
                direct = None if command["url"] else trust
                await load.call(url, command["sessions"], command["warm_s"], command["seconds"], direct)


if __name__ == "__main__":
    uvloop.run(main())
