"""The suites: what is done to a server under load, and the verdict."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.error import URLError

from chaos.load import Callers
from chaos.relay import Relay
from chaos.server import TruthfulServer
from chaos.verdict import SESSION, WINDOW_MS, Report, judge, percentile_ms, read_truth
from support.collector import CollectorProcess
from voicespan.sdk import maintenance
from voicespan_simulator.process import SimulatorProcess

START_TIMEOUT_S, DRAIN_TIMEOUT_S = 120.0, 60.0


@dataclass(slots=True)
class Scene:
    """A server, the relay before a real collector, and a simulator as the model."""

    server: TruthfulServer
    relay: Relay
    collector: CollectorProcess

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start, START_TIMEOUT_S)

    async def signal(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; returns when it was sent, in Unix nanoseconds."""
        at_ns = time.time_ns()
        self.server.process.send_signal(number)
        await asyncio.to_thread(self.server.process.wait, 30)
        return at_ns

    async def drained(self) -> None:
        """Wait until nothing waits to be sent."""
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while True:
            with suppress(URLError, ConnectionError):
                health = await asyncio.to_thread(self.server.get, "/healthz")
                found = await asyncio.to_thread(maintenance.status, self.server.store_path)
                if not health["store"]["queued"]["traces"] and not found.signals[0].queued and not found.open_sessions:
                    return
            assert time.monotonic() < deadline, f"not drained:\n{self.server.log[-4000:]}"
            await asyncio.sleep(0.05)

    def judge(self, name: str, kills_ns: list[int], runs: int, window_ms: float = WINDOW_MS) -> Report:
        """The verdict on all that happened here."""
        truth = read_truth(self.server.truth)
        return judge(name, truth, self.relay.spans.all(), kills_ns, runs=runs, window_ms=window_ms)


@asynccontextmanager
async def scene(
    binary: Path, *arguments: str, pace: Literal["real", "fast"] = "fast", **more: str
) -> AsyncIterator[Scene]:
    """All parts but the server, which is not yet started; it is stopped at the end."""
    # The collector's own legs go nowhere: what is asked here is whether it was given everything.
    with (
        SimulatorProcess(pace=pace) as model,
        CollectorProcess(binary) as collector,
        Relay(collector.http_endpoint) as relay,
    ):
        server = TruthfulServer(model, relay.url, more, *arguments)
        try:
            yield Scene(server, relay, collector)
        finally:
            server.dispose()


async def kills(binary: Path, *, rounds: int, seed: int, callers: int = 4, window_ms: float = WINDOW_MS) -> Report:
    """SIGKILL and SIGTERM in turn, at random moments of calls that go on; the next start takes over."""
    rng = random.Random(seed)
    kills_ns: list[int] = []
    async with scene(binary) as it:
        for number in range(rounds):
            await it.start()
            async with Callers(it.server.voice_url, callers, rng):
                await asyncio.sleep(rng.uniform(0.1, 2.0))
                if number % 2:
                    await it.signal(signal.SIGTERM)
                else:
                    kills_ns.append(await it.signal(signal.SIGKILL))
        await it.start()
        await it.drained()
        await it.signal(signal.SIGTERM)
        return it.judge("kills", kills_ns, rounds, window_ms)


async def worker_kills(binary: Path, *, rounds: int, seed: int, callers: int = 4) -> Report:
    """SIGKILL of one worker of two: its neighbour closes its sessions, while it serves its own."""
    rng = random.Random(seed)
    kills_ns: list[int] = []
    async with scene(binary, "--workers", "2") as it:
        await it.start()
        async with Callers(it.server.voice_url, callers, rng):
            for _ in range(rounds):
                await asyncio.sleep(rng.uniform(0.5, 2.5))
                workers = _workers(it.server.process.pid)
                if not workers:
                    continue
                kills_ns.append(time.time_ns())
                os.kill(rng.choice(workers), signal.SIGKILL)
        await it.drained()
        await it.signal(signal.SIGTERM)
        return it.judge("worker kills", kills_ns, len(kills_ns))


