"""Rates, quotas and admission: what passes and what does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voicespan_server.access import quota as quotas
from voicespan_server.access.admission import SAMPLES, TOO_LATE_S, Admission, Lateness
from voicespan_server.access.allowance import Allowance
from voicespan_server.access.quota import Exceeded, Quota

SECOND_NS = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_ns = 5 * SECOND_NS
        self.reads = 0

    def __call__(self) -> int:
        self.reads += 1
        return self.now_ns


STEPS = st.lists(st.tuples(st.integers(0, 3 * SECOND_NS), st.integers(1, 2_000)), max_size=60)


@given(st.integers(1, 1_000), st.integers(1, 3_000), STEPS)
def test_no_more_passes_than_the_rate_and_two_bursts(per_s: int, burst: int, steps: list[tuple[int, int]]) -> None:
    clock = Clock()
    allowance = Allowance(per_s, burst, clock)
    began_ns, passed = clock.now_ns, 0
    for later_ns, units in steps:
        clock.now_ns += later_ns
        passed += units if allowance.allow(units) else 0
        assert passed <= 2 * max(burst, per_s) + per_s * (clock.now_ns - began_ns) / SECOND_NS


@given(st.integers(1, 10_000), st.integers(1, 50), st.integers(1, 400))
def test_what_keeps_to_the_rate_always_passes(per_s: int, frames_per_s: int, frames: int) -> None:
    clock = Clock()
    allowance = Allowance(per_s, 1, clock)
    for number in range(frames):
        clock.now_ns = 5 * SECOND_NS + (number * SECOND_NS + frames_per_s - 1) // frames_per_s
        assert allowance.allow(per_s // frames_per_s)


def test_a_flood_is_stopped_and_what_comes_later_passes() -> None:
    clock = Clock()
    allowance = Allowance(100, 300, clock)
    assert [allowance.allow(100) for _ in range(4)] == [True, True, True, False]
    clock.now_ns += SECOND_NS
    assert [allowance.allow(100) for _ in range(2)] == [True, False]


def test_the_clock_is_not_read_for_each_frame() -> None:
    clock = Clock()
    allowance = Allowance(32_000, 320_000, clock)
    reads = clock.reads
    assert all(allowance.allow(640) for _ in range(500))
    assert clock.reads == reads


def test_a_rate_of_zero_is_no_limit() -> None:
    allowance = Allowance(0, 0)
    assert all(allowance.allow(1 << 40) for _ in range(10))


def test_somebody_has_so_many_sessions_at_once_and_others_have_their_own() -> None:
    quota = Quota(concurrent=2, per_minute=0)
    assert [quota.begin("a") for _ in range(3)] == [None, None, Exceeded.CONCURRENT]
    assert quota.begin("b") is None
    quota.end("a")
    assert quota.begin("a") is None
    assert quota.running("a") == 2


def test_somebody_begins_so_many_sessions_in_a_minute() -> None:
    clock = Clock()
    quota = Quota(concurrent=0, per_minute=3, clock_ns=clock)
    for _ in range(3):
        assert quota.begin("a") is None
        quota.end("a")
    assert quota.begin("a") is Exceeded.RATE
    clock.now_ns += 20 * SECOND_NS  # a third of a minute: one more
    assert quota.begin("a") is None
    assert quota.begin("a") is Exceeded.RATE


def test_nobody_in_particular_is_not_counted() -> None:
    quota = Quota(concurrent=1, per_minute=1)
    assert [quota.begin("") for _ in range(3)] == [None] * 3


def test_strangers_do_not_fill_the_memory_and_callers_are_not_forgotten() -> None:
    quota = Quota(concurrent=1, per_minute=0)
    assert quota.begin("caller") is None
    for number in range(2 * quotas.MAX_IDLE_NAMES):
        quota.begin(f"stranger-{number}")
        quota.end(f"stranger-{number}")
    assert len(quota._usage) <= quotas.MAX_IDLE_NAMES + 1
    assert quota.begin("caller") is Exceeded.CONCURRENT


@given(st.lists(st.sampled_from(["begin", "end"]), max_size=60), st.integers(1, 5))
def test_never_more_at_once_than_the_limit(deeds: list[str], limit: int) -> None:
    quota = Quota(limit, 0)
    running = 0
    for deed in deeds:
        if deed == "begin":
            running += quota.begin("a") is None
        elif running:
            quota.end("a")
            running -= 1
        assert quota.running("a") == running <= limit


def test_a_cap_is_a_cap() -> None:
    capped = Admission(3, Lateness())
    assert [capped.full(running) for running in range(5)] == [False, False, False, True, True]
    assert not Admission(0, Lateness()).full(10_000)


def test_the_measured_capacity_is_met_when_the_loop_is_late_for_a_while() -> None:
    lateness = Lateness()
    measured = Admission("auto", lateness)
    lateness.record(10 * TOO_LATE_S)
    assert not measured.full(1)  # one late timer is chance
    for _ in range(SAMPLES // 2):
        lateness.record(2 * TOO_LATE_S)
    assert measured.full(1)
    for _ in range(SAMPLES):
        lateness.record(0.001)
    assert not measured.full(1_000)
    assert measured.measures
    assert not Admission(3, lateness).measures
