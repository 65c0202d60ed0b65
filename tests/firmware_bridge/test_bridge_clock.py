"""Board time as host time: simulated lines that delay, and board clocks that drift and wrap."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from firmware_bridge.clock import BoardClock

MS, S = 1_000_000, 1_000_000_000
BOOTED_NS = 7_000 * S


class Line:
    """A board whose clock runs `drift` fast, at the end of a line that holds bytes back at random."""

    def __init__(self, drift: float, mean_delay_ms: float, spikes: float = 0.0, start_us: int = 0) -> None:
        self._drift, self._mean_ns, self._spikes = drift, mean_delay_ms * MS, spikes
        self._start_us = start_us
        self._random = Random(4)
        self.clock = BoardClock()

    def board_us(self, host_ns: int) -> int:
        return (self._start_us + round((host_ns - BOOTED_NS) / 1000 * (1 + self._drift))) % 2**32

    def exchange(self, now_ns: int) -> None:
        there_ns, back_ns = self._delay_ns(), self._delay_ns()
        at_ns = now_ns + there_ns
        left_ns = at_ns + 125_000
        self.clock.exchanged(now_ns, left_ns + back_ns, self.board_us(at_ns), self.board_us(left_ns))

    def error_ms(self, now_ns: int) -> float:
        return (self.clock.host_ns(self.board_us(now_ns), now_ns) - now_ns) / MS

    def _delay_ns(self) -> int:
        spike_ns = self._random.uniform(20, 300) * MS if self._random.random() < self._spikes else 0
        return round(300_000 + self._random.expovariate(1 / self._mean_ns) + spike_ns)


def exchange_times(seconds: int) -> list[int]:
    """When a link asks: 8 times at 50 ms, then each second."""
    return [BOOTED_NS + k * 50 * MS for k in range(8)] + [BOOTED_NS + k * S for k in range(1, seconds)]


def worst_error_ms(line: Line, seconds: int) -> float:
    """Between the exchanges and right before the next one, from the end of the first burst on."""
    worst, times = 0.0, exchange_times(seconds)
    for k, (now_ns, next_ns) in enumerate(pairwise(times)):
        line.exchange(now_ns)
        if k >= 7:
            worst = max(worst, *(abs(line.error_ms(t)) for t in (now_ns, (now_ns + next_ns) // 2, next_ns)))
    return worst


@pytest.mark.parametrize("drift", [0.0, 30e-6, -100e-6, 0.005, -0.005])
def test_board_time_is_host_time_within_a_millisecond_for_ten_minutes(drift: float) -> None:
    assert worst_error_ms(Line(drift, mean_delay_ms=0.3), 600) < 1.0


@pytest.mark.parametrize("drift", [30e-6, -0.005])
def test_ways_that_are_sometimes_held_up_for_300_ms_do_not_move_it(drift: float) -> None:
    assert worst_error_ms(Line(drift, mean_delay_ms=0.3, spikes=0.2), 600) < 1.0


def test_drift_is_found_within_ten_parts_per_million_in_a_minute() -> None:
    line = Line(-2500e-6, mean_delay_ms=0.3)
    for now_ns in exchange_times(60):
        line.exchange(now_ns)
    assert line.clock.drift == pytest.approx(-2500e-6, abs=10e-6)


def test_one_exchange_is_good_to_half_of_its_delay() -> None:
    line = Line(0.0, mean_delay_ms=1.0)
    before = line.clock.known
    line.exchange(BOOTED_NS)
    assert (before, line.clock.known) == (False, True)
    assert abs(line.error_ms(BOOTED_NS)) <= line.clock.delay_ns / 2 / MS


def test_it_goes_on_when_the_microseconds_wrap_after_71_minutes() -> None:
    line = Line(0.0, mean_delay_ms=0.3, start_us=2**32 - 30_000_000)
    assert worst_error_ms(line, 60) < 1.0


def test_a_sample_from_before_the_wrap_is_placed_before_it() -> None:
    line = Line(0.0, mean_delay_ms=0.01, start_us=2**32 - 1000)
    line.exchange(BOOTED_NS + 5 * MS)
    now_ns = BOOTED_NS + 10 * MS
    assert line.clock.host_ns(2**32 - 1000, now_ns) == pytest.approx(BOOTED_NS, abs=MS)


def test_an_hour_without_an_exchange_costs_no_wrap() -> None:
    line = Line(0.0, mean_delay_ms=0.01)
    line.exchange(BOOTED_NS)
    assert abs(line.error_ms(BOOTED_NS + 6 * 3600 * S)) < 1.0
