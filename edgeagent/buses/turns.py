"""When each device of a line is to be asked, where one master asks them all: no I/O, and time is passed in.

A master waits for each answer, so what keeps a dead device from delaying the others is the room between their turns.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import gcd, lcm
from typing import NamedTuple

from edgeagent.records import NS_PER_MS, NS_PER_S

STEP_NS = 20 * NS_PER_MS  # as close as turns are laid
LONGEST_NS = 2 * NS_PER_S  # nobody waits longer for the first one
FOR_EVER_NS = 3600 * NS_PER_S


class Turn(NamedTuple):
    """How often a device is asked, in Hz, and when next."""

    rate: Fraction
    due_ns: Callable[[], int]


class Turns:
    """Those that answer, and when they are next to be asked."""

    def __init__(self) -> None:
        self._turns: dict[object, Turn] = {}

    def __bool__(self) -> bool:
        return bool(self._turns)

    def add(self, who: object, rate_hz: float, due_ns: Callable[[], int]) -> None:
        self._turns[who] = Turn(_exact(rate_hz), due_ns)

    def remove(self, who: object) -> None:
        self._turns.pop(who, None)

    def due_ns(self, who: object, now_ns: int) -> int:
        """When another's next turn is: in the past if it is overdue, an hour ahead if there is none."""
        others = (turn.due_ns() for other, turn in self._turns.items() if other is not who)
        return min(others, default=now_ns + FOR_EVER_NS)

    def first_ns(self, rate_hz: float, from_ns: int, room_ns: int) -> int:
        """When one more had best begin: as soon as all its turns lie `room_ns` apart from all the others'.

        Where that cannot be, where they lie farthest apart.
        """
        rate = _exact(rate_hz)
        until_ns = from_ns + min(round(NS_PER_S / rate_hz), LONGEST_NS)
        steps = range(from_ns, max(until_ns, from_ns + 1), STEP_NS)
        return max(steps, key=lambda at_ns: min(room_ns, self._distance_ns(at_ns, rate)))

    def _distance_ns(self, at_ns: int, rate: Fraction) -> float:
        """From turns at a rate, one of them at `at_ns`, to the nearest of anybody's."""
        distances = (_apart_ns(at_ns - turn.due_ns(), rate, turn.rate) for turn in self._turns.values())
        return min(distances, default=FOR_EVER_NS)


def _apart_ns(offset_ns: int, a: Fraction, b: Fraction) -> float:
    """How near turns at two rates come to each other: they shift by the longest time that fits into both periods."""
    shift_ns = NS_PER_S * gcd(a.denominator, b.denominator) / lcm(a.numerator, b.numerator)
    rest_ns = offset_ns % shift_ns
    return min(rest_ns, shift_ns - rest_ns)


def _exact(rate_hz: float) -> Fraction:
    """0.1 as a tenth."""
    return Fraction(rate_hz).limit_denominator(NS_PER_S)
