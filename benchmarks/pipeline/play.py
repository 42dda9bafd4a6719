"""Plays real calls and incidents to the real pipeline, and reads from each destination what became of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from signal import SIGKILL

from benchmarks.pipeline.incidents import CLEAN_DAY, INCIDENTS, Incident
from benchmarks.pipeline.panels import BoardPanel, boards, by_legend, values
from benchmarks.pipeline.services import Service
from benchmarks.pipeline.stories import CLEAN

from support.caller import ask, call
from support.server import ServerProcess
from support.stack import Stack
from voicespan_server.server_messages import TurnCompleted
from voicespan_simulator.process import SimulatorProcess

SERVICE = "voicespan"
# How many times shorter the alerts' windows are here than in production.
FASTER = 20
PATIENCE_S = 90.0


@dataclass(frozen=True)
class Calls:
    """What the callers saw."""

    trace_ids: tuple[str, ...]
    turns: int


@dataclass(frozen=True)
class Arrival:
    """What one destination was owed, and has."""

    destination: str
    what: str
    owed: int
    arrived: int


@dataclass(frozen=True)
class Alarm:
    """What fired for an incident, and the series of its panel before, or on a clean day, and in it."""

    incident: Incident
    fired: frozenset[str]
    series: str
    usual: float | None
    now: float | None

    @property
    def good(self) -> bool:
        """Its own alert and no other; and the panel shows at least twice what is usual, or half of it."""
        if self.fired != {self.incident.alert} or self.now is None:
            return False
        usual = self.usual or 0.0
        return self.now >= 2 * usual > 0 or self.now > usual == 0 or self.now <= usual / 2


@dataclass(frozen=True)
class Played:
    """All of it. `clean` is what fired on the clean day; `panels` says of each whether all its queries gave data."""

    calls: Calls
    told: dict[str, int]
    arrivals: Sequence[Arrival]
    alarms: Sequence[Alarm]
    clean: frozenset[str]
    panels: Sequence[tuple[BoardPanel, dict[str, float], bool]]

    @property
    def good(self) -> bool:
        """Everything arrived, every panel has data, every incident its alert, and the clean day none."""
        return (
            all(arrival.arrived == arrival.owed for arrival in self.arrivals)
            and all(full for _, _, full in self.panels)
            and all(alarm.good for alarm in self.alarms)
            and not self.clean
        )


def run(
    stack: Stack, simulator: SimulatorProcess, *, calls: int, at_once: int, everything_shown: Callable[[], None]
) -> Played:
    """Play it all. `everything_shown` is called when the dashboards have all that they will have."""
    with server(stack, simulator) as process:
        placed = asyncio.run(place_calls(process.voice_url, calls, at_once))
        arrived = arrivals(stack, placed)
        with told_services(stack) as services:
            alarms = told_alarms(stack)
            staged = staged_alarms(stack, process)
            alarms += [next(staged), next(staged)]
            panels = panels_with_data(stack)
            everything_shown()
            alarms.append(next(staged))
    clean = fired_on_a_clean_day(stack)
    alarms += staged
    return Played(placed, {service.name: service.calls for service in services}, arrived, alarms, clean, panels)


@contextmanager
def told_services(stack: Stack) -> Iterator[list[Service]]:
    """A clean day, and each incident that is a manner of calling, all at once."""
    endpoint = stack.collector.http_endpoint
    services = [Service(CLEAN_DAY, CLEAN, endpoint, seed=0)]
    services += [Service(i.name, i.manner, endpoint, seed=n) for n, i in enumerate(INCIDENTS, 1) if i.manner]
    with ExitStack() as running:
        for service in services:
            running.enter_context(service)
        yield services


@contextmanager
def server(stack: Stack, simulator: SimulatorProcess) -> Iterator[ServerProcess]:
    """The voice server, on the simulated model, telling the collector."""
    environ = {
        "VOICESPAN_BACKEND": "simulator",
        "VOICESPAN_SIMULATOR_URL": simulator.base_url,
        "VOICESPAN_SIMULATOR_CA_FILE": str(simulator.ca_file),
        "OTEL_SERVICE_NAME": SERVICE,
        "OTEL_EXPORTER_OTLP_ENDPOINT": stack.collector.http_endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
    }
    with ServerProcess(environ) as process:
        yield process


async def place_calls(url: str, count: int, at_once: int) -> Calls:
    """Calls of two questions each."""
    gate = asyncio.Semaphore(at_once)

    async def one() -> tuple[str, int]:
        async with gate, call(url) as caller:
            await ask(caller)
            await ask(caller)
            await caller.hang_up()
            return caller.trace_id, len(caller.of(TurnCompleted))

    ended = await asyncio.gather(*(one() for _ in range(count)))
    return Calls(tuple(trace_id for trace_id, _ in ended), sum(turns for _, turns in ended))


def arrivals(stack: Stack, calls: Calls) -> list[Arrival]:
    """What each destination has of the calls; waits until it is all there, or for a minute."""
    wanted = set(calls.trace_ids)

    def at_langfuse() -> int:
        return len({s.trace_id for s in stack.langfuse.spans.all() if s.name == "WebSocket Session"} & wanted)

    def at_loki() -> int:
        return len(
            {log.trace_id for log in stack.loki.logs.all() if log.event_name == "voicespan.session.summary"} & wanted
        )

    def at_jaeger() -> int:
        # A search gives 1,500 at most, so each is asked for by its id.
        return sum(any(s.name == "WebSocket Session" for s in stack.jaeger.trace(id_)) for id_ in calls.trace_ids)

    def at_prometheus() -> int:
        return int(sum(s.value for s in stack.prometheus.query(f'sum(voicespan_turns_total{{job="{SERVICE}"}})')))

    owed: list[tuple[str, str, int, Callable[[], int]]] = [
        ("Jaeger", "traces with a call's span", len(wanted), at_jaeger),
        ("Langfuse", "traces with a call as their root", len(wanted), at_langfuse),
        ("Prometheus", "turns counted", calls.turns, at_prometheus),
        ("Loki", "summaries of calls", len(wanted), at_loki),
    ]
    return [Arrival(where, what, count, _eventually(read, count)) for where, what, count, read in owed]


def _eventually(read: Callable[[], int], count: int, timeout_s: float = 60.0) -> int:
    deadline = time.monotonic() + timeout_s
    while (found := read()) < count and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def panel_of(incident: Incident) -> BoardPanel:
    """The panel that is meant for an incident."""
    board, title = incident.panel
    [panel] = [p for each in boards() if each.uid == board for p in each.panels if p.title == title]
    return panel


def told_alarms(stack: Stack) -> list[Alarm]:
    """The incidents that are told: waits until each has its alert, then compares with the clean day."""
    told = [incident for incident in INCIDENTS if incident.manner]
    _until(lambda: {(i.alert, i.job) for i in told} <= stack.prometheus.firing())
    firing = stack.prometheus.firing()
    alarms = []
    for incident in told:
        panel = panel_of(incident)
        usual = by_legend(panel, values(stack.prometheus, panel, job=CLEAN_DAY))
        now = by_legend(panel, values(stack.prometheus, panel, job=incident.job))
        alarms.append(_alarm(incident, firing, usual, now))
    return alarms


def fired_on_a_clean_day(stack: Stack) -> frozenset[str]:
    """The alerts of the clean day's service, ever."""
    ever = stack.prometheus.query(f'last_over_time(ALERTS{{alertstate="firing", job="{CLEAN_DAY}"}}[1h])')
    return frozenset(sample.labels["alertname"] for sample in ever)


