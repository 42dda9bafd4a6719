"""What the library told of calls is what the simulator did in them: some of what `make truth` plays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from truth.acts import BOTH, Case, cases
from truth.instrumented import TWO_SESSIONS
from truth.play import Played, play, play_fairly, play_instrumented
from voicespan_simulator.scenario_file import load_scenarios
from voicespan_simulator.voice import load_voice

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]  # the first test waits for all to be played

REPRESENTATIVE = (
    *("demo", "barge_in", "second_thought", "non_blocking", "cancelled_tool", "spoken_over", "unnamed_calls"),
    *("usage_reports", "in_progress", "closes", "go_away", "go_away_in_tools", "refused_handle", "dead_connection"),
    *("unfinished", "push_to_talk", "image_and_voice", "greeting", "late_interruption", "hung_up_on"),
)


def representative() -> list[Case]:
    known = {case.name: case for case in cases(load_scenarios(load_voice().clips))}
    chosen = [known[name] for name in REPRESENTATIVE]
    return [replace(case, services=tuple(service for service in case.services if service in BOTH)) for case in chosen]


@pytest.fixture(scope="module")
def played() -> dict[str, list[Played]]:
    found: dict[str, list[Played]] = {}
    chosen = representative()
    for one in play_fairly(chosen, print, play) + play_fairly(chosen, print, play_instrumented):
        found.setdefault(one.case.name, []).append(one)
    return found


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_what_was_told_is_what_was_done(played: dict[str, list[Played]], name: str) -> None:
    assert {one.instrumented for one in played[name]} == ({False, True} if name not in TWO_SESSIONS else {False})
    for one in played[name]:
        assert one.problem is None
        assert len(one.fields) > 60
        assert [str(field) for field in one.wrong] == []
