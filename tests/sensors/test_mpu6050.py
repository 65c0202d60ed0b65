"""The MPU-6050 driver on a chip that answers like the real one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses import Buses
from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.mpu6050 import CHANNELS, UNITS, Wave
from edgeagent.buses.fake.mpu6050 import Mpu6050 as Chip
from edgeagent.buses.i2c import I2cBus
from edgeagent.errors import ConfigFault, DeviceFault, DeviceGone, WrongDevice
from edgeagent.recording import Header, Label, write_series
from edgeagent.records import NS_PER_S, Block, Int64Array, Layout, decode_raw, encode_raw
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.bursts import FromFifo, burst_ns
from edgeagent.sensors.mpu6050 import MPU6050, Mpu6050, Options, advise, build, layout, low_pass

MS = 1_000_000


def on(chip: Chip, clock: VirtualClock, **given: object) -> FromFifo:
    """The driver on that chip, open."""
    options = Options(bus="fake:mpu6050", **given)  # type: ignore[arg-type]
    driver = Mpu6050(I2cBus("fake:mpu6050", clock, lambda: chip), options, clock)
    sensor = FromFifo("imu", layout(options), clock, driver, MPU6050.fifo_samples)
    sensor.open()
    return sensor


def read_when_due(sensor: Sensor, clock: VirtualClock, seconds: float) -> list[Block]:
    """What a reader thread would get."""
    blocks = []
    end_ns = clock.now_ns() + round(seconds * NS_PER_S)
    while sensor.due_ns() <= end_ns:
        clock.sleep_s(max(sensor.due_ns() - clock.now_ns(), 0) / NS_PER_S)
        block = sensor.read()
        blocks += [block] if block else []
    return blocks


def times(blocks: list[Block]) -> Int64Array:
    return np.concatenate([b.t_mono_ns for b in blocks])


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(3 * NS_PER_S)


@pytest.fixture
def chip(clock: VirtualClock) -> Chip:
    return Chip(clock, Wave())


# What comes out


@pytest.mark.parametrize("rate", [4, 50, 250, 1000])
def test_every_sample_of_the_chip_comes_out_once(chip: Chip, clock: VirtualClock, rate: int) -> None:
    blocks = read_when_due(on(chip, clock, rate=rate), clock, 10.0)
    assert sum(len(b.values) for b in blocks) == pytest.approx(10 * rate, abs=0.1 * rate + 1)
    assert [b.lost for b in blocks] == [0] * len(blocks)
    assert [b.seq for b in blocks] == list(range(1, len(blocks) + 1))
    steps = np.diff(times(blocks)) * rate / NS_PER_S
    assert steps.min() > 0.9
    assert steps.max() < 1.1


@pytest.mark.parametrize(
    ("accel_range", "gyro_range", "per_g", "per_dps"),
    [(2, 250, 16384, 131), (4, 500, 8192, 65.5), (8, 1000, 4096, 32.8), (16, 2000, 2048, 16.4)],
)
def test_counts_become_si_units_by_the_sensitivities_of_the_datasheet(
    clock: VirtualClock, accel_range: int, gyro_range: int, per_g: float, per_dps: float
) -> None:
    class OneGTenDps(Wave):
        SWING = np.zeros(6)
        REST = np.array([9.80665, 0, -9.80665, *np.radians([10.0, 0, -10.0])])

    sensor = on(Chip(clock, OneGTenDps()), clock, accel_range=accel_range, gyro_range=gyro_range)
    (block, *_) = read_when_due(sensor, clock, 0.2)
    g, dps = 9.80665, np.radians(round(10 * per_dps) / per_dps)
    assert block.values[0] == pytest.approx([g, 0, -g, dps, 0, -dps], rel=1e-6)
    assert sensor.layout is not None
    assert sensor.layout.channels[0].lsb == pytest.approx(9.80665 / per_g)
    assert sensor.layout.channels[3].lsb == pytest.approx(np.radians(1 / per_dps))


def test_values_go_back_to_the_very_counts_for_storage(chip: Chip, clock: VirtualClock) -> None:
    sensor = on(chip, clock)
    (block, *_) = read_when_due(sensor, clock, 0.5)
    assert sensor.layout is not None
    raw = encode_raw(block.values, sensor.layout.channels)
    assert raw.encoding == "int16"
    assert np.array_equal(decode_raw(raw, sensor.layout.channels), block.values)


def test_a_recording_comes_out_as_it_went_in_and_its_labels_are_told(
    tmp_path: Path, clock: VirtualClock
) -> None:
    shape = Layout(50.0, layout(Options(bus="x")).channels)
    counts = np.random.default_rng(1).integers(-30000, 30000, (200, 6))
    values = (counts * np.array([c.lsb for c in shape.channels])).astype(np.float32)
    write_series(
        tmp_path / "r", Header(1, {"wrist": shape}, (Label("row", 0, 4 * NS_PER_S),)), "wrist", values
    )
    options = Options(bus="fake:mpu6050", fake=Fake(recording=tmp_path / "r"))
    sensor = build("imu", options, Context(clock, Buses(clock)))
    sensor.open()
    blocks = read_when_due(sensor, clock, 4.2)
    assert np.array_equal(np.concatenate([b.values for b in blocks])[:200], values)
    assert sensor.truth is not None
    t_ns = times(blocks)
    assert sensor.truth(int(t_ns[2]), int(t_ns[190])) == "row"


# When


def test_sample_times_are_those_of_the_chip_within_a_period(chip: Chip, clock: VirtualClock) -> None:
    sensor = on(chip, clock)
    enabled_ns = clock.now_ns()
    t_ns = times(read_when_due(sensor, clock, 5.0))
    really = enabled_ns + (np.arange(len(t_ns)) + 1) * 20 * MS
    assert np.abs(t_ns - really).max() <= 20 * MS


def test_a_reader_that_is_held_up_loses_nothing_and_moves_no_sample(chip: Chip, clock: VirtualClock) -> None:
    sensor = on(chip, clock, rate=1000)
    blocks = []
    for pause_ms in [40, 41, 80, 40, 3, 77, 40, 55] * 10:
        clock.sleep_s(pause_ms / 1000)
        block = sensor.read()
        assert block is not None
        blocks.append(block)
    steps_ms = np.diff(times(blocks)) / MS
    assert np.abs(steps_ms - 1).max() < 0.2
    assert sum(b.lost for b in blocks) == 0


class FastClock(VirtualClock):
    """The chip's own idea of time: one per cent fast."""

    def __init__(self, true: VirtualClock) -> None:
        super().__init__()
        self._true = true

    def now_ns(self) -> int:
        return round(self._true.now_ns() * 1.01)


