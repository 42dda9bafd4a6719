"""A short `make fuzz`: mutated messages and requests against real servers, each answered as it should be."""

from __future__ import annotations

import pytest

from fuzz.play import SHARES, play

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.mark.parametrize("part", SHARES)
def test_hostile_input_breaks_nothing(part: str) -> None:
    verdict = play([part], 400, seed=7)
    assert verdict.tally.faults == []
    assert (verdict.crashes, verdict.leaked) == (0, 0)
    assert verdict.tally.inputs.total() >= 300
