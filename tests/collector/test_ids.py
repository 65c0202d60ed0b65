"""The collector's memory of ids: exact whatever comes in whatever order, and small where little is missing."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.collector.ids import Ids, Spans

RUN = "press-07/0123456789ab"
numbers = st.integers(1, 40) | st.integers(1, 10**18 - 1)


@given(st.lists(numbers, max_size=200), st.lists(numbers, max_size=50))
def test_spans_hold_exactly_what_was_added_in_whatever_order(added: list[int], asked: list[int]) -> None:
    spans, held = Spans(), set[int]()
    for number in added:
        assert spans.add(number) == (number not in held)
        held.add(number)
    assert [number in spans for number in asked + added] == [number in held for number in asked + added]
    assert sum(last - first + 1 for first, last in spans) == len(held)


@given(st.sets(st.integers(1, 60)))
def test_spans_are_as_few_as_they_can_be_and_come_back_from_their_list(held: set[int]) -> None:
    spans = Spans()
    for number in random.Random(len(held)).sample(sorted(held), len(held)):
        spans.add(number)
    begins = {number for number in held if number - 1 not in held}
    assert {first for first, _ in spans} == begins
    assert list(Spans(list(spans))) == list(spans)


def test_a_hundred_million_records_of_a_run_are_one_span_and_a_late_one_closes_its_gap() -> None:
    ids = Ids({RUN: [(1, 99_999_998)]})
    assert ids.add(f"{RUN}/100000000")
    assert ids.spans() == {RUN: [(1, 99_999_998), (100_000_000, 100_000_000)]}
    assert 99_999_999 not in ids.of(RUN)
    assert ids.add(f"{RUN}/99999999")
    assert ids.spans() == {RUN: [(1, 100_000_000)]}
    assert not ids.add(f"{RUN}/1")


def test_the_same_number_of_another_run_or_device_is_another_record() -> None:
    ids = Ids()
    for run in (RUN, "press-07/0123456789ac", "press-08/0123456789ab"):
        assert 7 not in ids.of(run)
        assert ids.add(f"{run}/7")
        assert not ids.add(f"{run}/7")
    assert ids.devices() == 2