def test_a_chip_whose_clock_is_one_per_cent_fast_shows_no_hole_and_its_true_rate(clock: VirtualClock) -> None:
    sensor = on(Chip(FastClock(clock), Wave()), clock, rate=250)
    blocks = read_when_due(sensor, clock, 60.0)
    steps = np.diff(times(blocks)) * 250 / NS_PER_S
    assert steps.min() > 0.5
    assert steps.max() < 1.5
    assert sum(len(b.values) for b in blocks) == pytest.approx(60 * 252.5, abs=30)
    assert sensor.counters()["true_rate_hz"] == pytest.approx(252.5, rel=0.005)


def test_ten_minutes_at_100_hz_are_60600_samples_of_such_a_chip_each_within_a_period_of_when_it_was_taken(
    clock: VirtualClock,
) -> None:
    sensor = on(Chip(FastClock(clock), Wave()), clock, rate=100)
    enabled_ns = clock.now_ns()
    blocks = read_when_due(sensor, clock, 600.0)
    last = sensor.read()
    t_ns = times([*blocks, last] if last is not None else blocks)
    assert len(t_ns) == pytest.approx(60_600, abs=1)
    assert sum(b.lost for b in blocks) == 0
    really_ns = enabled_ns + (np.arange(len(t_ns)) + 1) * 10 * MS / 1.01
    settled = len(t_ns) // 60  # it takes some seconds to learn how fast the chip is
    assert np.abs(t_ns - really_ns)[settled:].max() <= 10 * MS
    assert sensor.counters()["jitter_ms"] < 10


@pytest.mark.parametrize(
    ("rate_hz", "ms"), [(1000, 40), (500, 40), (100, 50), (50, 100), (20, 100), (4, 250)]
)
def test_bursts_are_due_every_40_to_100_ms_and_at_slow_rates_once_a_sample(rate_hz: float, ms: int) -> None:
    assert burst_ns(rate_hz, 85) == ms * MS
    assert burst_ns(rate_hz, 85) * rate_hz / NS_PER_S * 12 < 1024 / 2


def test_a_burst_costs_two_transfers(clock: VirtualClock) -> None:
    class Counting(Chip):
        transfers = 0

        def transfer(self, address: int, out: bytes, n: int) -> bytes:
            self.transfers += 1
            return super().transfer(address, out, n)

    chip = Counting(clock, Wave())
    sensor = on(chip, clock, rate=1000)
    before = chip.transfers
    (block,) = read_when_due(sensor, clock, 0.041)
    assert len(block.values) == 40
    assert chip.transfers - before == 2


# What goes wrong


@pytest.mark.parametrize(
    ("found", "called"),
    [(0x70, "an MPU-6500"), (0x71, "an MPU-9250"), (0x12, "an ICM-20602"), (0x55, "unknown")],
)
def test_a_wrong_chip_is_named(clock: VirtualClock, found: int, called: str) -> None:
    with pytest.raises(WrongDevice, match=rf"{called}.*{found:#04x}.*expected an MPU-6050.*AD0"):
        on(Chip(clock, Wave(), Fake(wrong_id=found)), clock)


def test_a_chip_that_does_not_acknowledge_is_gone_and_found_again_by_the_next_open(
    clock: VirtualClock,
) -> None:
    chip = Chip(clock, Wave(), Fake(nak=3))
    with pytest.raises(DeviceGone, match=r"fake:mpu6050 address 0x68: nothing answers"):
        on(chip, clock)
    assert read_when_due(on(chip, clock), clock, 0.2)


