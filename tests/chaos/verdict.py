"""What ended against what arrived: lost, repeated, unfinished, miscounted."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.received import ReceivedSpan

# What is promised to be on disk that long after it ended, where the process gets a processor when it asks for one.
WINDOW_MS = 50.0
# A kill between a receiver's answer and the store's note of it repeats that batch: the sender's bound.
MAX_BATCH = 512
SESSION = "WebSocket Session"


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A line of the truth file."""

    kind: str
    trace_id: str
    span_id: str
    at_ns: int
    name: str


@dataclass(slots=True)
class Report:
    """A suite's numbers; `faults` is empty where every promise was kept."""

    name: str
    runs: int
    ended: int = 0
    received: int = 0
    lost: int = 0
    lost_in_window: int = 0
    window_ms: float = 0.0
    repeated: int = 0
    recovered: int = 0
    p99_ms: float | None = None
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_truth(path: Path) -> list[Witnessed]:
    """What the server said of itself, in order."""
    found = []
    for line in path.read_text().splitlines():
        kind, trace_id, span_id, at_ns, name = line.split(" ", 4)
        found.append(Witnessed(kind, trace_id, span_id, int(at_ns), name))
    return found


def judge(
    name: str,
    truth: Sequence[Witnessed],
    received: Sequence[ReceivedSpan],
    kills_ns: Sequence[int] = (),
    *,
    runs: int = 1,
    window_ms: float = WINDOW_MS,
) -> Report:
    """Compare. What ended within the window before one of `kills_ns`, the SIGKILLs, may be lost: it counts apart."""
    report = Report(name, runs)
    copies: dict[str, list[ReceivedSpan]] = defaultdict(list)
    for span in received:
        copies[span.span_id].append(span)
    ended = {line.span_id: line for line in truth if line.kind == "end"}
    report.ended = len(ended)
    report.received = len(ended.keys() & copies.keys())
    for line in ended.values():
        if line.span_id not in copies:
            _missing(report, line, kills_ns, window_ms)
    report.repeated = sum(len(spans) - 1 for spans in copies.values())
    for spans in copies.values():
        if len({span.raw for span in spans}) > 1:
            report.faults.append(f"{spans[0].name} {spans[0].span_id} arrived in two versions")
    if kills_ns and report.repeated > MAX_BATCH * runs:
        report.faults.append(f"{report.repeated} repeats are more than a batch for each kill")
    _check_sessions(report, truth, copies, kills_ns, window_ms)
    kept_ns = [
        line.at_ns - ended[line.span_id].at_ns for line in truth if line.kind == "kept" and line.span_id in ended
    ]
    if kept_ns:
        took = " / ".join(f"{percentile_ms(kept_ns, q):.0f}" for q in (0.5, 0.99, 1.0))
        report.notes.append(f"on disk {took} ms after its end (p50 / p99 / max)")
    return report


def _missing(report: Report, line: Witnessed, kills_ns: Sequence[int], window_ms: float) -> None:
    before_ns = min((kill_ns - line.at_ns for kill_ns in kills_ns if kill_ns >= line.at_ns), default=None)
    if before_ns is not None and before_ns / 1e6 <= window_ms:
        report.lost_in_window += 1
        report.window_ms = max(report.window_ms, before_ns / 1e6)
        return
    report.lost += 1
    when = "" if before_ns is None else f", {before_ns / 1e6:.1f} ms before a kill"
    report.faults.append(f"lost: {line.name} {line.span_id}{when}")


def _check_sessions(
    report: Report,
    truth: Sequence[Witnessed],
    copies: dict[str, list[ReceivedSpan]],
    kills_ns: Sequence[int],
    window_ms: float,
) -> None:
    traces: dict[str, list[ReceivedSpan]] = defaultdict(list)
    for spans in copies.values():
        traces[spans[0].trace_id].append(spans[0])
    for line in truth:
        if line.kind != "start" or line.name != SESSION:
            continue
        if line.span_id in copies:
            session = copies[line.span_id][0]
            report.recovered += session.attributes.get("error.type") == "process_died"
            report.faults += _miscounted(session, traces[session.trace_id])
        elif not any(0 <= (kill_ns - line.at_ns) / 1e6 <= window_ms for kill_ns in kills_ns):
            report.faults.append(f"a session was never closed: trace {line.trace_id}")


def _miscounted(session: ReceivedSpan, trace: Sequence[ReceivedSpan]) -> list[str]:
    """A session's sums are those of the turns that ended, also where it was closed by another process."""
    turns = [s for s in trace if s.name.startswith("Turn ") and s.attributes.get("error.type") != "process_died"]
    told = session.attributes.get("voicespan.session.turns", 0)
    faults = []
    if told != len(turns):
        faults.append(f"{told} turns are told of, {len(turns)} arrived: trace {session.trace_id}")
    summed: Counter[str] = Counter()
    for turn in turns:
        summed.update(json.loads(str(turn.attributes.get("langfuse.observation.usage_details", "{}"))))
    usage = Counter(json.loads(str(session.attributes.get("voicespan.session.usage_details", "{}"))))
    if +usage != +summed:
        faults.append(f"usage {dict(usage)} is told of, {dict(summed)} arrived: trace {session.trace_id}")
    return faults


def percentile_ms(values_ns: Sequence[int], q: float) -> float | None:
    """The nearest-rank percentile, in milliseconds."""
    ordered = sorted(values_ns)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] / 1e6 if ordered else None
