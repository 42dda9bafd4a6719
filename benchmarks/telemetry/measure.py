"""The measurements: CPU time with instrumentation less CPU time without, and memory."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from benchmarks.telemetry.line import AUDIO, FRAME, Line, cut, dial, turn

from voicespan.instrumentor import GeminiLiveInstrumentor
from voicespan.live_settings import LiveSettings
from voicespan.sdk.pipeline import Pipeline, configure

SETTINGS = LiveSettings(stall_after_s=10.0)
Block = Callable[[Line], Awaitable[float]]


@contextmanager
def pipeline(endpoint: str | None) -> Iterator[Pipeline]:
    """The library's own SDK side: a store in a file, and OTLP to a receiver in another process."""
    environ = {"OTEL_METRICS_EXPORTER": "none"}
    if endpoint:
        environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    with tempfile.TemporaryDirectory(prefix="voicespan-bench-") as folder:
        running = configure(Path(folder) / "traces.db", service_version="bench", set_global=False, environ=environ)
        try:
            yield running
        finally:
            running.shutdown(10)


@contextmanager
def receiver() -> Iterator[str]:
    """An OTLP receiver that takes everything, in a process of its own, so that its CPU time is not ours."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.telemetry.receiver"], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
        process.terminate()


@contextmanager
def instrumented(running: Pipeline) -> Iterator[None]:
    """google-genai is instrumented while the block lasts."""
    instrumentor = GeminiLiveInstrumentor()
    instrumentor.instrument(
        tracer_provider=running.tracer_provider,
        meter_provider=running.meter_provider,
        logger_provider=running.logger_provider,
        settings=SETTINGS,
    )
    try:
        yield
    finally:
        instrumentor.uninstrument()


def added_s(block: Block, running: Pipeline, blocks: int) -> list[float]:
    """CPU seconds that instrumentation adds to a block: pairs of blocks, one with and one without, in turn."""
    found: list[float] = []
    with cut() as line:
        for _ in range(blocks):
            without = asyncio.run(measured(block, line))
            with instrumented(running):
                found.append(asyncio.run(measured(block, line)) - without)
    return found


async def measured(block: Block, line: Line) -> float:
    """CPU seconds of a block."""
    gc.collect()
    return await block(line)


def frames(count: int) -> Block:
    """So many audio frames sent in one session."""

    async def block(_: Line) -> float:
        async with dial() as session:
            began = time.thread_time()
            for _ in range(count):
                await session.send_realtime_input(audio=FRAME)
            return time.thread_time() - began

    return block


def messages(count: int) -> Block:
    """So many audio messages received in one session, in the middle of an answer."""

    async def block(line: Line) -> float:
        line.next = AUDIO
        async with dial() as session:
            await session._receive()
            began = time.thread_time()
            for _ in range(count):
                await session._receive()
            return time.thread_time() - began

    return block


def turns(count: int, running: Pipeline) -> Block:
    """So many turns, all threads: what the writer and the sender do for them too, to the last span."""

    async def block(line: Line) -> float:
        began = time.process_time()
        async with dial() as session:
            for _ in range(count):
                await turn(session, line)
                # Turns come one at a time in a call: each is written on its own, and some leave in one request.
                await asyncio.sleep(0.01)
        await asyncio.to_thread(everything_out, running)
        return time.process_time() - began

    return block


def everything_out(running: Pipeline) -> None:
    """Returns when all is written and accepted."""
    running.store.flush(30)
    deadline_s = time.monotonic() + 30
    while any(running.store.queued(signal) for signal in running.endpoints):
        if time.monotonic() > deadline_s:
            raise TimeoutError("the receiver did not take everything in 30 s")
        time.sleep(0.02)


def kib_per_session(sessions: int, turns_each: int) -> float:
    """Memory of an open session after some turns, by tracemalloc; what waits in the store's queue is written first."""

    async def held(line: Line, running: Pipeline) -> float:
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(dial()) for _ in range(sessions)]
            for session in opened:
                for _ in range(turns_each):
                    await turn(session, line)
            running.store.flush(30)
            gc.collect()
            return tracemalloc.get_traced_memory()[0] / 1024

    with pipeline(None) as running, cut() as line:
        with instrumented(running):
            asyncio.run(held(line, running))  # what is made once
        tracemalloc.start()
        try:
            without = asyncio.run(held(line, running))
            with instrumented(running):
                return (asyncio.run(held(line, running)) - without) / sessions
        finally:
            tracemalloc.stop()


def median(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def quartiles(values: list[float]) -> tuple[float, float]:
    """The first and the third."""
    first, _, third = statistics.quantiles(values, n=4)
    return first, third


def commit() -> str:
    """What was measured."""
    known = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return known.stdout.strip() or os.environ.get("VOICESPAN_COMMIT", "unknown")
