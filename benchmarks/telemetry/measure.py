"""The measurements: CPU time with instrumentation less CPU time without, and memory."""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.telemetry.line import AUDIO, FRAME, Line, cut, dial, turn
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from voicespan.instrumentor import GeminiLiveInstrumentor
from voicespan.live_settings import LiveSettings
from voicespan.sdk.pipeline import Pipeline, configure

SETTINGS = LiveSettings(stall_after_s=10.0)
# Metrics are aggregated in full: the pipeline, where they go nowhere, measures nothing.
METERS = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)


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
        meter_provider=METERS,
        logger_provider=running.logger_provider,
        settings=SETTINGS,
    )
    try:
        yield
    finally:
        instrumentor.uninstrument()


@dataclass(frozen=True)
class Added:
    """Seconds of CPU that many short blocks of `count` things each took, with instrumentation and as many without.

    Other programs can only make a block slower, so what counts is the lowest tenth of those with it less that of those
    without; the medians show how busy the machine was.
    """

    on: Sequence[float]
    off: Sequence[float]
    count: int

    def __add__(self, other: Added) -> Added:
        """The blocks of both, which are of as many things."""
        return Added([*self.on, *other.on], [*self.off, *other.off], self.count)

    @property
    def lowest(self) -> float:
        """Seconds that instrumentation adds to one thing."""
        return self._each(lambda blocks: sorted(blocks)[len(blocks) // 10])

    @property
    def median(self) -> float:
        """The same of the median blocks."""
        return self._each(statistics.median)

    def _each(self, rank: Callable[[Sequence[float]], float]) -> float:
        return (rank(self.on) - rank(self.off)) / self.count


async def frames(line: Line, blocks: int, count: int) -> Added:
    """An audio frame that is sent."""
    on, off = [], []
    async with dial() as session:
        for _ in range(blocks):
            began = time.thread_time()
            for _ in range(count):
                await line.send(session, audio=FRAME)
            between = time.thread_time()
            for _ in range(count):
                await session.send_realtime_input(audio=FRAME)
            on.append(time.thread_time() - between)
            off.append(between - began)
    return Added(on, off, count)


async def messages(line: Line, blocks: int, count: int) -> Added:
    """An audio message that is received, in the middle of an answer."""
    on, off = [], []
    line.next = AUDIO
    async with dial() as session:
        await session._receive()
        for _ in range(blocks):
            began = time.thread_time()
            for _ in range(count):
                await line.receive(session)
            between = time.thread_time()
            for _ in range(count):
                await session._receive()
            on.append(time.thread_time() - between)
            off.append(between - began)
    return Added(on, off, count)


async def turns(line: Line, running: Pipeline, blocks: int, count: int, apart_s: float) -> Added:
    """A turn, in all threads: what the writer and the sender do for it too, to the last span.

    With none between them, turns follow each other as the others' figures were measured, and are written together.
    Some milliseconds apart each is written on its own, by threads that find the processor's caches cold.
    """
    on, off = [], []
    async with dial() as session:
        for _ in range(blocks):
            for taken, work in ((off, False), (on, True)):
                began = time.process_time()
                for _ in range(count):
                    if work:
                        await turn(session, line)
                    await asyncio.sleep(apart_s)
                waiting_s = await asyncio.to_thread(everything_out, running)
                taken.append(time.process_time() - began - waiting_s)
    return Added(on, off, count)


def everything_out(running: Pipeline) -> float:
    """Returns when all is written and accepted: the seconds of CPU that looking for it took, which are not a turn's."""
    began_s = time.thread_time()
    running.store.flush(30)
    deadline_s = time.monotonic() + 30
    while any(running.store.stats().queued.values()):
        if time.monotonic() > deadline_s:
            raise TimeoutError("the receiver did not take everything in 30 s")
        time.sleep(0.02)
    return time.thread_time() - began_s


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
