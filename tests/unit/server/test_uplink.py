"""What waits for the model, and what of it is dropped."""

from __future__ import annotations

import asyncio
import base64

import pytest

from voicespan_server import uplink as uplink_module
from voicespan_server.protocol import Image, Text
from voicespan_server.uplink import Item, Uplink

FRAME = bytes(1_280)  # 40 ms
HELLO = Text(type="text", text="hello")


def everything(line: Uplink) -> list[Item]:
    return [line.pop() for _ in range(len(line))]


def test_items_come_out_in_the_order_in_which_they_went_in() -> None:
    line = Uplink(1_000)
    for item in (b"\1\1", HELLO, b"\2\2"):
        assert line.put(item) == 0
    assert everything(line) == [b"\1\1", HELLO, b"\2\2"]
    assert line.audio_bytes == 0


def test_the_oldest_audio_makes_room_and_is_counted_in_seconds() -> None:
    line = Uplink(1_000)
    dropped = [line.put(bytes([n, 0]) * 640) for n in range(30)]
    assert dropped == [0.0] * 25 + [0.04] * 5
    assert [item[0] for item in everything(line) if isinstance(item, bytes)] == list(range(5, 30))


def test_typed_words_outlive_the_audio_that_is_dropped() -> None:
    line = Uplink(1_000)
    line.put(HELLO)
    for _ in range(100):
        line.put(FRAME)
    assert line.audio_bytes == 32_000
    assert (everything(line))[0] == HELLO


def test_a_frame_longer_than_the_bound_passes_alone() -> None:
    line = Uplink(1_000)
    assert line.put(bytes(40_000)) == 0
    assert line.put(FRAME) == 40_000 / 32_000
    assert everything(line) == [FRAME]


def test_messages_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uplink_module, "MAX_ITEMS", 3)
    line = Uplink(1_000)
    for n in range(5):
        line.put(Text(type="text", text=str(n)))
    assert [item.text for item in everything(line) if isinstance(item, Text)] == ["2", "3", "4"]


async def test_who_waits_is_woken_by_what_comes_and_not_by_what_went() -> None:
    line = Uplink(1_000)
    line.put(FRAME)
    line.pop()
    waiting = asyncio.create_task(line.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    line.put(HELLO)
    await waiting
    assert everything(line) == [HELLO]


def test_what_could_not_be_sent_stands_in_front_again() -> None:
    line = Uplink(1_000)
    line.put(b"\1\1")
    line.put(b"\2\2")
    line.put_back(line.pop())
    assert everything(line) == [b"\1\1", b"\2\2"]


def test_what_comes_back_to_a_full_line_is_dropped_and_counted() -> None:
    line = Uplink(1_000)
    line.put(FRAME)
    unsent = line.pop()
    for _ in range(25):
        line.put(FRAME)
    assert line.put_back(unsent) == 0.04
    assert line.audio_bytes == 32_000


def test_a_few_pictures_wait_and_the_oldest_makes_room() -> None:
    line = Uplink(1_000)
    line.put(HELLO)
    for n in range(6):
        line.put(Image(type="image", mime="image/png", data=base64.b64encode(bytes([n])).decode()))
    assert [item.data[0] for item in everything(line) if isinstance(item, Image)] == [2, 3, 4, 5]
