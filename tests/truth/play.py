"""Plays cases against one simulator, some at a time, and compares what was told with what was done."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from google import genai
from google.genai import types

from support.telling import Recorder
from truth.acts import DEVELOPER, Case, Service
from truth.deeds import read_deeds
from truth.driver import Driver, ScriptError, stall_after_s
from truth.expected import expected_of
from truth.fields import Compared, compare
from truth.instrumented import can_be, instrumented, seen_from_outside
from truth.told import told_by
from voicespan import Capture
from voicespan_simulator.deeds import ConnectionDeed
from voicespan_simulator.lateness import Lateness
from voicespan_simulator.process import SimulatorProcess

AT_A_TIME = 5
WORDS_ON_SPANS = Capture(on_spans=True)
# However busy the machine is: what is told of a wrong moment differs by more (driver.PAUSE_S).
MOST_LATE_S = 0.18

TIMES_AGAIN, MOST_AGAIN = 2, 25
WARM_UP = Case("warm-up", "one_tool", "SAY TC")


@dataclass(frozen=True)
class Played:
    """A case with one model, and its fields; `problem` where it could not be played."""

    case: Case
    service: Service
    fields: tuple[Compared, ...]
    problem: str | None = None
    instrumented: bool = False

    @property
    def name(self) -> str:
        dialect = "vertex" if self.service[0] else "developer"
        return f"{self.case.name}, {dialect} {self.service[1]}" + ", instrumented" * self.instrumented

    @property
    def wrong(self) -> list[Compared]:
        return [field for field in self.fields if not field.equal]

    @property
    def failed(self) -> bool:
        return self.problem is not None or bool(self.wrong)

    @property
    def only_clocks(self) -> bool:
        """Whether what is wrong can be a busy machine's doing: when something was, or whether it was a stall."""
        timed = "STALL" in self.case.acts or all(field.clock for field in self.wrong)
        return self.problem is None and bool(self.wrong) and timed


def play(cases: Sequence[Case], at_a_time: int = AT_A_TIME) -> list[Played]:
    """All of them with all of their models, in their order; the program tells a session of its own."""
    played: list[Played] = []
    with _simulator() as (simulator, deeds):
        outcomes = asyncio.run(_play_all(cases, simulator, at_a_time, WORDS_ON_SPANS))
        done = deeds()
    for label, (case, service, outcome) in outcomes.items():
        if isinstance(outcome, str):
            played.append(Played(case, service, (), outcome))
        else:
            fields = compare(expected_of(done[label]), told_by(outcome.recorder), _late_s(outcome, done[label]))
            played.append(Played(case, service, tuple(fields)))
    return played


def play_instrumented(cases: Sequence[Case], at_a_time: int = AT_A_TIME) -> list[Played]:
    """As `play`, but the program tells nothing: google-genai is instrumented. Metrics are not compared."""
    played: list[Played] = []
    seen = [case for case in cases if can_be(case)]
    for limit_s in sorted(set(map(stall_after_s, seen))):
        some = [case for case in seen if stall_after_s(case) == limit_s]
        with _simulator() as (simulator, deeds):
            with instrumented(WORDS_ON_SPANS, limit_s) as recorder:
                outcomes = asyncio.run(_play_all(some, simulator, at_a_time, WORDS_ON_SPANS, tells=False))
            done = deeds()
        told = told_by(recorder)
        for label, (case, service, outcome) in outcomes.items():
            if isinstance(outcome, str):
                played.append(Played(case, service, (), outcome, instrumented=True))
            else:
                expected = seen_from_outside(expected_of(done[label]))
                fields = compare(expected, told.of_session(label), _late_s(outcome, done[label]))
                played.append(Played(case, service, tuple(fields), instrumented=True))
    return played


