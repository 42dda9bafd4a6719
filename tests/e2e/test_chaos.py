"""Nothing is lost: the suites of `make chaos`, short. Counts are asserted here; times are measured there."""

import os
from pathlib import Path

import pytest

from chaos import disk, suites
from chaos.verdict import Report

pytestmark = pytest.mark.e2e


def kept(report: Report) -> None:
    assert report.faults == []
    assert report.lost == 0
    assert report.ended == report.received + report.lost_in_window > 0


@pytest.mark.collector
async def test_kills_at_random_moments_lose_nothing_and_leave_no_session_open(collector_binary: Path) -> None:
    # `make chaos` holds the store to its 50 ms; here other tests may have the processors.
    report = await suites.kills(collector_binary, rounds=4, seed=7, callers=3, window_ms=1000)
    kept(report)
    assert report.recovered > 0


@pytest.mark.collector
async def test_a_collector_that_dies_hangs_or_refuses_costs_no_span_and_no_call(collector_binary: Path) -> None:
    kept(await suites.outages(collector_binary, seed=7, seconds=0.2, callers=2))


@pytest.mark.collector
@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk is a small tmpfs here, which only root can mount")
async def test_a_full_disk_costs_no_span_and_no_call(collector_binary: Path) -> None:
    try:
        report = await disk.full_disk(collector_binary, seed=7, callers=2, seconds=2)
    except PermissionError as error:
        pytest.skip(str(error))
    kept(report)


def test_what_an_outage_piled_up_leaves_in_order(tmp_path: Path) -> None:
    report = disk.backlog(3_000, tmp_path)
    kept(report)
    assert report.repeated == 0
