"""A short `make soak`: calls come and go, and leave nothing behind; and what would count as growth."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.soak.__main__ import MAY_BE_LEFT
from benchmarks.soak.growth import Sample, growth
from benchmarks.soak.play import soak

SAMPLE = Sample(at_s=0, calls=10, memory_mib=100.0, descriptors=60, tasks=100, timers=50, threads=6, objects=20_000)


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_calls_that_come_and_go_leave_nothing_behind() -> None:
    seen: list[Sample] = []
    found = soak(calls=5, seconds=30, told=seen.append)
    assert found.errors == {}
    assert found.answers >= 5
    assert max(sample.calls for sample in seen) >= 5
    assert {name: count for name, count in found.left.items() if count > MAY_BE_LEFT[name]} == {}


def samples(*memory_mib: float) -> list[Sample]:
    return [replace(SAMPLE, at_s=at_s, memory_mib=mib) for at_s, mib in enumerate(memory_mib)]


def test_what_grows_after_warm_up_is_found() -> None:
    found = growth("memory_mib", samples(*range(100, 160)), 2.0)
    assert found.grows
    assert found.per_hour == pytest.approx(3600)


def test_what_grows_in_warm_up_alone_is_no_growth() -> None:
    found = growth("memory_mib", samples(*range(100, 120), *[120] * 40), 2.0)
    assert (found.grows, found.before, found.after) == (False, 120, 120)


def test_what_comes_and_goes_is_no_growth() -> None:
    assert not growth("memory_mib", samples(*[100, 104] * 30), 2.0).grows


def test_few_samples_are_no_verdict() -> None:
    with pytest.raises(ValueError, match="soak for longer"):
        growth("tasks", samples(1, 2, 3), 0)
