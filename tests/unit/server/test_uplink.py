"""What waits for the model, and what of it is dropped."""

from __future__ import annotations

import asyncio

import pytest

from voicespan_server import uplink as uplink_module
from voicespan_server.protocol import Text
from voicespan_server.uplink import Item, Uplink

FRAME = bytes(1_280)  # 40 ms
HELLO = Text(type="text", text="hello")


async def everything(line: Uplink) -> list[Item]:
    return [await line.get() for _ in range(len(line))]


async def test_items_come_out_in_the_order_in_which_they_went_in() -> None:
    line = Uplink(1_000)
    for item in (b"\1\1", HELLO, b"\2\2"):
        assert line.put(item) == 0
    assert await everything(line) == [b"\1\1", HELLO, b"\2\2"]
    assert line.audio_bytes == 0


async def test_the_oldest_audio_makes_room_and_is_counted_in_seconds() -> None:
    line = Uplink(1_000)
    dropped = [line.put(bytes([n, 0]) * 640) for n in range(30)]
    assert dropped == [0.0] * 25 + [0.04] * 5
    assert [item[0] for item in await everything(line) if isinstance(item, bytes)] == list(range(5, 30))


async def test_typed_words_outlive_the_audio_that_is_dropped() -> None:
    line = Uplink(1_000)
    line.put(HELLO)
    for _ in range(100):
        line.put(FRAME)
    assert line.audio_bytes == 32_000
    assert (await everything(line))[0] == HELLO


async def test_a_frame_longer_than_the_bound_passes_alone() -> None:
    line = Uplink(1_000)
    assert line.put(bytes(40_000)) == 0
    assert line.put(FRAME) == 40_000 / 32_000
    assert await everything(line) == [FRAME]


async def test_messages_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uplink_module, "MAX_ITEMS", 3)
    line = Uplink(1_000)
    for n in range(5):
        line.put(Text(type="text", text=str(n)))
    assert [item.text for item in await everything(line) if isinstance(item, Text)] == ["2", "3", "4"]


async def test_who_waits_for_an_item_and_is_cancelled_takes_none() -> None:
    line = Uplink(1_000)
    waiting = asyncio.create_task(line.get())
    await asyncio.sleep(0)
    line.put(FRAME)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await line.get() == FRAME
