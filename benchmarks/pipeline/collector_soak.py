"""A steady load through the real collector: what came of it, and whether anything in the collector grows."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pipeline.load import Backends, Load
from benchmarks.soak.growth import Growth, growth

from support.collector import CollectorProcess

SENDERS = 4  # the collector works on a request with one core: one sender would wait for it
LOOK_EVERY_S = 1.0
DELIVERED_WITHIN_S = 60.0
ROWS = 20
# What the medians of both halves after warm-up may differ by, beside three per cent of the first: Go's heap breathes.
SPARE_MIB = 24.0
SPARE_REQUESTS = 20.0


@dataclass(frozen=True, slots=True)
class CollectorLook:
    """What the collector says of itself, `at_s` seconds into the load. Jaeger's queue is counted in requests."""

    at_s: float
    cpu_s: float
    memory_mib: float
    langfuse_queue_mib: float
    jaeger_queue: float


@dataclass(frozen=True)
class Soaked:
    """What was sent at what rate, what each backend has of it, and the looks."""

    asked_rate: float
    sent: int
    took_s: float
    jaeger: int
    langfuse: int
    looks: Sequence[CollectorLook]

    @property
    def lost(self) -> int:
        """Spans that a backend has not got, over both."""
        return 2 * self.sent - self.jaeger - self.langfuse

    @property
    def rate(self) -> float:
        """Spans a second that the collector took; less than was asked for where it, or the machine, was too slow."""
        return self.sent / self.took_s

    @property
    def grown(self) -> list[Growth]:
        """Of memory and queues, what grows."""
        spares = {"memory_mib": SPARE_MIB, "langfuse_queue_mib": SPARE_MIB, "jaeger_queue": SPARE_REQUESTS}
        return [found for name, spare in spares.items() if (found := growth(name, self.looks, spare)).grows]

    @property
    def kept_pace(self) -> bool:
        """Within a twentieth."""
        return self.rate > 0.95 * self.asked_rate

    @property
    def good(self) -> bool:
        """Nothing lost, nothing grown, and it was the load that was asked for."""
        return self.lost == 0 and not self.grown and self.kept_pace


def soak(binary: Path, *, rate: float, seconds: float) -> Soaked:
    """So many spans a second for so long, through the full configuration, with backends that are there all the time."""
    load = Load()
    looks: list[CollectorLook] = []
    with (
        Backends() as backends,
        CollectorProcess(binary, env=backends.env) as collector,
        ThreadPoolExecutor(SENDERS) as threads,
    ):
        began_s = time.monotonic()
        senders = [
            threads.submit(
                load.send_paced,
                collector.http_endpoint,
                rate=rate / SENDERS,
                seconds=seconds,
                after_s=number * load.spans / rate,
            )
            for number in range(SENDERS)
        ]
        while wait(senders, LOOK_EVERY_S).not_done:
            looks.append(look_at(collector, time.monotonic() - began_s))
        took_s = time.monotonic() - began_s
        sent = sum(sender.result() for sender in senders)
        for tally in (backends.jaeger, backends.langfuse):
            tally.wait_for(sent, DELIVERED_WITHIN_S)
        return Soaked(rate, sent, took_s, backends.jaeger.count, backends.langfuse.count, looks)


def look_at(collector: CollectorProcess, at_s: float) -> CollectorLook:
    """Its own metrics, now."""
    told = collector.metrics()
    return CollectorLook(
        at_s=at_s,
        cpu_s=value(told, "otelcol_process_cpu_seconds"),
        memory_mib=value(told, "otelcol_process_memory_rss") / 2**20,
        langfuse_queue_mib=value(told, "otelcol_exporter_queue_size", "otlp_http/langfuse") / 2**20,
        jaeger_queue=value(told, "otelcol_exporter_queue_size", "otlp_grpc/jaeger"),
    )


def value(exposition: str, name: str, exporter: str = "") -> float:
    """The one series of a name, or of a name and an exporter."""
    labels = rf'{{.*exporter="{exporter}".*}}' if exporter else r"(?:{.*})?"
    [found] = re.findall(rf"^{name}{labels} (\S+)$", exposition, re.MULTILINE)
    return float(found)


def table(soaked: Soaked) -> Iterator[str]:
    """At most twenty rows: CPU on average, the rest at its greatest, each since the row before."""
    yield "   at s  cores  RSS MiB  Langfuse's queue MiB  Jaeger's queue"
    step = -(-len(soaked.looks) // ROWS)
    for first in range(0, len(soaked.looks) - 1, step):
        looks = soaked.looks[first : first + step + 1]
        yield (
            f"{looks[-1].at_s:7.0f}{cores(looks):7.2f}{max(look.memory_mib for look in looks):9.0f}"
            f"{max(look.langfuse_queue_mib for look in looks):22.1f}{max(look.jaeger_queue for look in looks):16.0f}"
        )
    for found in soaked.grown:
        yield f"{found.name} grows: {found.before:.1f}, later {found.after:.1f}, {found.per_hour:+.1f} an hour"
    if not soaked.kept_pace:
        yield f"the pace was not kept: {soaked.rate:.0f} spans a second instead of {soaked.asked_rate:.0f}"


def cores(looks: Sequence[CollectorLook]) -> float:
    """CPU time for each second between the first look and the last."""
    return (looks[-1].cpu_s - looks[0].cpu_s) / (looks[-1].at_s - looks[0].at_s)


def last_line(soaked: Soaked) -> str:
    """What came of it."""
    memory = [look.memory_mib for look in soaked.looks]
    return (
        f"soak: {soaked.sent} spans sent, {soaked.rate:.0f} a second, "
        f"{soaked.jaeger} at Jaeger, {soaked.langfuse} at Langfuse, {soaked.lost} lost; "
        f"{cores(soaked.looks):.2f} of a core, {statistics.median(memory):.0f} MiB (at most {max(memory):.0f}), "
        f"queues at most {max(look.langfuse_queue_mib for look in soaked.looks):.1f} MiB "
        f"and {max(look.jaeger_queue for look in soaked.looks):.0f} requests"
    )
