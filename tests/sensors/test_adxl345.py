"""The ADXL345 driver on a chip that answers like the real one."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.adxl345 import Adxl345 as Chip
from edgeagent.buses.fake.chip import os_error
from edgeagent.buses.i2c import I2cBus
from edgeagent.errors import ConfigFault, DeviceFault
from edgeagent.records import NS_PER_S, Block
from edgeagent.sensors.adxl345 import FIFO_SAMPLES, METERS_PER_S2, Adxl345, Options, layout
from edgeagent.sensors.bursts import FromFifo

MS = 1_000_000
COUNTING = Fake(raw=tuple((k, 0, 0) for k in range(500)))


def on(chip: Chip, clock: VirtualClock, rate: float = 100.0) -> FromFifo:
    options = Options(bus="fake:adxl345", rate=rate)
    driver = Adxl345(I2cBus("fake:adxl345", clock, lambda: chip), options)
    sensor = FromFifo("arm", layout(options), clock, driver, FIFO_SAMPLES)
    sensor.open()
    return sensor


def run(sensor: FromFifo, clock: VirtualClock, seconds: float) -> list[Block]:
    end_ns = clock.now_ns() + round(seconds * NS_PER_S)
    blocks = []
    while sensor.due_ns() <= end_ns:
        clock.sleep_s(max(sensor.due_ns() - clock.now_ns(), 0) / NS_PER_S)
        block = sensor.read()
        blocks += [block] if block else []
    return blocks


def counts(blocks: list[Block]) -> list[int]:
    return [round(float(v) / METERS_PER_S2) for b in blocks for v in b.values[:, 0]]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(3 * NS_PER_S)


@pytest.mark.parametrize("rate", [6.25, 50.0, 100.0, 800.0])
def test_every_sample_of_the_chip_comes_out_once_and_in_order(clock: VirtualClock, rate: float) -> None:
    blocks = run(on(Chip(clock, COUNTING), clock, rate), clock, 300 / rate)
    seen = counts(blocks)
    assert len(seen) == pytest.approx(300, abs=20)
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    assert sum(b.lost for b in blocks) == 0
    steps = np.diff(np.concatenate([b.t_mono_ns for b in blocks])) * rate / NS_PER_S
    assert steps.min() > 0.9
    assert steps.max() < 1.1


def test_after_an_overrun_the_fifo_is_emptied_and_the_loss_is_told(clock: VirtualClock) -> None:
    sensor = on(Chip(clock, COUNTING), clock)
    before = run(sensor, clock, 0.11)[-1]
    clock.sleep_s(1.0)
    assert sensor.read() is None
    (after, *_) = run(sensor, clock, 0.11)
    assert sensor.counters()["fifo_overflows"] == 1
    gap = counts([after])[0] - counts([before])[-1]
    assert after.lost == pytest.approx(gap - 1, abs=1)
    assert (after.t_mono_ns[0] - before.t_mono_ns[-1]) / MS / 10 == pytest.approx(gap, abs=1.1)


def test_a_burst_that_breaks_off_is_thrown_away_and_told(clock: VirtualClock) -> None:
    class BreaksOff(Chip):
        left = 1_000_000

        def transfer(self, address: int, out: bytes, n: int) -> bytes:
            if n == 6:
                self.left -= 1
                if self.left == 0:
                    raise os_error(errno.EIO)
            return super().transfer(address, out, n)

    chip = BreaksOff(clock, COUNTING)
    sensor = on(chip, clock)
    run(sensor, clock, 0.11)
    chip.left = 3
    blocks = run(sensor, clock, 0.5)
    assert sensor.counters()["broken_bursts"] == 1
    assert blocks[0].lost == pytest.approx(5, abs=1)


def test_a_chip_that_lost_its_settings_is_a_fault_not_silence(clock: VirtualClock) -> None:
    chip = Chip(clock, Fake())
    sensor = on(chip, clock)
    run(sensor, clock, 1.0)
    chip.transfer(0x53, b"\x2d\x00", 0)
    with pytest.raises(DeviceFault, match="has taken no sample for"):
        run(sensor, clock, 3.0)


@pytest.mark.parametrize(
    ("rate", "near"), [(60.0, "50 Hz or 100 Hz"), (3200.0, "400 Hz or 800 Hz"), (1.0, "6.25 Hz or 12.5 Hz")]
)
def test_a_rate_that_the_chip_does_not_have_names_the_nearest(rate: float, near: str) -> None:
    with pytest.raises(ConfigFault, match=f"expected {near}"):
        layout(Options(bus="i2c-1", rate=rate))
