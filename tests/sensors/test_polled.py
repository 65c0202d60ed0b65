"""Sensors that are asked keep to their deadlines, and say what became of those that they missed."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

import numpy as np
import pytest

from edgeagent.agent.clock import VirtualClock
from edgeagent.errors import DeviceFault, DeviceGone
from edgeagent.records import NS_PER_S, Block, Channel, Layout
from edgeagent.sensors.polled import BAD_IN_A_ROW, Measurement, Polled, Row

MS = 1_000_000


class Counter:
    """A chip that counts its readings; each takes `took_s`, and `act` is what happens beside."""

    port = "fake:counter"
    where = "fake:counter address 0x10"

    def __init__(
        self, clock: VirtualClock, took_s: float = 0.0, act: Callable[[int], None] = lambda _n: None
    ) -> None:
        self.clock, self.took_s, self.act = clock, took_s, act
        self.readings = self.starts = 0
        self.first_s = 0.0

    def start(self) -> float:
        self.starts += 1
        return self.first_s

    def measure(self) -> Measurement:
        self.readings += 1
        self.clock.sleep_s(self.took_s)
        self.act(self.readings)
        return Row((float(self.readings),))

    def counters(self) -> dict[str, int]:
        return {"i2c_naks": 0}

    def close(self) -> None:
        pass


def polled(clock: VirtualClock, chip: Counter, rate_hz: float) -> Polled:
    sensor = Polled("room", Layout(rate_hz, (Channel("n", ""),)), clock, chip)
    sensor.open()
    return sensor


def run(sensor: Polled, clock: VirtualClock, seconds: float) -> list[Block]:
    """What a reader thread would get."""
    end_ns = clock.now_ns() + round(seconds * NS_PER_S)
    blocks = []
    while sensor.due_ns() < end_ns:
        clock.sleep_s(max(sensor.due_ns() - clock.now_ns(), 0) / NS_PER_S)
        block = sensor.read()
        blocks += [block] if block else []
    clock.sleep_s(max(end_ns - clock.now_ns(), 0) / NS_PER_S)
    return blocks


def count(blocks: list[Block]) -> int:
    return sum(len(b.values) for b in blocks)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(3 * NS_PER_S)


def test_ten_minutes_at_100_hz_are_60000_samples_though_every_reading_takes_its_time(
    clock: VirtualClock,
) -> None:
    blocks = run(polled(clock, Counter(clock, took_s=0.0021), 100), clock, 600)
    assert abs(count(blocks) - 60_000) <= 1
    assert sum(b.lost for b in blocks) == 0


@pytest.mark.parametrize("rate_hz", [1 / 60, 0.3, 7.0, 30.0, 333.0])
def test_samples_lie_on_the_grid_of_the_rate(clock: VirtualClock, rate_hz: float) -> None:
    blocks = run(polled(clock, Counter(clock), rate_hz), clock, 100 / rate_hz)
    t_ns = np.concatenate([b.t_mono_ns for b in blocks])
    grid_ns = 3 * NS_PER_S + np.rint(np.arange(len(t_ns)) * NS_PER_S / rate_hz)
    assert np.abs(t_ns - grid_ns).max() <= 1


def test_sensors_of_one_rate_that_are_opened_one_after_the_other_are_read_in_one_wake_up(
    clock: VirtualClock,
) -> None:
    sensors = []
    for _ in range(5):
        clock.sleep_s(0.004)
        sensors.append(polled(clock, Counter(clock), 10))
    assert {sensor.due_ns() for sensor in sensors} == {3 * NS_PER_S + 20 * MS}


def test_a_sample_bears_the_middle_of_its_reading(clock: VirtualClock) -> None:
    (block, *_) = run(polled(clock, Counter(clock, took_s=0.010), 1), clock, 0.5)
    assert block.t_mono_ns[0] == 3 * NS_PER_S + 5 * MS
    assert block.t_read_ns == 3 * NS_PER_S + 10 * MS


def test_slow_samples_are_handed_over_at_once_and_fast_ones_in_blocks_of_50_ms(clock: VirtualClock) -> None:
    assert [len(b.values) for b in run(polled(clock, Counter(clock), 10), clock, 0.35)] == [1] * 4
    assert [len(b.values) for b in run(polled(clock, Counter(clock), 1000), clock, 0.2)] == [50] * 4


def test_the_first_reading_waits_until_the_chip_has_one(clock: VirtualClock) -> None:
    chip = Counter(clock)
    chip.first_s = 0.3
    sensor = polled(clock, chip, 10)
    assert sensor.read() is None
    (block, *_) = run(sensor, clock, 0.35)
    assert block.t_mono_ns[0] == 3 * NS_PER_S + 300 * MS


# A chip that converts


class Converting(Counter):
    """Wants to be left alone for 20 ms, twice."""

    def measure(self) -> Generator[float, None, Row]:
        self.readings += 1
        yield 0.020
        yield 0.020
        return Row((float(self.readings),))


def test_while_a_chip_converts_the_bus_is_free_for_others(clock: VirtualClock) -> None:
    sensor = polled(clock, Converting(clock), 10)
    for due_ms in (0, 20, 40, 100):
        assert sensor.due_ns() == 3 * NS_PER_S + due_ms * MS
        clock.sleep_s((sensor.due_ns() - clock.now_ns()) / NS_PER_S)
        before_ns = clock.now_ns()
        block = sensor.read()
        assert clock.now_ns() == before_ns
        assert (block is not None) == (due_ms == 40)


# What goes wrong


def test_a_reader_that_is_held_up_misses_deadlines_and_says_how_many(clock: VirtualClock) -> None:
    sensor = polled(clock, Counter(clock), 10)
    run(sensor, clock, 0.95)
    clock.sleep_s(0.52)
    (late, on_time) = run(sensor, clock, 0.1)
    assert late.lost == 4
    assert (late.t_mono_ns[0], on_time.t_mono_ns[0]) == (3 * NS_PER_S + 1470 * MS, 3 * NS_PER_S + 1500 * MS)
    assert sensor.counters()["deadlines_missed"] == 4
    assert on_time.lost == 0


def test_what_was_read_before_a_hole_comes_in_a_block_of_its_own(clock: VirtualClock) -> None:
    sensor = polled(clock, Counter(clock), 100)
    run(sensor, clock, 0.03)
    clock.sleep_s(0.1)
    blocks = run(sensor, clock, 0.05)
    assert [(len(b.values), b.lost) for b in blocks] == [(3, 0), (5, 10)]


def test_what_is_really_reached_and_how_long_a_reading_takes_is_told(clock: VirtualClock) -> None:
    sensor = polled(clock, Counter(clock, took_s=0.025), 100)
    blocks = run(sensor, clock, 20)
    assert count(blocks) + sum(b.lost for b in blocks) == pytest.approx(2000, abs=10)
    assert sensor.counters()["true_rate_hz"] == pytest.approx(40, rel=0.01)
    assert sensor.counters()["reading_ms"] == pytest.approx(25)


def test_how_late_readings_begin_is_told(clock: VirtualClock) -> None:
    sensor = polled(clock, Counter(clock), 10)
    for _ in range(100):
        clock.sleep_s((sensor.due_ns() - clock.now_ns()) / NS_PER_S + 0.002)
        sensor.read()
    assert sensor.counters()["late_p99_ms"] == pytest.approx(2.0)


def test_before_a_fault_is_raised_what_was_read_is_handed_over_and_afterwards_the_gap_is_told(
    clock: VirtualClock,
) -> None:
    def fail(reading: int) -> None:
        if reading == 4:
            raise DeviceGone("unplugged")

    sensor = polled(clock, Counter(clock, act=fail), 100)
    assert run(sensor, clock, 0.03) == []
    block = sensor.read()
    assert block is not None
    assert len(block.values) == 3
    with pytest.raises(DeviceGone, match="unplugged"):
        sensor.read()
    sensor.close()
    clock.sleep_s(0.97)
    sensor.open()
    (block, *_) = run(sensor, clock, 0.05)
    assert block.lost == 97
    assert block.seq == 2


def test_readings_that_were_not_yet_handed_over_when_it_was_closed_count_as_lost(clock: VirtualClock) -> None:
    sensor = polled(clock, Counter(clock), 100)
    assert run(sensor, clock, 0.03) == []
    sensor.close()
    sensor.open()
    (block, *_) = run(sensor, clock, 0.05)
    assert block.lost == 3


class Garbled(Counter):
    bad = True

    def measure(self) -> Row:
        return Row((math.nan,), "the checksum is wrong") if self.bad else Row((1.0,))


def test_a_reading_that_failed_is_nan_with_its_reason_and_is_counted(clock: VirtualClock) -> None:
    sensor = polled(clock, Garbled(clock), 10)
    (block,) = run(sensor, clock, 0.05)
    assert math.isnan(block.values[0, 0])
    assert block.reasons == ("the checksum is wrong",)
    assert sensor.counters()["readings_bad"] == 1


def test_nothing_but_bad_readings_is_a_fault_of_the_device(clock: VirtualClock) -> None:
    sensor = polled(clock, Garbled(clock), 10)
    with pytest.raises(DeviceFault, match=r"0x10: 10 readings in a row could not be used: the checksum"):
        run(sensor, clock, 2.0)
    sensor.open()
    assert len(run(sensor, clock, (BAD_IN_A_ROW - 1) / 10)) == BAD_IN_A_ROW - 1
