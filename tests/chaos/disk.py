"""The store's disk: full for a while, and a backlog as an outage of ten minutes leaves it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider

from chaos.load import Callers
from chaos.suites import scene
from chaos.verdict import Report, Witnessed, judge
from support.otlp_sink import OtlpHttpSink
from voicespan import conventions as c
from voicespan.sdk.endpoint import Endpoint
from voicespan.sdk.processors import StoreProcessor
from voicespan.sdk.sender import Sender
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store
from voicespan.sdk.transport import transport_for

# Several times what the store writes in a run on the quickest machine: it is to be full of something else alone.
DISK_BYTES = 32 << 20


@contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of some megabytes. Only root can mount one: `os.geteuid` tells.

    Raises:
        PermissionError: it cannot be mounted here.
    """
    with tempfile.TemporaryDirectory(prefix="voicespan-disk-") as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder], capture_output=True, check=False
        )
        if mounted.returncode:
            raise PermissionError(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """Take what room there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 12))
        except OSError:
            return ballast


async def full_disk(binary: Path, *, seed: int, callers: int, seconds: float) -> Report:
    """The disk is full while calls go on, and is freed again: what ended meanwhile arrives all the same."""
    rng = random.Random(seed)
    with small_disk() as disk:
        async with scene(binary, VOICESPAN_STORE_PATH=str(disk / "traces.db")) as it:
            it.server.store_path = disk / "traces.db"
            await it.start()
            async with Callers(it.server.voice_url, callers, rng) as calling:
                await asyncio.sleep(seconds / 2)
                turns = calling.load.turns
                ballast = await asyncio.to_thread(fill, disk)
                await asyncio.sleep(seconds)
                ballast.unlink()
                during = calling.load.turns - turns
                await asyncio.sleep(seconds / 2)
                broken = calling.load.broken
            health = await asyncio.to_thread(it.server.get, "/healthz")
            await it.drained()
            await it.signal(signal.SIGTERM)
            report = it.judge("full disk", [], 1)
            said = "the store cannot be written (database or disk is full)" in it.server.log
    report.notes.append(f"{during} turns while the disk was full")
    if broken or not during:
        report.faults.append(f"{broken} calls broke, {during} turns went on")
    if not said:
        report.faults.append("a full disk was not told of")
    if health["store"]["dropped"]:
        report.faults.append(f"{health['store']['dropped']} records were dropped")
    return report


def backlog(spans: int, folder: Path) -> Report:
    """Ten minutes of load queue up while nobody receives, and leave in order once somebody does."""
    store = Store(folder / "backlog.db", send=[Signal.TRACES])
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(StoreProcessor(store))
    tracer = provider.get_tracer(c.SCOPE)
    text = os.urandom(600).hex()  # about what a turn with its words weighs
    truth = []
    sink = OtlpHttpSink()
    sink.start()
    sink.stop()
    sender = Sender(store, transport_for(Endpoint(f"{sink.base_url}/v1/traces")))
    for number in range(spans):
        span = tracer.start_span("Turn 1", attributes={"n": number, "text": text})
        span.end()
        context = span.get_span_context()
        truth.append(Witnessed("end", f"{context.trace_id:032x}", f"{context.span_id:016x}", time.time_ns(), "Turn 1"))
        if number % 2_000 == 1_999 and not store.flush(30):
            raise AssertionError("the store does not keep up")
    store.flush(30)
    queued = store.queued(Signal.TRACES)
    began = time.monotonic()
    with sink:
        received = sink.spans.wait_count(spans, 120)
        took_s = time.monotonic() - began
        sent = sender.stop(10)
    store.close()
    report = judge("backlog", truth, received)
    report.notes.append(f"{queued} spans queued, gone {took_s:.1f} s after the receiver came back")
    if queued != spans or not sent:
        report.faults.append(f"{queued} of {spans} spans were queued, all sent: {sent}")
    if [span.attributes["n"] for span in received] != list(range(spans)):
        report.faults.append("they did not arrive in order")
    return report
