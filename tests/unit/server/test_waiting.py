"""What a call waits for."""

from __future__ import annotations

import asyncio
from collections import deque

from voicespan_server.waiting import Flag, Line, Mailbox


async def test_all_who_wait_are_woken_and_who_comes_later_passes() -> None:
    flag = Flag()
    waiting = [asyncio.create_task(flag.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    flag.set()
    flag.clear()  # who was woken is not called back
    await asyncio.gather(*waiting)
    assert not flag.is_set()
    flag.set()
    await flag.wait()


async def test_who_stops_waiting_is_forgotten_and_the_others_are_woken() -> None:
    flag = Flag()
    gone, stays = (asyncio.create_task(flag.wait()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({gone})
    assert len(flag._waiters) == 1
    flag.set()
    await stays


async def test_what_is_put_into_a_mailbox_is_got_in_order_before_and_after_it_was_waited_for() -> None:
    box: Mailbox[int] = Mailbox()
    box.put_nowait(1)
    box.put_nowait(2)
    assert [await box.get(), await box.get()] == [1, 2]
    assert box.empty()
    waiting = asyncio.create_task(box.get())
    await asyncio.sleep(0)
    box.put_nowait(3)
    box.put_nowait(4)
    assert [await waiting, await box.get()] == [3, 4]


def test_a_line_is_as_a_deque_to_who_takes_from_its_front_and_puts_back_there() -> None:
    line, queue = Line([1, 2, 3]), deque([1, 2, 3])
    assert line.popleft() == queue.popleft()
    line.extendleft([4, 5])
    queue.extendleft([4, 5])
    assert list(line) == list(queue) == [5, 4, 2, 3]