def test_a_bus_that_is_stuck_is_a_fault(clock: VirtualClock) -> None:
    with pytest.raises(DeviceFault, match="SDA or SCL"):
        on(Chip(clock, Wave(), Fake(stuck=True)), clock)


def test_a_short_failure_to_acknowledge_is_retried_and_counted(chip: Chip, clock: VirtualClock) -> None:
    sensor = on(chip, clock)
    clock.sleep_s(0.2)
    chip.nak = 2
    assert sensor.read() is not None
    assert sensor.counters()["i2c_retries"] == 2


def test_after_an_overflow_the_fifo_is_reset_and_the_loss_is_told_by_the_next_block(
    chip: Chip, clock: VirtualClock
) -> None:
    sensor = on(chip, clock, rate=1000)
    (before, *_) = read_when_due(sensor, clock, 0.041)
    clock.sleep_s(0.5)
    assert sensor.read() is None
    (after, *_) = read_when_due(sensor, clock, 0.041)
    assert sensor.counters()["fifo_overflows"] == 1
    assert after.lost == pytest.approx(500, abs=2)
    gap = (after.t_mono_ns[0] - before.t_mono_ns[-1]) / MS
    assert after.lost == round(gap) - 1
    assert after.values[:, 2] == pytest.approx(9.8, abs=0.6), "misaligned samples would put gravity elsewhere"


def test_a_burst_that_breaks_off_is_thrown_away_with_what_it_left_unaligned(clock: VirtualClock) -> None:
    class BreaksOff(Chip):
        broken = False

        def transfer(self, address: int, out: bytes, n: int) -> bytes:
            if self.broken and out == b"\x74":
                super().transfer(address, out, 5)
                self.broken = False
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().transfer(address, out, n)

    chip = BreaksOff(clock, Wave())
    sensor = on(chip, clock)
    read_when_due(sensor, clock, 0.11)
    chip.broken = True
    blocks = read_when_due(sensor, clock, 0.5)
    assert sensor.counters()["broken_bursts"] == 1
    assert blocks[0].lost == pytest.approx(5, abs=1)
    assert blocks[0].values[:, 2] == pytest.approx(9.8, abs=0.6)


def test_a_chip_that_lost_its_settings_is_a_fault_not_silence(chip: Chip, clock: VirtualClock) -> None:
    sensor = on(chip, clock)
    read_when_due(sensor, clock, 1.0)
    chip.transfer(0x68, bytes((0x6B, 0x80)), 0)  # a brown-out: the chip is back at its defaults, asleep
    with pytest.raises(DeviceFault, match=r"has taken no sample for .*check its supply"):
        read_when_due(sensor, clock, 2.0)
    sensor.close()
    sensor.open()
    (block, *_) = read_when_due(sensor, clock, 0.2)
    assert block.lost > 50


# What the config may say


def test_a_rate_that_the_divider_cannot_make_names_the_nearest() -> None:
    with pytest.raises(ConfigFault, match=r"cannot sample at 60 Hz; expected 62\.5 Hz or 58\.824 Hz"):
        layout(Options(bus="i2c-1", rate=60.0))


@pytest.mark.parametrize(
    ("rate", "nearest"), [(1010.0, "1000 Hz"), (3.0, "3.9062 Hz"), (0.0, "3.9062 Hz"), (-50.0, "3.9062 Hz")]
)
def test_a_rate_out_of_range_is_refused(rate: float, nearest: str) -> None:
    with pytest.raises(ConfigFault, match=f"expected {nearest} "):
        layout(Options(bus="i2c-1", rate=rate))


@pytest.mark.parametrize(("rate", "true_hz"), [(4.0, 4.0), (58.82, 1000 / 17), (1000.0, 1000.0)])
def test_the_layout_has_the_rate_that_the_chip_really_makes(rate: float, true_hz: float) -> None:
    assert layout(Options(bus="i2c-1", rate=rate)).rate_hz == true_hz


@pytest.mark.parametrize(("rate_hz", "setting"), [(1000, 1), (200, 2), (100, 3), (50, 4), (10, 6), (4, 6)])
def test_the_low_pass_filter_is_the_widest_below_half_the_rate(rate_hz: float, setting: int) -> None:
    assert low_pass(rate_hz) == setting


def test_a_rate_that_the_bus_cannot_carry_is_advised_against() -> None:
    (advice,) = advise(Options(bus="i2c-1", rate=1000.0))
    assert advice.key == "rate"
    assert "i2c_arm_baudrate=400000" in advice.text
    assert not list(advise(Options(bus="i2c-1", rate=500.0)))
    assert not list(advise(Options(bus="fake:mpu6050", rate=1000.0)))


def test_the_channels_are_those_that_recordings_and_bundles_name() -> None:
    assert [(c.name, c.unit) for c in layout(Options(bus="x")).channels] == list(
        zip(CHANNELS, UNITS, strict=True)
    )
