"""`python -m benchmarks.sessions`: what a page of sessions and a usage report take over 10,000 sessions."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from voicespan import conventions as c
from voicespan.sdk.records import Record
from voicespan.sdk.session_reading import Wanted, sessions_of
from voicespan.sdk.signals import Signal
from voicespan.sdk.store import Store

# A span of a session or a turn with its words weighs that much, a tool's less.
SHAPE = [(c.WEBSOCKET_SESSION, 50, 4_000), *((f"Turn {turn}", 30, 1_500) for turn in range(1, 6))]
SHAPE += [("tool-search_nearby", 10, 500)] * 3
HOUR_NS = 3_600 * 10**9


def fill(store: Store, sessions: int) -> None:
    """Store that many, an hour's after the other of a month."""
    for number in range(sessions):
        end_ns = time.time_ns() - (number % 720) * HOUR_NS
        store.append(*(_record(number, name, size, pad, end_ns) for name, size, pad in SHAPE))
        if number % 500 == 499:
            store.flush(60)
    store.flush(60)


def _record(number: int, name: str, attributes: int, pad: int, end_ns: int) -> Record:
    said = {c.SESSION_ID: f"s-{number}", c.USER_ID: f"u-{number % 100}", c.KEY_ID: f"k-{number % 5}"}
    said |= {c.BACKEND: "gemini", c.MODEL: "gemini-3.8-live", c.LF_INPUT: "x" * pad}
    said[c.SESSION_USAGE] = '{"input_audio":1200,"output_audio":900,"total":2100}'
    span = Span(
        name=name,
        trace_id=(number + 1).to_bytes(16, "big"),
        span_id=os.urandom(8),
        start_time_unix_nano=end_ns - 60 * 10**9,
        end_time_unix_nano=end_ns,
        attributes=[KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in said.items()],
    )
    numbers = {c.SESSION_COST: 0.02, **{f"voicespan.session.number{index}": 1.0 for index in range(attributes)}}
    span.attributes.extend(KeyValue(key=key, value=AnyValue(double_value=value)) for key, value in numbers.items())
    ids = (span.trace_id.hex(), span.span_id.hex(), "")
    times = (span.start_time_unix_nano, span.end_time_unix_nano)
    return Record(Signal.TRACES, b"", b"", span.SerializeToString(), *ids, f"s-{number}", name, *times)


def lowest_ms(do: Callable[[], object], times: int = 15) -> float:
    """The shortest of several runs: what the work takes, without what else the machine does."""

    def once() -> float:
        began = time.perf_counter()
        do()
        return (time.perf_counter() - began) * 1000

    return min(once() for _ in range(times))


def main() -> None:
    """Fill a store, and print a line for each query."""
    sessions = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "voicespan.db")
        fill(store, sessions)
        print(f"{sessions} sessions, {store.stats().size_bytes >> 20} MiB")
        with sessions_of(store) as reading:
            newest = reading.latest(Wanted(), 1)[0]
            rows = {
                "a page of 50": lambda: reading.latest(Wanted(), 50),
                "a page of 50 of one user": lambda: reading.latest(Wanted(user_id="u-7"), 50),
                "one session": lambda: reading.one(newest.session_id),
                "its spans": lambda: reading.spans(newest.session_id),
                "usage by day, model and key": lambda: reading.usage(("day", "model", "key"), None, None),
                "the day's bills": lambda: reading.bills(0, time.time_ns() - 24 * HOUR_NS, simulated_too=False),
            }
            for what, do in rows.items():
                print(f"{what:<30} {lowest_ms(do):8.2f} ms")
        store.close()


if __name__ == "__main__":
    main()
