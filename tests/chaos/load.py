"""Callers who ask, listen, hang up and call again, until they are told to stop."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass

from websockets.exceptions import WebSocketException

from support.caller import ask
from voicespan_server import client
from voicespan_server.client import CallError

FAST = 0.05
TURNS = 2  # with a tool each; the third of the demo waits to be interrupted
REDIAL_S = 0.05


@dataclass(slots=True)
class Load:
    """What callers got done."""

    calls: int = 0
    turns: int = 0
    broken: int = 0


async def call_until(stop: asyncio.Event, url: str, rng: random.Random, load: Load, *, pace: float, turns: int) -> None:
    """One caller after another. A call that breaks is followed by another, for the server may be back."""
    while not stop.is_set():
        try:
            async with client.call(url, pace=pace, user_id="user-1") as caller:
                load.calls += 1
                for _ in range(rng.randint(1, turns)):
                    if stop.is_set():
                        break
                    await ask(caller)
                    load.turns += 1
                await caller.hang_up()
        except (CallError, OSError, TimeoutError, WebSocketException):
            load.broken += 1
            await asyncio.sleep(REDIAL_S)


class Callers:
    """`count` callers at once between entry and exit; `load` is what they have done."""

    def __init__(self, url: str, count: int, rng: random.Random, *, pace: float = FAST, turns: int = TURNS) -> None:
        self.load = Load()
        self._stop = asyncio.Event()
        self._seeds = [rng.random() for _ in range(count)]
        self._url = url
        self._pace = pace
        self._turns = turns
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Callers:
        for seed in self._seeds:
            caller = call_until(
                self._stop, self._url, random.Random(seed), self.load, pace=self._pace, turns=self._turns
            )
            self._tasks.append(asyncio.create_task(caller))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let calls end as their callers wish; who has no server any more is not waited for."""
        self._stop.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                await asyncio.gather(*self._tasks, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
