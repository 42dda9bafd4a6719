"""`make bench-admission`: the round trip of running calls, alone and while twice as many are refused."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from support.caller import speech
from support.server import ServerProcess
from voicespan.totals import percentile
from voicespan_server import client
from voicespan_server.client import VoiceClient
from voicespan_server.server_messages import Pong, ServerMessage, TurnCompleted
from voicespan_simulator.process import SimulatorProcess

PING_EVERY_S = 0.1
WARM_UP_S = 5.0


@dataclass(frozen=True, slots=True)
class Row:
    """Round trips in milliseconds, and turns that were completed of those that ended."""

    what: str
    trips_ms: list[float]
    completed: int
    ended: int
    cpu_s: float = 0.0

    def __str__(self) -> str:
        ordered = sorted(self.trips_ms)
        p50, p99, most = (percentile(ordered, q) or 0.0 for q in (0.5, 0.99, 1.0))
        turns = f"{self.completed}/{self.ended}"
        return f"{self.what:<44} {len(ordered):6} {p50:8.2f} {p99:8.2f} {most:8.2f} {turns:>9} {self.cpu_s:8.2f}"


class Caller:
    """A running call that pings, and talks all the time."""

    def __init__(self, call: VoiceClient) -> None:
        self.call = call
        self.trips_ms: list[float] = []
        call.listener = self._heard

    def _heard(self, message: ServerMessage) -> None:
        if isinstance(message, Pong):
            self.trips_ms.append((time.monotonic() - message.t) * 1000)

    async def talk(self) -> None:
        """Ask, hear the answer, and ask again, until cancelled."""
        while True:
            turns = len(self.call.of(TurnCompleted))
            await self.call.say(speech())
            await self.call.wait_for(lambda c, turns=turns: len(c.of(TurnCompleted)) > turns)  # type: ignore[misc]

    async def ping(self, for_s: float) -> Row:
        """Ping for a while; the turns that ended meanwhile."""
        before = len(self.call.of(TurnCompleted))
        self.trips_ms.clear()
        end = time.monotonic() + for_s
        while time.monotonic() < end:
            await self.call.ping(time.monotonic())
            await asyncio.sleep(PING_EVERY_S)
        turns = self.call.of(TurnCompleted)[before:]
        return Row("", list(self.trips_ms), sum(turn.reason == "completed" for turn in turns), len(turns))


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(url: str, pid: int, cap: int, for_s: float) -> None:
    """Fill the server to its cap, and print a row without and one with callers that are refused."""
    async with AsyncExitStack() as held:
        callers = [Caller(await held.enter_async_context(client.call(url))) for _ in range(cap)]
        talking = [asyncio.create_task(caller.talk()) for caller in callers]
        await asyncio.sleep(WARM_UP_S)
        print(f"{'':<44} {'pings':>6} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'turns':>9} {'CPU s':>8}", flush=True)
        alone = await both(callers, pid, for_s, f"{cap} calls, all that there is room for")
        print(alone, flush=True)
        knocking = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.admission.knock",
            url,
            str(2 * cap),
            str(for_s),
            stdout=asyncio.subprocess.PIPE,
        )
        besieged = await both(callers, pid, for_s, f"and {2 * cap} more who call again and again")
        print(besieged, flush=True)
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
        said, _ = await knocking.communicate()
        print(f"those were told: {said.decode().strip()}")
        refused = sum(map(int, re.findall(r"(\d+) x", said.decode())))
        if refused:
            print(f"a refused call costs the server {(besieged.cpu_s - alone.cpu_s) / refused * 1000:.1f} ms of CPU")


async def both(callers: list[Caller], pid: int, for_s: float, what: str) -> Row:
    """All callers' rows in one, and what the server took for them."""
    before_s = cpu_s(pid)
    rows = await asyncio.gather(*(caller.ping(for_s) for caller in callers))
    trips_ms = [trip for row in rows for trip in row.trips_ms]
    took_s = cpu_s(pid) - before_s
    return Row(what, trips_ms, sum(row.completed for row in rows), sum(row.ended for row in rows), took_s)


def main() -> None:
    """Start a simulator and a server, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cap", type=int, default=20, help="VOICESPAN_MAX_SESSIONS")
    parser.add_argument("--seconds", type=float, default=20, help="of each row")
    options = parser.parse_args()
    with SimulatorProcess("plain", pace="real") as simulator:
        environ = {
            "VOICESPAN_BACKEND": "simulator",
            "VOICESPAN_SIMULATOR_URL": simulator.base_url,
            "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
            "VOICESPAN_MAX_SESSIONS": str(options.cap),
        }
        with ServerProcess(environ) as server:
            asyncio.run(measure(server.voice_url, server.process.pid, options.cap, options.seconds))


if __name__ == "__main__":
    main()
