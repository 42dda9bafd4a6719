"""How a load test counts: percentiles, gaps that a listener hears, and the knee."""

from __future__ import annotations

import asyncio

import pytest

from voicespan_server.loadtest import ramp
from voicespan_server.loadtest.caller import Habits
from voicespan_server.loadtest.figures import Level, Report, Tally, level, summary
from voicespan_server.loadtest.playback import HELD_BACK_S, Playback


def measured(calls: int = 10, first: Level | None = None, **noted: object) -> Level:
    return level(calls, 10.0, Tally(answers=100, audio_s=300.0, **noted), first, slower_ms=250)  # type: ignore[arg-type]


def test_percentiles_are_values_that_were_measured() -> None:
    found = summary([n / 1000 for n in range(1, 101)])
    assert found is not None
    assert (found.count, found.p50, found.p95, found.p99, found.max) == (100, 50.0, 95.0, 99.0, 100.0)
    assert summary([]) is None
    only = summary([0.25])
    assert only is not None
    assert (only.p50, only.p99) == (250.0, 250.0)


def test_audio_that_comes_faster_than_it_is_played_has_no_gaps() -> None:
    heard = Playback()
    for n in range(10):
        heard.piece(n * 0.02, 0.04)
    assert heard.gaps == 0
    assert heard.plays_until == pytest.approx(HELD_BACK_S + 0.4)


def test_a_piece_that_comes_after_the_last_was_played_is_a_gap_of_what_was_missing() -> None:
    heard = Playback()
    heard.piece(0.0, 0.04)
    heard.piece(HELD_BACK_S + 0.04 + 0.3, 0.04)
    assert heard.gaps == 1
    assert heard.gap_s == pytest.approx(0.3)


def test_silence_between_answers_is_no_gap() -> None:
    heard = Playback()
    heard.piece(0.0, 0.04)
    heard.answer_over()
    heard.piece(60.0, 0.04)
    assert heard.gaps == 0


def test_an_interruption_drops_what_was_not_played() -> None:
    heard = Playback()
    heard.piece(0.0, 5.0)
    heard.interrupted(1.0)
    assert heard.plays_until == 1.0
    heard.piece(2.0, 0.04)
    assert (heard.gaps, heard.plays_until) == (0, 2.0 + HELD_BACK_S + 0.04)


def test_a_level_without_faults_holds() -> None:
    assert measured(first_audio_s=[0.5] * 100).faults == ()


@pytest.mark.parametrize(
    ("noted", "told"),
    [
        ({"errors": {"overloaded": 2}}, "2 of 102 went wrong"),
        ({"first_audio_s": [0.9] * 100}, "400 ms later"),
        ({"gap_s": 3.1, "gaps": 4}, "silent"),
        ({"own_lag_s": [0.03] * 10}, "callers' own machine"),
    ],
)
def test_what_breaks_a_level_is_said(noted: dict[str, object], told: str) -> None:
    from collections import Counter

    first = measured(first_audio_s=[0.5] * 100)
    if "errors" in noted:
        noted = {"errors": Counter(noted["errors"])}  # type: ignore[arg-type]
    [fault] = measured(first=first, **noted).faults
    assert told in fault


def test_one_error_in_a_hundred_is_no_fault() -> None:
    from collections import Counter

    assert measured(errors=Counter({"no-answer": 1})).faults == ()


def test_nothing_answered_is_a_fault() -> None:
    assert level(1, 10.0, Tally(), None, 250).faults == ("nothing was answered",)


def test_the_knee_is_the_last_level_before_the_first_that_did_not_hold() -> None:
    from collections import Counter

    good, better = measured(10), measured(20)
    bad = measured(30, errors=Counter({"overloaded": 50}))
    assert Report("ws://x", (good, better, bad, measured(40))).knee == 20
    assert Report("ws://x", (bad,)).knee is None


async def test_a_test_that_is_broken_off_waits_for_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    calling = asyncio.Event()

    async def call_for_ever(*_: object) -> None:
        calling.set()
        await asyncio.Event().wait()

    async def no_token() -> None:
        return None

    monkeypatch.setattr(ramp, "call_until", call_for_ever)
    plan = ramp.Plan(levels=(1,), seconds=60.0, settle_s=0.0)
    habits = Habits("ws://127.0.0.1:1/ws/voice", (), 1, 1.0, no_token)
    running = asyncio.create_task(ramp.run(plan, habits, lambda _: None, lambda *_: None))
    await calling.wait()
    running.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await running
