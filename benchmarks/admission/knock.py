"""Callers who are refused, in a process of their own: each comes back when it was told to, until it is killed."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from voicespan_server import client
from voicespan_server.client import CallError

counts: Counter[str] = Counter()


async def knock(url: str) -> None:
    """Call, and call again."""
    while True:
        try:
            async with client.call(url, microphone=False):
                counts["let in"] += 1
        except CallError as refused:
            counts[refused.code] += 1
            await asyncio.sleep((refused.retry_after_ms or 1000) / 1000)


async def main(url: str, callers: int, for_s: float) -> None:
    """Knock for a while, then print how often, and what the answers were."""
    tasks = [asyncio.create_task(knock(url)) for _ in range(callers)]
    await asyncio.sleep(for_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(", ".join(f"{count} x {code}" for code, count in counts.most_common()))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
