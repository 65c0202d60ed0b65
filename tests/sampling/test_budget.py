"""Bytes a day: never exceeded, whenever the day begins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.records import NS_PER_S
from edgeagent.sampling.budget import DAY_NS, ByteBudget

HOUR_NS = DAY_NS // 24


def test_an_hours_share_can_be_spent_at_once_and_no_more() -> None:
    budget = ByteBudget(24_000)
    assert [budget.take(500, 0) for _ in range(3)] == [True, True, False]


def test_an_empty_bucket_refills_by_the_rest_of_the_budget_over_a_day() -> None:
    budget = ByteBudget(24_000)
    budget.take(1_000, 0)
    assert not budget.take(959, HOUR_NS)  # 23,000 B a day are 958.33 an hour
    assert budget.take(959, HOUR_NS + NS_PER_S * 3)


def test_what_is_refused_costs_nothing() -> None:
    budget = ByteBudget(24_000)
    assert not budget.take(1_001, 0)
    assert budget.take(1_000, 0)


def test_a_budget_of_nothing_lets_nothing_through() -> None:
    assert not ByteBudget(0).take(1, DAY_NS)


def test_a_restart_with_what_was_spent_goes_on_where_the_last_run_stopped() -> None:
    before = ByteBudget(24_000)
    before.take(700, 0)
    after = ByteBudget(24_000, spent_bytes=before.spent_bytes)
    assert [after.take(301, 0), after.take(300, 0)] == [False, True]


def test_a_debt_from_the_last_day_is_waited_out() -> None:
    budget = ByteBudget(24_000, spent_bytes=24_000)
    assert not budget.take(1, 0)
    assert not budget.take(1, DAY_NS)
    assert budget.take(1, DAY_NS + HOUR_NS)


def test_time_that_goes_backwards_refills_nothing() -> None:
    budget = ByteBudget(24_000)
    budget.take(1_000, DAY_NS)
    assert not budget.take(1_000, 0)


@given(
    st.integers(0, 100_000),
    st.lists(st.tuples(st.integers(0, 3 * HOUR_NS), st.integers(0, 6_000)), max_size=80),
)
def test_no_day_however_it_is_cut_exceeds_the_budget(per_day: int, wishes: list[tuple[int, int]]) -> None:
    budget = ByteBudget(per_day)
    now_ns, spent = 0, list[tuple[int, int]]()
    for gap_ns, size in wishes:
        now_ns += gap_ns
        if budget.take(size, now_ns):
            spent.append((now_ns, size))
    for start_ns, _ in spent:
        assert sum(size for t, size in spent if start_ns <= t <= start_ns + DAY_NS) <= per_day
