"""The three clocks: real, scaled for the demo, and virtual for tests and replay."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from edgeagent.agent.clock import RealClock, ScaledClock, SharedClock, VirtualClock
from edgeagent.buses import Buses
from edgeagent.records import NS_PER_MS, NS_PER_S
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.mpu6050 import Options, build
from edgeagent.timebase import Clock, Wall


def test_a_scaled_clock_starts_at_its_origin_and_runs_so_many_times_as_fast() -> None:
    real = RealClock()
    origin_ns = real.now_ns()
    clock = ScaledClock(20, origin_ns)
    before_ns, scaled_ns, after_ns = real.now_ns(), clock.now_ns(), real.now_ns()
    assert 20 * (before_ns - origin_ns) <= scaled_ns - origin_ns <= 20 * (after_ns - origin_ns)
    assert clock.real_s(20 * NS_PER_S) == 1.0


def test_whoever_waits_on_a_scaled_clock_waits_so_many_times_less() -> None:
    real = RealClock()
    clock = ScaledClock(100, real.now_ns())
    before_ns, scaled_ns = real.now_ns(), clock.now_ns()
    clock.sleep_s(1.0)
    assert not clock.wait(Event(), clock.now_ns() + NS_PER_S)
    assert clock.now_ns() - scaled_ns >= 2 * NS_PER_S
    assert (real.now_ns() - before_ns) * 100 >= 2 * NS_PER_S


def test_wall_time_is_the_same_on_a_real_and_a_scaled_clock() -> None:
    real = RealClock()
    scaled = ScaledClock(10, real.now_ns())
    walls = [clock.now_ns() + clock.wall().offset_ns for clock in (real, scaled)]
    assert abs(walls[0] - walls[1]) < 10 * NS_PER_S


@pytest.mark.parametrize("clock", [RealClock(), ScaledClock(10, 0), VirtualClock()])
def test_a_wait_for_what_has_happened_or_has_passed_does_not_wait(clock: RealClock | VirtualClock) -> None:
    happened = Event()
    happened.set()
    assert clock.wait(happened, clock.now_ns() + 3600 * NS_PER_S)
    assert not clock.wait(Event(), clock.now_ns() - 1)


def test_a_shared_clock_stands_still_for_all_where_the_one_who_lets_it_run_is_held_up_and_goes_on_there(
    tmp_path: Path,
) -> None:
    real = RealClock()
    one = SharedClock(1, real.now_ns(), tmp_path / "clock")
    other = SharedClock(1, one._origin_ns, tmp_path / "clock")
    one.let_run(10 * NS_PER_MS)
    real.sleep_s(0.05)
    stood_ns = one.now_ns()
    real.sleep_s(0.05)
    assert one.now_ns() == other.now_ns() == stood_ns
    before_ns = real.now_ns()
    one.let_run(None)
    assert stood_ns <= other.now_ns() <= stood_ns + real.now_ns() - before_ns
    real.sleep_s(0.01)
    assert other.now_ns() > stood_ns


def overflows(clock: Clock) -> int:
    """Of a virtual MPU6050 that is read five times, 0.1 s of real time apart."""
    sensor: Sensor = build("imu", Options(bus="fake:mpu6050"), Context(clock, Buses(clock)))
    sensor.open()
    for _ in range(5):
        RealClock().sleep_s(0.1)
        sensor.read()
    found = int(sensor.counters()["fifo_overflows"])
    sensor.close()
    return found


def test_a_machine_that_stalls_overruns_a_virtual_fifo_on_a_time_of_its_own_and_none_on_a_shared_one(
    tmp_path: Path,
) -> None:
    origin_ns = RealClock().now_ns()
    assert overflows(ScaledClock(100, origin_ns)) == 5
    shared = SharedClock(100, origin_ns, tmp_path / "clock")
    assert overflows(shared) == 0
    stopped_ns = shared.now_ns()
    RealClock().sleep_s(0.01)
    assert shared.now_ns() > stopped_ns, "a chip that was let go holds nobody up"


def test_virtual_time_stands_still_until_someone_waits() -> None:
    clock = VirtualClock(now_ns=5, wall=Wall(7, synced=True))
    assert (clock.now_ns(), clock.now_ns(), clock.wall()) == (5, 5, Wall(7, synced=True))
    clock.sleep_s(2.0)
    assert not clock.wait(Event(), clock.now_ns() + 3)
    assert clock.now_ns() == 2 * NS_PER_S + 8
