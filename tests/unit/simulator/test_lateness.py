"""How late a loop runs is noticed."""

import asyncio
import time

from voicespan_simulator.lateness import Lateness


async def test_what_holds_the_loop_up_is_noticed_by_those_who_were_there() -> None:
    lateness = Lateness()
    before = lateness.now()
    await asyncio.sleep(0)
    time.sleep(0.08)  # noqa: ASYNC251 - a loop that is held up is what this is about
    await asyncio.sleep(0.02)
    assert lateness.worst_since(before) > 0.05
    assert lateness.worst_since(lateness.now()) == 0.0
