"""The door: what it counts, and how it knows that the server is full."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, suppress

import pytest

from voicespan_server import loop_lag
from voicespan_server.access.admission import SAMPLES, TOO_LATE_S
from voicespan_server.access.door import MAX_UNKNOWN, REFUSALS_TOLD_AT_ONCE, Caller, Door, today
from voicespan_server.access.refusal import OVERLOADED, UNAUTHORIZED, Refused
from voicespan_server.settings import Settings


def code_of(refused: pytest.ExceptionInfo[Refused]) -> str:
    return refused.value.reason.code


def test_who_leaves_makes_room_however_the_call_ended() -> None:
    door = Door(Settings(max_sessions=1))
    with suppress(ValueError), door.inside_as(Caller()):
        assert door.inside == 1
        with pytest.raises(Refused) as refused, door.inside_as(Caller()):
            pass
        assert code_of(refused) == "overloaded"
        raise ValueError
    assert door.inside == 0
    with door.inside_as(Caller()):
        assert door.inside == 1


def test_who_goes_on_with_a_session_gets_into_a_full_server() -> None:
    door = Door(Settings(max_sessions=1))
    with door.inside_as(Caller()), door.inside_as(Caller(), goes_on=True):
        assert door.inside == 2


def test_those_who_say_nothing_take_no_callers_place() -> None:
    door = Door(Settings(max_sessions=1))
    with ExitStack() as silent:
        for _ in range(MAX_UNKNOWN):
            silent.enter_context(door.knock(""))
            silent.enter_context(door.unknown())
        with door.inside_as(Caller()):
            pass
        with door.knock(""), pytest.raises(Refused) as refused, door.unknown():
            pass
        assert refused.value.reason is OVERLOADED
    with door.unknown():
        pass


def test_a_budget_that_is_spent_lets_nobody_in() -> None:
    door = Door(Settings(key_day_budget_usd=1.0))
    alice = Caller("alice")
    meter = door.meter("t-1", alice, "gemini")
    assert meter is not None
    assert meter.cost(1.0, today()) == "today's budget of this key is spent"
    with pytest.raises(Refused) as refused, door.inside_as(alice):
        pass
    assert code_of(refused) == "budget"
    with door.inside_as(Caller("bob")):
        pass


def test_simulated_calls_have_no_meter_unless_asked_for() -> None:
    assert Door(Settings()).meter("t", Caller(), "simulator") is None
    assert Door(Settings(budget_simulated=True)).meter("t", Caller(), "simulator") is not None


def test_a_token_only_lowers_a_budget() -> None:
    door = Door(Settings(session_budget_usd=1.0))
    for token_usd, spent_at in ((0.5, 0.5), (2.0, 1.0), (None, 1.0)):
        meter = door.meter("t", Caller(budget_usd=token_usd), "gemini")
        assert meter is not None
        assert meter.cost(spent_at - 0.01, today()) is None
        assert meter.cost(spent_at, today()) == "this call's budget is spent"


def test_a_flood_of_refusals_is_counted_and_not_told_one_by_one() -> None:
    door = Door(Settings())
    told = []
    for _ in range(3 * REFUSALS_TOLD_AT_ONCE):
        door.count(Refused(UNAUTHORIZED, "no"))
        told.append(door.tells())
    assert door.refused["unauthorized"] == 3 * REFUSALS_TOLD_AT_ONCE
    assert sum(told) < 2.5 * REFUSALS_TOLD_AT_ONCE
    assert all(told[:REFUSALS_TOLD_AT_ONCE])


async def test_a_loop_that_is_late_for_a_while_is_full_and_then_is_not() -> None:
    door = Door(Settings(max_sessions="auto"))
    every_s = 0.001
    watching = asyncio.create_task(loop_lag.watch(door.lateness, every_s))
    assert not door.admission.full(1_000)
    await asyncio.sleep(0)
    for _ in range(SAMPLES):
        time.sleep(TOO_LATE_S + 5 * every_s)  # noqa: ASYNC251 - what is to be noticed
        for _ in range(5):  # turns of the loop: the timer is seen, its task runs, and sets the next
            await asyncio.sleep(0)
    assert door.admission.full(1)
    with pytest.raises(Refused) as refused, door.inside_as(Caller()):
        pass
    assert code_of(refused) == "overloaded"
    async with asyncio.timeout(20):
        while door.admission.full(1):  # noqa: ASYNC110 - it is the loop's own idling that is waited for
            await asyncio.sleep(every_s)
    watching.cancel()
