"""Hostile clients. After each input a ping tells whether the call goes on; if not, its close code counts."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from fuzz.mutate import battered, mutated
from fuzz.tally import Tally
from voicespan_server.protocol import SUBPROTOCOL

ANSWER_S = 20.0
HELLO = {
    "type": "hello",
    "v": 1,
    "input": {"rate": 16_000, "turns": "auto"},
    "user": {"id_hash": "u-1"},
    "resume": None,
    "token": None,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=b",
}
IMAGE = {"type": "image", "mime": "image/png", "data": base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(60)).decode()}
GOOD: tuple[dict[str, Any], ...] = (
    {"type": "text", "text": "Is there a cafe near here?"},
    {"type": "audio.end"},
    {"type": "playback", "turn": 1, "event": "started", "ms": 0},
    {"type": "playback", "turn": 1, "event": "stopped", "ms": 1234.5},
    IMAGE,
)
TO_MUTATE = (*GOOD, {"type": "activity.start"}, {"type": "activity.end"}, {"type": "ping", "t": 1.5}, {"type": "bye"})
# Of messages that are no JSON object with a type, or a known type with a field that cannot be: close 4400.
BROKEN: tuple[str, ...] = (
    *("", "{", "[]", "null", "3", '"text"', "{}", '{"type": 3}', '{"type": null}', "[" * 5000, "nul"),
    *('{"type": "text"}', '{"type": "text", "text": ""}', '{"type": "text", "text": 3}'),
    *('{"type": "playback", "turn": 0, "event": "started"}', '{"type": "playback", "turn": 1, "event": "paused"}'),
    *('{"type": "playback", "turn": 1, "event": "stopped", "ms": -1}', '{"type": "hello", "v": 1}'),
    *('{"type": "ping", "t": "soon"}', '{"type": "ping", "t": NaN}'),
    *('{"type": "activity.end"}', '{"type": "image"}', '{"type": "image", "mime": "image/gif", "data": "AAAA"}'),
    *(
        '{"type": "image", "mime": "image/png", "data": "%%%"}',
        '{"type": "activity.start"}',
        '{"type": "activity.end"}',
    ),
)
UNKNOWN = ('{"type": ""}', '{"type": "hologram", "depth": 3}', '{"type": "TEXT"}', '{"type": "\\u0000"}')
MUTATED_MAY_END = {1000, 1007, 1009, 4400}
NO_HELLO_MAY_END = MUTATED_MAY_END | {4408}


@dataclass(frozen=True, slots=True)
class Input:
    """A frame, the name of its kind, and what may follow: close codes, and whether the call may go on."""

    kind: str
    frame: str | bytes
    as_text: bool
    codes: frozenset[int]
    may_go_on: bool


def next_input(rng: random.Random) -> Input:
    """Something a client may send in a call."""
    draw = rng.random()
    if draw < 0.2:
        return Input("good", json.dumps(rng.choice(GOOD)), True, frozenset(), may_go_on=True)
    if draw < 0.3:
        return Input("unknown", rng.choice(UNKNOWN), True, frozenset(), may_go_on=True)
    if draw < 0.4:
        return Input("broken", rng.choice(BROKEN), True, frozenset({4400}), may_go_on=False)
    if draw < 0.55:
        pcm = rng.randbytes(rng.choice((0, 2, 320, 640, 1280, 32_768)))
        return Input("audio", pcm, False, frozenset(), may_go_on=True)
    if draw < 0.58:
        odd = rng.choice((b"\0", bytes(641), bytes(32_770), bytes(65_536)))
        return Input("bad audio", odd, False, frozenset({4400}), may_go_on=False)
    if draw < 0.6:
        return Input("bad utf-8", b'{"type": "text", "text": "\xff"}', True, frozenset({1007}), may_go_on=False)
    if draw < 0.605:
        return Input("too big", bytes(1_048_576), rng.random() < 0.5, frozenset({1009}), may_go_on=False)
    if draw < 0.62:
        return Input("bytes", battered(bytes(640), rng), False, frozenset({4400}), may_go_on=True)
    frame = mutated(rng.choice(TO_MUTATE), rng)
    return Input("mutated", frame, True, frozenset(MUTATED_MAY_END), may_go_on=True)


class Client:
    """One hostile client after the other, until enough was sent."""

    def __init__(self, url: str, rng: random.Random, tally: Tally, more: Callable[[], bool]) -> None:
        self._url, self._rng, self._tally, self._more = url, rng, tally, more
        self._pings = count(1)

    async def run(self) -> None:
        """Call, misbehave, call again."""
        while self._more():
            async with connect(
                self._url, subprotocols=[SUBPROTOCOL], compression=None, max_size=None, open_timeout=ANSWER_S
            ) as socket:
                await (self._hello(socket) if self._rng.random() < 0.4 else self._call(socket))

    async def _hello(self, socket: ClientConnection) -> None:
        """A first message that may be anything."""
        if self._rng.random() < 0.2:
            sent = Input("first", self._rng.choice(BROKEN[:-3]), True, frozenset({4400}), may_go_on=False)
            if '"hello"' in str(sent.frame):
                return
        else:
            frame = mutated(HELLO, self._rng)
            sent = Input("hello", frame, True, frozenset(NO_HELLO_MAY_END | {4401}), may_go_on=True)
        await self._judged(socket, sent, self._answered(socket, "ready"))

    async def _call(self, socket: ClientConnection) -> None:
        """A good hello, and then whatever comes to mind."""
        await socket.send(json.dumps({"type": "hello", "v": 1}))
        try:
            await self._answered(socket, "ready")
        except (ConnectionClosed, TimeoutError) as error:
            self._tally.fault("a good hello was not answered", error)
            return
        for _ in range(self._rng.randrange(1, 40)):
            if not self._more() or not await self._judged(socket, next_input(self._rng), None):
                return
        await socket.send(json.dumps({"type": "bye"}))
        try:
            await self._answered(socket, "no such type")
        except ConnectionClosed:
            if socket.close_code != 1000:
                self._tally.fault(f"a goodbye was closed with {socket.close_code}", socket.close_reason)
        except TimeoutError:
            self._tally.fault("a goodbye was not answered")

    async def _judged(self, socket: ClientConnection, sent: Input, answered: Awaitable[None] | None) -> bool:
        """Send, and see what becomes of the call. True where it goes on."""
        ping = next(self._pings)
        try:
            frame = sent.frame.encode("utf-8", "surrogatepass") if isinstance(sent.frame, str) else sent.frame
            await socket.send(frame, text=sent.as_text)
            if answered is None:
                await socket.send(json.dumps({"type": "ping", "t": ping}))
                answered = self._answered(socket, "pong", ping)
            await answered
        except ConnectionClosed:
            code = socket.close_code
            if code not in sent.codes:
                self._tally.fault(f"{sent.kind} was closed with {code} {socket.close_reason}", sent.frame)
            self._tally.note(sent.kind, str(code))
            return False
        except TimeoutError:
            self._tally.fault(f"{sent.kind} was not answered within {ANSWER_S:g} s", sent.frame)
            self._tally.note(sent.kind, "silence")
            return False
        if not sent.may_go_on:
            self._tally.fault(f"{sent.kind} was taken", sent.frame)
        self._tally.note(sent.kind, "goes on")
        return True

    async def _answered(self, socket: ClientConnection, kind: str, t: int | None = None) -> None:
        async with asyncio.timeout(ANSWER_S):
            async for frame in socket:
                if isinstance(frame, str):
                    message = json.loads(frame)
                    if message["type"] == kind and (t is None or message["t"] == t):
                        return
        # The iterator ends in silence where the server said goodbye.
        await socket.recv()


async def play(url: str, inputs: int, seed: int, tally: Tally, at_once: int = 6) -> None:
    """Send `inputs` of them by some clients at once."""

    def more() -> bool:
        return tally.inputs.total() < inputs

    clients = [Client(url, random.Random(f"{seed}-client-{n}"), tally, more) for n in range(at_once)]
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(_never_down(client, tally))


async def _never_down(client: Client, tally: Tally) -> None:
    try:
        await client.run()
    except (OSError, WebSocketException, TimeoutError) as error:
        tally.fault("the server took no call", f"{type(error).__name__} {error}")
