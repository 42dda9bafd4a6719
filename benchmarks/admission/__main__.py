"""`make bench-admission`: the round trip of running calls, alone and while twice as many are refused."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from support.caller import speech
from support.server import ServerProcess
from voicespan.totals import percentile
from voicespan_server import client
from voicespan_server.client import VoiceClient
from voicespan_server.server_messages import Pong, ServerMessage, TurnCompleted
from voicespan_simulator.process import SimulatorProcess

PING_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Row:
    """Round trips in milliseconds, and turns that were completed of those that ended."""

    what: str
    trips_ms: list[float]
    completed: int
    ended: int

    def __str__(self) -> str:
        ordered = sorted(self.trips_ms)
        p50, p99, most = (percentile(ordered, q) or 0.0 for q in (0.5, 0.99, 1.0))
        turns = f"{self.completed}/{self.ended}"
        return f"{self.what:<44} {len(ordered):6} {p50:8.2f} {p99:8.2f} {most:8.2f} {turns:>9}"


class Caller:
    """A running call that pings, and speaks every few seconds."""

    def __init__(self, call: VoiceClient) -> None:
        self.call = call
        self.trips_ms: list[float] = []
        call.listener = self._heard

    def _heard(self, message: ServerMessage) -> None:
        if isinstance(message, Pong):
            self.trips_ms.append((time.monotonic() - message.t) * 1000)

    async def go_on(self, for_s: float) -> Row:
        """Talk for a while; what it came to."""
        before = len(self.call.of(TurnCompleted))
        self.trips_ms.clear()
        talking = asyncio.create_task(self._talk())
        end = time.monotonic() + for_s
        while time.monotonic() < end:
            await self.call.ping(time.monotonic())
            await asyncio.sleep(PING_EVERY_S)
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        turns = self.call.of(TurnCompleted)[before:]
        # The caller talks over what is left of an answer when its time is over: that is no fault of the server's.
        completed = sum(turn.reason in {"completed", "interrupted"} for turn in turns)
        return Row("", list(self.trips_ms), completed, len(turns))

    async def _talk(self) -> None:
        while True:
            turns = len(self.call.of(TurnCompleted))
            await self.call.say(speech())
            await self.call.wait_for(lambda c, turns=turns: len(c.of(TurnCompleted)) > turns)  # type: ignore[misc]


async def measure(url: str, cap: int, for_s: float) -> None:
    """Fill the server to its cap, and print a row without and one with callers that are refused."""
    async with AsyncExitStack() as held:
        callers = [Caller(await held.enter_async_context(client.call(url))) for _ in range(cap)]
        print(f"{'':<44} {'pings':>6} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'turns':>9}", flush=True)
        print(await both(callers, for_s, f"{cap} calls, all that there is room for"), flush=True)
        knocking = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.admission.knock",
            url,
            str(2 * cap),
            str(for_s),
            stdout=asyncio.subprocess.PIPE,
        )
        print(await both(callers, for_s, f"and {2 * cap} more who call again and again"), flush=True)
        said, _ = await knocking.communicate()
        print(f"those were told: {said.decode().strip()}")


async def both(callers: list[Caller], for_s: float, what: str) -> Row:
    """All callers' rows in one."""
    rows = await asyncio.gather(*(caller.go_on(for_s) for caller in callers))
    trips_ms = [trip for row in rows for trip in row.trips_ms]
    return Row(what, trips_ms, sum(row.completed for row in rows), sum(row.ended for row in rows))


def main() -> None:
    """Start a simulator and a server, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cap", type=int, default=20, help="VOICESPAN_MAX_SESSIONS")
    parser.add_argument("--seconds", type=float, default=20, help="of each row")
    options = parser.parse_args()
    with SimulatorProcess(pace="real") as simulator:
        environ = {
            "VOICESPAN_BACKEND": "simulator",
            "VOICESPAN_SIMULATOR_URL": simulator.base_url,
            "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
            "VOICESPAN_MAX_SESSIONS": str(options.cap),
        }
        with ServerProcess(environ) as server:
            asyncio.run(measure(server.voice_url, options.cap, options.seconds))


if __name__ == "__main__":
    main()
