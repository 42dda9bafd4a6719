"""`python -m benchmarks.pipeline.collector_cost`: what a span costs the real collector, in CPU and memory.

CPU time, not wall time, so that it does not matter what else the machine does. Calls as `stories` tells them are sent
again and again under new ids; Jaeger and Langfuse are stand-ins that take everything.

With --soak the load is steady, and the exit code is 1 where a span is lost, something grows, or the pace
is not kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.pipeline.collector_soak import last_line, look_at, soak, table
from benchmarks.pipeline.load import CALLS, Backends, Load

from support.collector import CONFIG, REPOSITORY, CollectorProcess

PATIENCE_S = 300.0
SAMPLING = REPOSITORY / "deploy/collector/sampling.yaml"


def cost(binary: Path, requests: int) -> None:
    """CPU and memory of what passes."""
    load = Load()
    with Backends() as backends, CollectorProcess(binary, env=backends.env) as collector:
        before = look_at(collector, 0)
        for _ in range(requests):
            load.send(collector.http_endpoint)
        sent = load.spans * requests
        if not (backends.jaeger.wait_for(sent, PATIENCE_S) and backends.langfuse.wait_for(sent, PATIENCE_S)):
            raise SystemExit("not all of it arrived")
        after = look_at(collector, 0)
    cpu_s = after.cpu_s - before.cpu_s
    print(f"{sent} spans of {load.span_bytes} bytes: {cpu_s / sent * 1e6:.0f} us CPU each, ", end="")
    print(f"{sent / cpu_s:.0f} spans per second and core; {after.memory_mib:.0f} MiB resident")


def outage(binary: Path, requests: int) -> None:
    """Memory and disk while Langfuse is away, and when it is back. What is told is as much as an outage queues."""
    load = Load()
    with Backends() as backends, CollectorProcess(binary, env=backends.env) as collector:
        backends.stop_langfuse()
        for _ in range(requests):
            load.send(collector.http_endpoint)
        sent = load.spans * requests
        memory_mib = look_at(collector, 0).memory_mib
        disk = sum(path.stat().st_size for path in collector.storage.rglob("*") if path.is_file())
        print(f"{sent} spans of {load.span_bytes} bytes while Langfuse was away: ", end="")
        print(f"{disk / 2**20:.0f} MiB on disk, {memory_mib:.0f} MiB resident")
        backends.start_langfuse()
        began_s = time.monotonic()
        while not backends.langfuse.wait_for(sent, 1) and time.monotonic() - began_s < PATIENCE_S:
            memory_mib = max(memory_mib, look_at(collector, 0).memory_mib)
        arrived = backends.langfuse.count
    print(f"{arrived} of them were there {time.monotonic() - began_s:.0f} s after it was back, ", end="")
    print(f"{memory_mib:.0f} MiB resident at the most")


def sampling(binary: Path, requests: int) -> None:
    """Memory while calls wait that Jaeger shall not keep: of the rest, none is."""
    load = Load()
    with (
        Backends() as backends,
        CollectorProcess(
            binary, env={**backends.env, "OTELCOL_SAMPLING_PERCENT": "0"}, configs=(CONFIG, SAMPLING)
        ) as collector,
    ):
        for _ in range(requests):
            load.send(collector.http_endpoint)
        sent = load.spans * requests
        if not backends.langfuse.wait_for(sent, PATIENCE_S):
            raise SystemExit("not all of it arrived")
        memory_mib, waiting = look_at(collector, 0).memory_mib, sent - backends.jaeger.count
    print(f"{sent} spans of {load.span_bytes} bytes, {waiting} of them waiting: {memory_mib:.0f} MiB resident")


def main() -> int:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, help=f"of {CALLS} calls each (300; otherwise 640)")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--outage", action="store_true", help="what waits: ten minutes of 1,000 sessions' spans")
    mode.add_argument("--sampling", action="store_true", help="what waits where Jaeger's calls are sampled")
    mode.add_argument("--soak", action="store_true", help="a steady load, and whether anything grows")
    parser.add_argument("--minutes", type=float, default=10.0, help="of --soak (10)")
    parser.add_argument("--rate", type=float, default=2000.0, help="spans a second of --soak (2000)")
    options = parser.parse_args()
    binary = Path(subprocess.check_output([REPOSITORY / "scripts/build-collector"], text=True).strip())
    if options.soak:
        soaked = soak(binary, rate=options.rate, seconds=options.minutes * 60)
        print("\n".join([*table(soaked), last_line(soaked)]))
        return 0 if soaked.good else 1
    if options.sampling:
        sampling(binary, options.requests or 640)
    elif options.outage:
        outage(binary, options.requests or 640)  # 190 spans a second
    else:
        cost(binary, options.requests or 300)
    return 0


if __name__ == "__main__":
    sys.exit(main())