@contextmanager
def _simulator() -> Iterator[tuple[SimulatorProcess, Callable[[], dict[str, list[ConnectionDeed]]]]]:
    """A simulator, and what ends it and reads its deeds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "deeds.jsonl"
        file.touch()
        with SimulatorProcess(pace="fast", deeds=file) as simulator:

            def deeds() -> dict[str, list[ConnectionDeed]]:
                simulator.stop()
                return read_deeds(file)

            yield simulator, deeds


def _late_s(driver: Driver, connections: Sequence[ConnectionDeed]) -> float:
    """How late both processes ran while a call lasted, in seconds."""
    return min(driver.late_s + max(connection.late_ms for connection in connections) / 1000, MOST_LATE_S)


Play = Callable[[Sequence[Case], int], list[Played]]


def play_fairly(cases: Sequence[Case], write: Callable[[str], None], play: Play = play) -> list[Played]:
    """As `play`. Two processes' clocks are compared, on a machine that may be busy: what is late has to be so again."""
    played = play(cases, AT_A_TIME)
    for _ in range(TIMES_AGAIN):
        again = [replace(one.case, services=(one.service,)) for one in played if one.only_clocks]
        if not again or len(again) > MOST_AGAIN:
            break  # all is well, or the machine is not to blame
        write(f"truth: {len(again)} played once more, one at a time: what differed is a matter of clocks")
        late = {one.name: one for one in play(again, 1)}
        played = [late.get(one.name, one) for one in played]
    return played


Outcome = tuple[Case, Service, Driver | str]  # a driver that is done, or what went wrong


def record(cases: Sequence[Case], capture: Capture, at_a_time: int = 15) -> dict[str, Recorder]:
    """What was told of each, whatever it says, by name and model.

    Raises:
        ScriptError: one could not be played.
    """
    with SimulatorProcess(pace="fast") as simulator:
        outcomes = asyncio.run(_play_all(cases, simulator, at_a_time, capture))
    found: dict[str, Recorder] = {}
    for label, (_, _, outcome) in outcomes.items():
        if isinstance(outcome, str):
            raise ScriptError(f"{label}: {outcome}")
        found[label] = outcome.recorder
    return found


async def _play_all(
    cases: Sequence[Case], simulator: SimulatorProcess, at_a_time: int, capture: Capture, *, tells: bool = True
) -> dict[str, Outcome]:
    trust = ssl.create_default_context(cafile=simulator.ca_file)
    clients = {vertex: _client(simulator, trust, vertex) for vertex in (False, True)}
    lateness = Lateness()
    free = asyncio.Semaphore(at_a_time)
    found: dict[str, Outcome] = {}

    async def play_one(case: Case, service: Service) -> None:
        vertex, model = service
        label = f"{case.name}, {'vertex' if vertex else 'developer'} {model}"
        found[label] = (case, service, "it was not played")
        async with free:
            driver = Driver(case, clients[vertex], model, label, lateness, capture, tells=tells)
            try:
                await driver.play()
                found[label] = (case, service, driver)
            except ScriptError as error:
                found[label] = (case, service, str(error))
            except Exception as error:  # noqa: BLE001 - what the library raises under VOICESPAN_RAISE, to be reported
                found[label] = (case, service, f"{type(error).__name__}: {error}")

    # The first call of a process builds the SDK's models, in the event loop: not in one that counts.
    await Driver(WARM_UP, clients[False], DEVELOPER[1], "warm-up", lateness, tells=tells).play()
    await asyncio.gather(*(play_one(case, service) for case in cases for service in case.services))
    return found


def _client(simulator: SimulatorProcess, trust: ssl.SSLContext, vertex: bool) -> genai.Client:
    return genai.Client(
        api_key="none",
        vertexai=vertex,
        http_options=types.HttpOptions(
            base_url=simulator.base_url,
            api_version="v1beta1" if vertex else "v1beta",
            # An answer in one message is more than the megabyte that websockets takes by default.
            async_client_args={
                "ssl": trust,
                "ping_interval": None,
                "compression": None,
                "close_timeout": 2,
                "max_size": 16 << 20,
            },
        ),
    )


def report(played: Sequence[Played], write: Callable[[str], None]) -> int:
    """A line for each, each wrong field, and a sum; returns how many are wrong."""
    for one in played:
        wrong = one.wrong
        write(f"{one.name}: {len(one.fields)} fields, {len(one.fields) - len(wrong)} equal, {len(wrong)} wrong")
        if one.problem:
            write(f"    NOT PLAYED {one.problem}")
        for field in wrong:
            write(f"    WRONG {field}")
    total = sum(len(one.fields) for one in played)
    count = sum(len(one.wrong) for one in played) + sum(one.problem is not None for one in played)
    write(f"truth: {total} fields, {count} wrong")
    return count
