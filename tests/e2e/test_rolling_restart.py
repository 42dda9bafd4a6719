"""SIGHUP replaces the workers one by one under live calls, and no call that could finish is cut.

VOICESPAN_RESTART_CALLS says how many live calls there are: 20 by default.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from support.caller import ask
from support.otlp_sink import OtlpHttpSink
from support.server import ServerProcess
from voicespan_server.client import call

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

CALLS = int(os.environ.get("VOICESPAN_RESTART_CALLS", "20"))
# A hundred dials at once are another test.
JOINING_AT_ONCE = 5


async def stay(url: str, joining: asyncio.Semaphore, up: asyncio.Barrier, restarted: asyncio.Event) -> int:
    """A call that lives through the restart: an answer before, one afterwards, and a goodbye. Its close code."""
    async with AsyncExitStack() as stack:
        async with joining:
            caller = await stack.enter_async_context(call(url))
            await ask(caller)
        await up.wait()
        await restarted.wait()
        await ask(caller)
        await caller.hang_up()
    return caller.close_code or 0


async def come_and_go(url: str, restarted: asyncio.Event) -> int:
    """New calls, one after the other, while workers are replaced. How many there were."""
    count = 0
    while not restarted.is_set():
        async with call(url) as caller:
            await ask(caller)
            await caller.hang_up()
            assert caller.close_code == 1000, caller.close_reason
        count += 1
    return count


def workers_of(server: ServerProcess) -> set[int]:
    """The supervisor's children that serve."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return {int(pid) for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()}


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


async def test_no_call_is_cut_or_refused_while_all_workers_are_replaced(
    environ: dict[str, str], receiver: OtlpHttpSink
) -> None:
    env = {
        **environ,
        "VOICESPAN_DRAIN_S": "300",
        "VOICESPAN_SIMULATOR_SCENARIO": "one_tool",
        "VOICESPAN_IDLE_TIMEOUT_S": "300",
        "VOICESPAN_SETUP_TIMEOUT_S": "60",
        "VOICESPAN_MAX_SESSIONS": "0",
    }
    with ServerProcess(env, "--workers", "2") as server:
        await until(lambda: len(workers_of(server)) == 2, "two workers")
        former = workers_of(server)
        joining, up, restarted = asyncio.Semaphore(JOINING_AT_ONCE), asyncio.Barrier(CALLS + 1), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            stayers = [tasks.create_task(stay(server.voice_url, joining, up, restarted)) for _ in range(CALLS)]
            await up.wait()
            newcomers = tasks.create_task(come_and_go(server.voice_url, restarted))
            server.process.send_signal(signal.SIGHUP)
            # Both successors serve while their predecessors, which the calls keep alive, are still there.
            await until(lambda: len(workers_of(server) - former) == 2, "two successors")
            await until(lambda: not listens(former), "the old workers left the port")
            restarted.set()
        assert [task.result() for task in stayers] == [1000] * CALLS
        assert newcomers.result() > 0
        await until(lambda: not workers_of(server) & former, "the old workers ended with their last calls")
        assert len(workers_of(server)) == 2
        sessions = receiver.spans.wait_for(
            lambda spans: sum(s.name == "WebSocket Session" for s in spans) >= CALLS + newcomers.result()
        )
    ends = [
        (s.attributes["voicespan.session.close_code"], s.attributes["voicespan.session.close_initiator"])
        for s in sessions
        if s.name == "WebSocket Session"
    ]
    assert ends == [(1000, "client")] * (CALLS + newcomers.result())
    print(
        f"{CALLS} calls lived through the restart of 2 workers, {newcomers.result()} more came and went: none was cut"
    )


def listens(pids: set[int]) -> bool:
    """Whether any of the processes holds a listening TCP socket."""
    listening = {
        line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    }
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except FileNotFoundError:
                continue
            if target.startswith("socket:[") and target[8:-1] in listening:
                return True
    return False
