"""The parts, each against a server process of its own, and what is looked at when it is over."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from fuzz import clients, model, rest
from fuzz.tally import Tally
from support.server import ServerProcess
from voicespan.sdk import maintenance
from voicespan_simulator.process import SimulatorProcess

# Of all inputs, how many are each part's.
SHARES = {"clients": 0.35, "model": 0.4, "rest": 0.1, "raw": 0.15}
# What a server that is well never writes.
CRASH = re.compile(r"Traceback|a call failed|Exception in ASGI|never retrieved|internal error|Segmentation")
QUIET_S = 20.0
# Of descriptors: a connection to the store more or less.
SPARE_DESCRIPTORS = 8

# No limit may stand in the way of what is to be tried; a model that is silent is given up soon.
OPEN = {
    "VOICESPAN_MAX_SESSIONS": "0",
    "VOICESPAN_MAX_SESSIONS_PER_ADDRESS": "0",
    "VOICESPAN_NEW_SESSIONS_PER_MINUTE_PER_ADDRESS": "0",
    "VOICESPAN_MAX_MESSAGES_PER_S": "0",
    "VOICESPAN_MAX_AUDIO_SPEED": "0",
    "VOICESPAN_BACKEND": "simulator",
    "VOICESPAN_HELLO_TIMEOUT_S": "2",
    "VOICESPAN_STORE_MAX_MB": "64",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_AND_EVENT",
    "VOICESPAN_RAISE": "",
}


class Server(ServerProcess):
    """It may be slow to start: this is about what it does then."""

    def __enter__(self) -> Self:
        self.start(timeout_s=120)
        return self


@dataclass
class Verdict:
    """Crashes are servers that died and errors in their logs; a session leaks if it goes on without anybody."""

    tally: Tally = field(default_factory=Tally)
    crashes: int = 0
    leaked: int = 0


def play(parts: Sequence[str], inputs: int, seed: int) -> Verdict:
    """Play the parts, one after the other, with their shares of `inputs`; together they are that many at least."""
    verdict = Verdict()
    whole = sum(SHARES[part] for part in parts)
    share = 0.0
    for part in parts:
        # A part that fell short, since some routes have few requests to try, is made up for by the next.
        share += SHARES[part] / whole
        count = round(inputs * share) - verdict.tally.inputs.total()
        began, tally = time.monotonic(), Tally()
        _PLAYS[part](count, seed, tally, verdict)
        print(f"{part}: {tally.inputs.total()} inputs in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        verdict.tally.inputs += tally.inputs
        verdict.tally.outcomes += tally.outcomes
        verdict.tally.faults += tally.faults
    return verdict


def _clients(inputs: int, seed: int, tally: Tally, verdict: Verdict) -> None:
    with SimulatorProcess(pace="fast") as simulator, Server(_env(simulator)) as server:
        before = _descriptors(server)
        asyncio.run(clients.play(server.voice_url, inputs, seed, tally))
        _look_at(server, before, verdict)


def _model(inputs: int, seed: int, tally: Tally, verdict: Verdict) -> None:
    async def run() -> None:
        async with model.HostileModel().serving() as hostile:
            env = {
                **OPEN,
                "VOICESPAN_SIMULATOR_URL": hostile.base_url,
                "VOICESPAN_SIMULATOR_CA_FILE": str(hostile.ca_file),
            }
            server = Server(env)
            try:
                await asyncio.to_thread(server.start, 120)
                before = _descriptors(server)
                await model.play(hostile, server.voice_url, inputs, seed, tally)
                await asyncio.to_thread(_look_at, server, before, verdict)
                # The model's side outlives its client by the close's own time at most.
                verdict.leaked += await hostile.left(QUIET_S)
            finally:
                await asyncio.to_thread(server.dispose)

    asyncio.run(run())


def _rest(inputs: int, seed: int, tally: Tally, verdict: Verdict) -> None:
    with SimulatorProcess(pace="fast") as simulator, Server(_env(simulator)) as server:
        before = _descriptors(server)
        rest.from_openapi(server.url, inputs, seed, tally)
        _look_at(server, before, verdict)


def _raw(inputs: int, seed: int, tally: Tally, verdict: Verdict) -> None:
    with SimulatorProcess(pace="fast") as simulator, Server(_env(simulator)) as server:
        before = _descriptors(server)
        asyncio.run(rest.raw(server.port, inputs, seed, tally))
        _look_at(server, before, verdict)


_PLAYS = {"clients": _clients, "model": _model, "rest": _rest, "raw": _raw}


def _env(simulator: SimulatorProcess) -> dict[str, str]:
    return {
        **OPEN,
        "VOICESPAN_SIMULATOR_URL": simulator.base_url,
        "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
    }


def _look_at(server: ServerProcess, descriptors: int, verdict: Verdict) -> None:
    """Whether the server is there, well, and as empty as before."""
    if server.process.poll() is not None:
        verdict.crashes += 1
        verdict.tally.faults.append(f"the server ended with {server.process.returncode}: {server.log[-2000:]}")
        return
    deadline = time.monotonic() + QUIET_S
    while (running := server.get("/healthz")["calls"]) and time.monotonic() < deadline:
        time.sleep(0.2)
    while (now := _descriptors(server)) > descriptors + SPARE_DESCRIPTORS and time.monotonic() < deadline:
        time.sleep(0.2)
    # A call is over some milliseconds before the journal is committed that says so.
    while (open_sessions := maintenance.status(server.store_path).open_sessions) and time.monotonic() < deadline:
        time.sleep(0.2)
    verdict.leaked += running + open_sessions
    if now > descriptors + SPARE_DESCRIPTORS:
        verdict.tally.faults.append(f"{now} descriptors are open, {descriptors} were before")
    log = server.log
    crashes = [found.start() for found in CRASH.finditer(log)]
    verdict.crashes += len(crashes)
    if crashes:
        verdict.tally.faults.append(f"the server's log: {log[max(0, crashes[0] - 300) : crashes[0] + 3000]}")


def _descriptors(server: ServerProcess) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