async def _until(condition: Callable[[], bool], timeout_s: float = 90.0) -> None:
    """Wait; a sender that was refused for a while comes back after half a minute at the latest."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - other threads and processes bring it about
            await asyncio.sleep(0.02)


def _workers(supervisor: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, rest = status.parent.name, status.read_text().rsplit(")", 1)[1].split()
            command = (status.parent / "cmdline").read_bytes()
            if rest[0] != "Z" and rest[1] == str(supervisor) and b"spawn_main" in command:
                found.append(int(pid))
    return sorted(found)


async def outages(binary: Path, *, seed: int, seconds: float, callers: int = 3) -> Report:
    """The collector killed, restarted, hung, and answering 503, 429 and 400, all while calls go on."""
    rng = random.Random(seed)
    async with scene(binary) as it:

        async def killed() -> None:
            await asyncio.to_thread(it.collector.kill)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(it.collector.start)

        async def restarted() -> None:
            await asyncio.to_thread(it.collector.stop)
            await asyncio.to_thread(it.collector.start)

        async def hung() -> None:
            os.kill(it.collector.pid, signal.SIGSTOP)
            await asyncio.sleep(seconds + 2.0)  # longer than the sender's timeout
            os.kill(it.collector.pid, signal.SIGCONT)

        async def answering(status: int, times: int, retry_after_s: int | None = None) -> None:
            failed = it.relay.failed
            it.relay.fail_next(status, times, retry_after_s)
            await _until(lambda: it.relay.failed >= failed + times)

        faults: list[Callable[[], Awaitable[None]]] = [
            killed,
            restarted,
            hung,
            lambda: answering(503, 2),
            lambda: answering(429, 2, retry_after_s=1),
            lambda: answering(400, 2),
        ]
        await it.start()
        async with Callers(it.server.voice_url, callers, rng) as calling:
            for fault in faults:
                turns = calling.load.turns
                await fault()
                await _until(lambda turns=turns: calling.load.turns >= turns + callers)  # type: ignore[misc]
            broken = calling.load.broken
        await it.drained()
        refused = maintenance.status(it.server.store_path).rejected
        replayed = maintenance.replay(it.server.store_path)
        await it.drained()
        health = it.server.get("/healthz")
        await it.signal(signal.SIGTERM)
        report = it.judge("outages", [], len(faults))
        report.notes.append(f"{refused} records refused by 400 and replayed")
        if not refused or replayed < refused:
            report.faults.append(f"{refused} records were set aside and {replayed} replayed")
        if health["senders"]["traces"]["rejected"] != refused:
            report.faults.append(f"{health['senders']['traces']['rejected']} were counted as refused, not {refused}")
        if broken:
            report.faults.append(f"{broken} calls broke because a receiver failed")
        return report


async def arrivals(binary: Path, *, seed: int, callers: int, seconds: float) -> Report:
    """Many calls at their real pace: how soon turns and sessions are at the collector, and how late the loop is."""
    rng = random.Random(seed)
    async with scene(binary, pace="real") as it:
        await it.start()
        async with Callers(it.server.voice_url, callers, rng, pace=1.0) as calling:
            await asyncio.sleep(seconds)
        await it.drained()
        await it.signal(signal.SIGTERM)
        report = it.judge("arrivals", [], 1)
        # From when the span was ended: a turn's own end lies before that, where its last audio came.
        ended_ns = {line.span_id: line.at_ns for line in read_truth(it.server.truth) if line.kind == "end"}
        told = [s for s in it.relay.spans.all() if s.name == SESSION or s.name.startswith("Turn ")]
        took_ns = [span.received_ns - ended_ns[span.span_id] for span in told]
        report.p99_ms = percentile_ms(took_ns, 0.99)
        late_ns = [int(line) for line in it.server.lateness.read_text().splitlines()]
        late = " / ".join(f"{percentile_ms(late_ns, q) or 0:.1f}" for q in (0.5, 0.99, 1.0))
        report.notes.append(
            f"{callers} callers, {calling.load.turns} turns; event loop late by {late} ms (p50 / p99 / max)"
        )
        if calling.load.broken:
            report.faults.append(f"{calling.load.broken} calls broke")
        if report.p99_ms is None or report.p99_ms > 1000:
            report.faults.append(f"p99 of arrival is {report.p99_ms} ms: a second was promised")
        return report


async def hung_collector(binary: Path, *, seed: int, callers: int, seconds: float) -> Report:
    """The same calls with a collector that answers and with one that hangs: the event loop must not tell them apart."""
    rng = random.Random(seed)
    late: list[list[int]] = []
    async with scene(binary, pace="real") as it:
        for hangs in (False, True):
            it.server.lateness.unlink(missing_ok=True)
            await it.start()
            if hangs:
                os.kill(it.collector.pid, signal.SIGSTOP)
            async with Callers(it.server.voice_url, callers, rng, pace=1.0) as calling:
                await asyncio.sleep(seconds)
            if hangs:
                os.kill(it.collector.pid, signal.SIGCONT)
            await it.drained()
            await it.signal(signal.SIGTERM)
            late.append([int(line) for line in it.server.lateness.read_text().splitlines()])
        report = it.judge("hung collector", [], 2)
        if calling.load.broken:
            report.faults.append(f"{calling.load.broken} calls broke")
        for what, lateness_ns in zip(("answers", "hangs"), late, strict=True):
            numbers = " / ".join(f"{percentile_ms(lateness_ns, q) or 0:.1f}" for q in (0.5, 0.99, 1.0))
            report.notes.append(f"event loop late by {numbers} ms (p50 / p99 / max) while the collector {what}")
        return report
