"""When the model is dialled again, and when the call is given up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicespan_server.redial import LONGEST_WAIT_S, STABLE_S, Again, Fault, GiveUp, Redial

NEVER_SHORTER: Callable[[], float] = lambda: 0.0  # noqa: E731 - chance, held still
HELD_DOWN = [Fault.TRANSIENT, Fault.TIMEOUT, Fault.STALLED, Fault.QUOTA]


def running(budget_s: float = 1_000.0) -> Redial:
    return Redial(budget_s, NEVER_SHORTER)


def waits(redial: Redial, fault: Fault, count: int) -> list[float]:
    found = []
    for _ in range(count):
        decision = redial.after(fault, 0.0, began=True, resumable=True)
        assert isinstance(decision, Again)
        found.append(decision.wait_s)
    return found


@pytest.mark.parametrize("fault", HELD_DOWN)
def test_the_first_attempt_comes_at_once_and_then_the_waits_double(fault: Fault) -> None:
    assert waits(running(), fault, 7) == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0]


@given(chance=st.floats(0, 1, exclude_max=True))
def test_chance_takes_up_to_half_of_a_wait(chance: float) -> None:
    redial = Redial(1_000.0, lambda: chance)
    for wait_s, full_s in zip(waits(redial, Fault.TRANSIENT, 6), [0.0, 0.5, 1.0, 2.0, 4.0, 8.0], strict=True):
        assert full_s / 2 <= wait_s <= full_s


def test_all_attempts_in_a_row_have_one_budget() -> None:
    redial = running(budget_s=30)
    now_s, spent = 100.0, []
    while isinstance(decision := redial.after(Fault.TRANSIENT, now_s, began=True, resumable=True), Again):
        spent.append(decision.wait_s)
        now_s += decision.wait_s
    assert spent == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert decision == GiveUp(LONGEST_WAIT_S)


def test_a_word_of_the_model_begins_a_new_budget() -> None:
    redial = running(budget_s=1)
    assert waits(redial, Fault.TRANSIENT, 2) == [0.0, 0.5]
    redial.worked()
    assert redial.after(Fault.TRANSIENT, 500.0, began=True, resumable=True) == Again(0.0)


def test_so_does_a_connection_that_lived_for_a_while_in_silence() -> None:
    redial = running(budget_s=1)
    redial.after(Fault.TRANSIENT, 0.0, began=True, resumable=True)
    assert redial.after(Fault.TRANSIENT, 900.0, began=True, resumable=True, lived_s=STABLE_S) == Again(0.0)


def test_a_connection_that_is_cut_right_after_its_setup_does_not() -> None:
    redial = running(budget_s=1)
    redial.after(Fault.TRANSIENT, 0.0, began=True, resumable=True)
    assert redial.after(Fault.TRANSIENT, 5.0, began=True, resumable=True, lived_s=1.0) == GiveUp(LONGEST_WAIT_S)


@pytest.mark.parametrize("began", [True, False])
def test_who_is_refused_is_not_tried_again(began: bool) -> None:
    assert running().after(Fault.REFUSED, 0.0, began=began, resumable=began) == GiveUp(None)


def test_what_is_invalid_begins_afresh_once_in_a_call() -> None:
    redial = running()
    assert redial.after(Fault.INVALID, 0.0, began=True, resumable=True) == Again(0.0, fresh=True)
    redial.worked()
    assert redial.after(Fault.INVALID, 60.0, began=True, resumable=True) == GiveUp(None)


def test_a_handle_that_is_refused_is_not_waited_for() -> None:
    redial = running()
    redial.after(Fault.TRANSIENT, 0.0, began=True, resumable=True)
    assert redial.after(Fault.INVALID, 0.3, began=True, resumable=True) == Again(0.0, fresh=True)


def test_a_fresh_start_that_fails_for_a_moment_is_tried_again() -> None:
    redial = running()
    redial.after(Fault.INVALID, 0.0, began=True, resumable=True)
    assert redial.after(Fault.TRANSIENT, 0.1, began=True, resumable=False) == Again(0.5, fresh=True)
    redial.worked()
    assert redial.after(Fault.TRANSIENT, 60.0, began=True, resumable=False) == GiveUp(LONGEST_WAIT_S)


def test_without_a_handle_a_lost_connection_begins_afresh() -> None:
    assert running().after(Fault.TRANSIENT, 0.0, began=True, resumable=False) == Again(0.0, fresh=True)


@pytest.mark.parametrize("fault", [Fault.TRANSIENT, Fault.TIMEOUT])
def test_before_a_call_has_begun_there_is_one_more_attempt(fault: Fault) -> None:
    redial = running()
    assert redial.after(fault, 0.0, began=False, resumable=False) == Again(0.5)
    assert redial.after(fault, 0.6, began=False, resumable=False) == GiveUp(LONGEST_WAIT_S)


def test_before_a_call_has_begun_nobody_waits_for_quota() -> None:
    decision = running().after(Fault.QUOTA, 0.0, began=False, resumable=False, retry_after_s=37.0)
    assert decision == GiveUp(37.0)


def test_a_client_that_goes_on_with_an_old_handle_begins_afresh_where_that_is_refused() -> None:
    redial = running()
    assert redial.after(Fault.INVALID, 0.0, began=False, resumable=True) == Again(0.0, fresh=True)
    assert redial.after(Fault.INVALID, 0.1, began=False, resumable=False) == GiveUp(None)


def test_the_services_own_word_goes_before_our_waits() -> None:
    redial = running(budget_s=30)
    assert redial.after(Fault.QUOTA, 0.0, began=True, resumable=True, retry_after_s=7.0) == Again(7.0)
    assert redial.after(Fault.QUOTA, 7.0, began=True, resumable=True, retry_after_s=60.0) == GiveUp(60.0)
