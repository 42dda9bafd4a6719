"""Budgets: what is counted, once, and which of them is spent."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicespan_server.access.spend import Bill, Budgets, CallMeter, Spend

TODAY = date(2026, 11, 26)
TOMORROW = TODAY + timedelta(days=1)


def test_a_calls_budget_is_spent_by_its_own_cost_alone() -> None:
    spend = Spend(Budgets(session_usd=1.0), TODAY)
    other, call = CallMeter(spend, "t1", "k", 1.0), CallMeter(spend, "t2", "k", 1.0)
    assert other.cost(0.9, TODAY) is None
    assert call.cost(0.5, TODAY) is None
    assert call.cost(1.0, TODAY) == "this call's budget is spent"


def test_the_days_budget_of_a_key_is_spent_by_all_its_calls_and_is_new_tomorrow() -> None:
    spend = Spend(Budgets(key_day_usd=1.0), TODAY)
    one, two = CallMeter(spend, "t1", "alice", None), CallMeter(spend, "t2", "alice", None)
    assert one.cost(0.6, TODAY) is None
    assert two.cost(0.4, TODAY) == "today's budget of this key is spent"
    assert spend.exhausted("alice", TODAY) is not None
    assert spend.exhausted("bob", TODAY) is None
    assert spend.exhausted("alice", TOMORROW) is None
    assert one.cost(0.7, TOMORROW) is None
    assert spend.of_key("alice", TOMORROW) == pytest.approx(0.1)


def test_the_servers_budget_is_spent_by_everybody() -> None:
    spend = Spend(Budgets(day_usd=1.0), TODAY)
    CallMeter(spend, "t1", "alice", None).cost(0.6, TODAY)
    assert CallMeter(spend, "t2", "", None).cost(0.5, TODAY) == "the server's budget for today is spent"
    assert spend.exhausted("bob", TODAY) == "the server's budget for today is spent"


def test_what_the_store_tells_of_ones_own_calls_is_not_counted_again() -> None:
    spend = Spend(Budgets(day_usd=10.0), TODAY)
    spend.absorb([Bill("before", "alice", 2.0)], TODAY)
    CallMeter(spend, "own", "alice", None).cost(1.0, TODAY)
    spend.absorb([Bill("own", "alice", 1.0), Bill("neighbour", "bob", 0.5)], TODAY)
    assert spend.total(TODAY) == pytest.approx(3.5)
    assert spend.of_key("alice", TODAY) == pytest.approx(3.0)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_a_calls_steps_sum_to_its_cost(steps: list[float]) -> None:
    spend = Spend(Budgets(), TODAY)
    meter = CallMeter(spend, "t", "k", None)
    so_far = 0.0
    for step in steps:
        so_far += step
        meter.cost(so_far, TODAY)
    assert spend.of_key("k", TODAY) == pytest.approx(so_far)
