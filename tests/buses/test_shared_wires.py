"""Two chips on one pair of wires, read by one thread: what the fault of one costs the other."""

from __future__ import annotations

from threading import Event

import pytest

from edgeagent.agent.clock import VirtualClock
from edgeagent.agent.readers import Device
from edgeagent.agent.threads import Inbox
from edgeagent.buses import Buses
from edgeagent.buses.fake import Fake, bme280, tmp102
from edgeagent.buses.fake.chip import FakeChip, FakeWires
from edgeagent.buses.i2c import I2cBus
from edgeagent.records import NS_PER_S
from edgeagent.sensors import Context
from edgeagent.sensors import bme280 as bme280_driver
from edgeagent.sensors import tmp102 as tmp102_driver


class OneBus(Buses):
    """Both chips on /dev/i2c-1."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.wires = FakeWires({0x48: tmp102.build(clock, Fake()), 0x76: bme280.build(clock, Fake())})
        self._bus = I2cBus("/dev/i2c-1", clock, lambda: self.wires)

    def i2c(self, name: str, fake: Fake = Fake()) -> I2cBus:  # noqa: B008
        del name, fake
        return self._bus


class Pair:
    """A sound thermometer and a BME280, taken in turn as their reader does it."""

    def __init__(self) -> None:
        self.clock, inbox = VirtualClock(NS_PER_S), Inbox()
        buses = OneBus(self.clock)
        self.wires, context = buses.wires, Context(self.clock, buses)
        sound = tmp102_driver.build("sound", tmp102_driver.Options(bus="i2c-1", rate=7.0), context)
        other = bme280_driver.build("other", bme280_driver.Options(bus="i2c-1", rate=10.0), context)
        self.sound = Device("sound", sound, self.clock, inbox)
        self.other = Device("other", other, self.clock, inbox)

    def run(self, seconds: float) -> tuple[str, str]:
        """The states after so long."""
        end_ns, never = self.clock.now_ns() + round(seconds * NS_PER_S), Event()
        while self.clock.now_ns() < end_ns:
            self.clock.wait(never, min(self.sound.due_ns(), self.other.due_ns()))
            for device in (self.sound, self.other):
                if device.due_ns() <= self.clock.now_ns():
                    device.step()
        return self.sound.state, self.other.state


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    assert pair.run(30.0) == ("ok", "ok")
    return pair


def nothing_was_missed(device: Device, late_ms: float) -> None:
    counted = device.sensor.counters()
    assert {
        cause: n for cause, n in counted.items() if cause.startswith(("i2c", "deadlines", "readings"))
    } == {
        **dict.fromkeys(("i2c_retries", "i2c_naks", "i2c_timeouts", "i2c_errors"), 0),
        **dict.fromkeys(("deadlines_missed", "readings_bad"), 0),
    }
    assert counted["late_p99_ms"] < late_ms


def test_a_dead_chip_delays_the_other_by_its_retries_and_is_back_by_itself(pair: Pair) -> None:
    pulled = pair.wires.chips.pop(0x76)
    assert pair.run(60.0) == ("ok", "gone")
    nothing_was_missed(pair.sound, late_ms=10.0)
    pair.wires.chips[0x76] = pulled
    assert pair.run(15.0) == ("ok", "ok")


@pytest.mark.parametrize("fault", [{"noise": 1_000_000}, {"id": 0x5A}, {"slow_s": 0.005}])
def test_a_chip_that_misbehaves_touches_no_other(pair: Pair, fault: dict[str, float]) -> None:
    chip = pair.wires.chips[0x76]
    assert isinstance(chip, FakeChip)
    for name, value in fault.items():
        setattr(chip, name, value)
    assert pair.run(60.0)[0] == "ok"
    nothing_was_missed(pair.sound, late_ms=50.0)
