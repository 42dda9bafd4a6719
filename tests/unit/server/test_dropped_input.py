"""How often a client is told that its audio was dropped."""

from __future__ import annotations

import asyncio

from voicespan_server.dropped_input import DroppedInput
from voicespan_server.protocol import Message


async def test_the_first_is_told_at_once_and_the_rest_together() -> None:
    told: list[Message] = []
    again = asyncio.Event()

    def tell(message: Message) -> None:
        told.append(message)
        if len(told) == 2:
            again.set()

    dropped = DroppedInput(tell, every_s=0.05)
    for _ in range(10):
        dropped.add(0.04)
    assert [message["ms"] for message in told] == [40]
    await again.wait()
    assert [message["ms"] for message in told] == [40, 360]
    assert {message["code"] for message in told} == {"input_dropped"}
    dropped.stop()


async def test_when_nothing_more_is_dropped_nothing_more_is_told() -> None:
    told: list[Message] = []
    dropped = DroppedInput(told.append, every_s=0.01)
    dropped.add(0.04)
    loop = asyncio.get_running_loop()
    passed = asyncio.Event()
    loop.call_later(0.03, passed.set)
    await passed.wait()
    dropped.add(0.08)
    assert [message["ms"] for message in told] == [40, 80], "and the next one is told at once again"
    dropped.stop()