def staged_alarms(stack: Stack, process: ServerProcess) -> Iterator[Alarm]:
    """The incidents that happen to programs, one after the other; the last ends the collector.

    While calls are told: Langfuse's need something that is sent to it.
    """
    by_name = {incident.name: incident for incident in INCIDENTS}

    def happens(name: str, what: Callable[[], object]) -> Alarm:
        incident = by_name[name]
        panel = panel_of(incident)
        _until(lambda: not any(job == incident.job for _, job in stack.prometheus.firing()))
        usual = by_legend(panel, values(stack.prometheus, panel))
        what()
        _until(lambda: (incident.alert, incident.job) in stack.prometheus.firing())
        now = by_legend(panel, values(stack.prometheus, panel))
        return _alarm(incident, stack.prometheus.firing(), usual, now)

    def kill_in_a_call() -> None:
        async def dial_and_die() -> None:
            async with call(process.voice_url) as caller:
                await ask(caller)
                await asyncio.to_thread(process.signal, SIGKILL)

        asyncio.run(dial_and_die())
        process.start()

    yield happens("worker-killed", kill_in_a_call)
    yield happens("langfuse-refuses", lambda: stack.langfuse.fail_next(401))
    yield happens("langfuse-away", stack.langfuse.stop)
    stack.langfuse.start()
    yield happens("collector-down", stack.collector.kill)


def _alarm(incident: Incident, firing: set[tuple[str, str]], usual: dict[str, float], now: dict[str, float]) -> Alarm:
    fired = frozenset(alert for alert, job in firing if job == incident.job)
    if not now:
        return Alarm(incident, fired, "", None, None)
    # The series that stands out most.
    series = max(now, key=lambda name: now[name] / (usual.get(name) or 1e-9))
    return Alarm(incident, fired, series, usual.get(series), now[series])


def _until(predicate: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not predicate() and time.monotonic() < deadline:
        time.sleep(0.5)


def panels_with_data(stack: Stack) -> Sequence[tuple[BoardPanel, dict[str, float], bool]]:
    """Every panel, what it would show, and whether each of its queries gives something."""
    found = []
    for board in boards():
        for panel in board.panels:
            answers = values(stack.prometheus, panel)
            found.append((panel, by_legend(panel, answers), all(answers)))
    return found
