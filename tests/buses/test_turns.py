"""When the devices of one line are asked: how far their turns lie apart."""

from __future__ import annotations

from itertools import combinations

import pytest

from edgeagent.buses.turns import FOR_EVER_NS, LONGEST_NS, STEP_NS, Turns
from edgeagent.records import NS_PER_MS, NS_PER_S

ROOM_NS = 300 * NS_PER_MS
NOW_NS = 50 * NS_PER_S


def laid(rates_hz: list[float]) -> list[int]:
    """The first turn of each device, as they come to the line one after the other."""
    turns, firsts_ns = Turns(), []
    for rate_hz in rates_hz:
        first_ns = turns.first_ns(rate_hz, NOW_NS, ROOM_NS)
        turns.add(object(), rate_hz, lambda at_ns=first_ns: at_ns)  # type: ignore[misc]
        firsts_ns.append(first_ns)
    return firsts_ns


def nearest_ns(rates_hz: list[float], firsts_ns: list[int], for_s: int = 60) -> float:
    """How near any two turns of different devices come to each other, counted out."""
    all_ns = [
        [first_ns + number * NS_PER_S / rate_hz for number in range(int(for_s * rate_hz))]
        for rate_hz, first_ns in zip(rates_hz, firsts_ns, strict=True)
    ]
    return min(abs(a - b) for one, other in combinations(all_ns, 2) for a in one for b in other)


@pytest.mark.parametrize(
    ("rates_hz", "apart_ms"),
    [
        ([1.0] * 3, 300),
        ([1.0] * 5, 140),
        ([2.0] * 9, 20),
        ([2.0, 1.0, 0.5, 0.5], 240),
        ([3.0, 1.0], 140),
        ([0.1, 0.1, 1.0], 300),
    ],
)
def test_turns_lie_apart_for_ever(rates_hz: list[float], apart_ms: int) -> None:
    assert nearest_ns(rates_hz, laid(rates_hz)) >= apart_ms * NS_PER_MS


def test_the_first_turn_is_the_first_that_has_room() -> None:
    assert [first_ns - NOW_NS for first_ns in laid([0.1] * 3)] == [0, ROOM_NS, 2 * ROOM_NS]


@pytest.mark.parametrize("rate_hz", [0.001, 0.3, 7.0, 500.0])
def test_nobody_waits_long_for_the_first_turn(rate_hz: float) -> None:
    for first_ns in laid([rate_hz] * 20):
        assert 0 <= first_ns - NOW_NS < max(min(LONGEST_NS, NS_PER_S / rate_hz), STEP_NS)


def test_the_room_ends_where_anothers_turn_begins() -> None:
    turns, me, other = Turns(), object(), object()
    turns.add(me, 1.0, lambda: NOW_NS + 1)
    assert turns.due_ns(me, NOW_NS) == NOW_NS + FOR_EVER_NS
    turns.add(other, 1.0, lambda: NOW_NS - 5)
    assert turns.due_ns(me, NOW_NS) == NOW_NS - 5
    turns.remove(other)
    assert turns.due_ns(me, NOW_NS) == NOW_NS + FOR_EVER_NS
    turns.remove(me)
    assert not turns
