"""A steady load through the real collector for twenty seconds; `collector_cost --soak` does it for ten minutes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.pipeline.collector_soak import CollectorLook, Soaked, cores, last_line, soak, table

pytestmark = [pytest.mark.e2e, pytest.mark.collector]

GOOD = Soaked(
    asked_rate=100,
    sent=1200,
    took_s=12,
    jaeger=1200,
    langfuse=1200,
    looks=[CollectorLook(at_s, at_s * 0.25, 60.0, 0.5, 1) for at_s in range(12)],
)


def test_a_steady_load_arrives_everywhere_and_nothing_in_the_collector_grows(collector_binary: Path) -> None:
    soaked = soak(collector_binary, rate=300, seconds=20)
    assert soaked.sent > 4000
    assert (soaked.jaeger, soaked.langfuse, soaked.lost) == (soaked.sent, soaked.sent, 0)
    assert soaked.grown == []
    assert len(soaked.looks) > 10
    assert last_line(soaked).startswith(f"soak: {soaked.sent} spans sent, ")


def test_a_good_soak_is_told_as_one() -> None:
    assert GOOD.good
    assert cores(GOOD.looks) == 0.25
    assert len(list(table(GOOD))) == 12
    assert last_line(GOOD) == (
        "soak: 1200 spans sent, 100 a second, 1200 at Jaeger, 1200 at Langfuse, 0 lost; "
        "0.25 of a core, 60 MiB (at most 60), queues at most 0.5 MiB and 1 requests"
    )


def test_loss_growth_and_a_pace_that_was_not_kept_are_seen() -> None:
    assert not replace(GOOD, langfuse=1199).good
    slow = replace(GOOD, took_s=24)
    assert not slow.good
    assert "the pace was not kept: 50 spans a second instead of 100" in list(table(slow))
    growing = replace(GOOD, looks=[replace(look, memory_mib=60 + 10 * look.at_s) for look in GOOD.looks])
    assert [found.name for found in growing.grown] == ["memory_mib"]
    assert not growing.good
    filling = replace(GOOD, looks=[replace(look, jaeger_queue=10 * look.at_s) for look in GOOD.looks])
    assert [found.name for found in filling.grown] == ["jaeger_queue"]
