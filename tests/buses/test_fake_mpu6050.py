"""The fake MPU-6050 answers as the register map (RM-MPU-6000A-00 4.2) says the chip does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.mpu6050 import CHANNELS, UNITS, Float64Array, Motion, Mpu6050, Playback, Wave
from edgeagent.buses.i2c import I2cBus, open_i2c
from edgeagent.errors import ConfigFault, DeviceFault, DeviceGone, StorageFault
from edgeagent.recording import Header, Label, write_series
from edgeagent.records import Channel, Int64Array, Layout

AT = 0x68
SECOND = 1_000_000_000
SMPLRT_DIV, CONFIG, GYRO_CONFIG, ACCEL_CONFIG, FIFO_EN = 0x19, 0x1A, 0x1B, 0x1C, 0x23
INT_STATUS, ACCEL_XOUT_H, TEMP_OUT_H, USER_CTRL = 0x3A, 0x3B, 0x41, 0x6A
PWR_MGMT_1, FIFO_COUNTH, FIFO_R_W, WHO_AM_I = 0x6B, 0x72, 0x74, 0x75


class Ramp:
    """Sample k reads k on every axis, in the counts of ±2 g and ±250 dps, at 1 kHz."""

    def at(self, world_ns: Int64Array) -> Float64Array:
        one_count = np.array([9.80665 / 16384] * 3 + [np.radians(1 / 131)] * 3)
        return np.outer(world_ns / 1e6, one_count)

    def label(self, t_start_ns: int, t_end_ns: int) -> None:
        return None


def on_a_bus(clock: VirtualClock, motion: Motion) -> I2cBus:
    chip = Mpu6050(clock, motion)
    return I2cBus("fake:mpu6050", clock, lambda: chip)


def build(clock: VirtualClock, fake: Fake = Fake()) -> I2cBus:  # noqa: B008
    return open_i2c("fake:mpu6050", clock, fake)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(5 * SECOND)


@pytest.fixture
def chip(clock: VirtualClock) -> I2cBus:
    return on_a_bus(clock, Ramp())


def awake(chip: I2cBus, divider: int = 0, ranges: int = 0) -> None:
    """Awake, filter on (1 kHz), divided by 1 + divider."""
    for register, value in (
        (PWR_MGMT_1, 0x01),
        (CONFIG, 1),
        (SMPLRT_DIV, divider),
        (GYRO_CONFIG, ranges << 3),
        (ACCEL_CONFIG, ranges << 3),
    ):
        chip.write(AT, bytes((register, value)))


def fifo_on(chip: I2cBus, what: int = 0x78) -> None:
    chip.write(AT, bytes((FIFO_EN, what)))
    chip.write(AT, bytes((USER_CTRL, 0x40)))


def fifo_count(chip: I2cBus) -> int:
    return int.from_bytes(chip.read(AT, FIFO_COUNTH, 2), "big")


def words(data: bytes) -> list[int]:
    return [int(w) for w in np.frombuffer(data, ">i2")]


def test_it_says_who_it_is(chip: I2cBus) -> None:
    assert chip.read(AT, WHO_AM_I, 1) == b"\x68"


def test_it_sleeps_after_power_on_and_takes_no_samples(chip: I2cBus, clock: VirtualClock) -> None:
    assert chip.read(AT, PWR_MGMT_1, 1) == b"\x40"
    fifo_on(chip)
    clock.sleep_s(1)
    assert fifo_count(chip) == 0
    assert chip.read(AT, INT_STATUS, 1) == b"\x00"


def test_a_device_reset_brings_back_the_defaults_and_forgets_writes_while_it_lasts(
    chip: I2cBus, clock: VirtualClock
) -> None:
    awake(chip, divider=9)
    chip.write(AT, bytes((PWR_MGMT_1, 0x80)))
    chip.write(AT, bytes((PWR_MGMT_1, 0x01)))
    assert chip.read(AT, PWR_MGMT_1, 1) == b"\x40"
    assert chip.read(AT, SMPLRT_DIV, 1) == b"\x00"
    clock.sleep_s(0.1)
    chip.write(AT, bytes((PWR_MGMT_1, 0x01)))
    assert chip.read(AT, PWR_MGMT_1, 1) == b"\x01"


@pytest.mark.parametrize(
    ("dlpf", "divider", "rate_hz"), [(1, 0, 1000), (1, 19, 50), (6, 255, 3.90625), (0, 79, 100)]
)
def test_the_sample_rate_is_8_khz_or_with_the_filter_1_khz_divided_by_one_more_than_the_divider(
    clock: VirtualClock, dlpf: int, divider: int, rate_hz: float
) -> None:
    chip = on_a_bus(clock, Ramp())
    awake(chip, divider)
    chip.write(AT, bytes((CONFIG, dlpf)))
    fifo_on(chip)
    clock.sleep_s(20.5 / rate_hz)
    assert fifo_count(chip) == 20 * 12


@pytest.mark.parametrize(
    ("ranges", "per_g", "per_dps"), [(0, 16384, 131), (1, 8192, 65.5), (2, 4096, 32.8), (3, 2048, 16.4)]
)
def test_the_range_registers_scale_the_counts_as_the_datasheet_says(
    clock: VirtualClock, ranges: int, per_g: int, per_dps: float
) -> None:
    class OneGOneHundredDps(Wave):
        SWING = np.zeros(6)
        REST = np.array([0, 0, 9.80665, *np.radians([100, -100, 0])])

    chip = on_a_bus(clock, OneGOneHundredDps())
    awake(chip, ranges=ranges)
    clock.sleep_s(0.01)
    data = words(chip.read(AT, ACCEL_XOUT_H, 14))
    assert data[:3] == [0, 0, per_g]
    assert data[4:] == [round(100 * per_dps), -round(100 * per_dps), 0]


def test_what_exceeds_the_range_reads_as_full_scale(clock: VirtualClock) -> None:
    class FourG(Wave):
        SWING = np.zeros(6)
        REST = np.array([39.2, -39.2, 0, 0, 0, 0])

    chip = on_a_bus(clock, FourG())
    awake(chip)
    clock.sleep_s(0.01)
    assert words(chip.read(AT, ACCEL_XOUT_H, 4)) == [32767, -32768]


def test_its_temperature_is_25_degrees_by_the_formula_of_the_register_map(
    chip: I2cBus, clock: VirtualClock
) -> None:
    awake(chip)
    clock.sleep_s(0.01)
    (counts,) = words(chip.read(AT, TEMP_OUT_H, 2))
    assert counts / 340 + 36.53 == pytest.approx(25, abs=0.01)


def test_the_fifo_holds_the_enabled_registers_in_the_order_of_their_numbers(
    chip: I2cBus, clock: VirtualClock
) -> None:
    awake(chip)
    fifo_on(chip, 0x08 | 0x80 | 0x10)  # accelerometer, temperature, z gyroscope
    clock.sleep_s(0.0025)
    assert fifo_count(chip) == 2 * 10
    temperature = -3920
    assert words(chip.read(AT, FIFO_R_W, 20)) == [0, 0, 0, temperature, 0, 1, 1, 1, temperature, 1]


def test_no_sample_is_skipped_or_repeated_however_the_reads_fall(chip: I2cBus, clock: VirtualClock) -> None:
    awake(chip)
    fifo_on(chip)
    seen: list[int] = []
    for pause_ms in (0.3, 17.9, 1.0, 1.0, 0.1, 40.7, 3.3):
        clock.sleep_s(pause_ms / 1000)
        seen += words(chip.read(AT, FIFO_R_W, fifo_count(chip)))[::6]
    assert seen == list(range(64))


def test_the_count_is_latched_by_reading_its_high_byte(chip: I2cBus, clock: VirtualClock) -> None:
    awake(chip)
    fifo_on(chip)
    clock.sleep_s(0.0025)
    high = chip.read(AT, FIFO_COUNTH, 1)
    clock.sleep_s(0.010)
    assert high + chip.read(AT, FIFO_COUNTH + 1, 1) == (24).to_bytes(2, "big")
    assert fifo_count(chip) == 144


def test_an_overflow_keeps_the_newest_1024_bytes_and_says_so_once(chip: I2cBus, clock: VirtualClock) -> None:
    awake(chip)
    fifo_on(chip)
    clock.sleep_s(0.0855)
    assert chip.read(AT, INT_STATUS, 1)[0] & 0x10 == 0
    clock.sleep_s(0.1)
    assert fifo_count(chip) == 1024
    assert chip.read(AT, INT_STATUS, 1)[0] & 0x10
    assert chip.read(AT, INT_STATUS, 1)[0] & 0x10 == 0
    assert words(chip.read(AT, FIFO_R_W, 1024))[-12:] == [183] * 6 + [184] * 6


def test_an_empty_fifo_repeats_its_last_byte(chip: I2cBus, clock: VirtualClock) -> None:
    awake(chip)
    fifo_on(chip)
    clock.sleep_s(0.0025)
    chip.read(AT, FIFO_R_W, 24)
    assert chip.read(AT, FIFO_R_W, 3) == b"\x01\x01\x01"


def test_the_fifo_is_reset_only_while_it_is_off(chip: I2cBus, clock: VirtualClock) -> None:
    awake(chip)
    fifo_on(chip)
    clock.sleep_s(0.0055)
    chip.write(AT, bytes((USER_CTRL, 0x44)))
    assert fifo_count(chip) == 60
    chip.write(AT, bytes((USER_CTRL, 0x04)))
    assert fifo_count(chip) == 0
    assert chip.read(AT, USER_CTRL, 1) == b"\x00"


def test_read_only_registers_cannot_be_written(chip: I2cBus) -> None:
    chip.write(AT, bytes((WHO_AM_I, 0x12)))
    assert chip.read(AT, WHO_AM_I, 1) == b"\x68"


def test_another_address_is_not_acknowledged(chip: I2cBus) -> None:
    with pytest.raises(DeviceGone, match="no acknowledge"):
        chip.read(0x6A, WHO_AM_I, 1)


def test_the_faults_can_be_had(clock: VirtualClock) -> None:
    assert build(clock, Fake(wrong_id=0x70)).read(AT, WHO_AM_I, 1) == b"\x70"
    with pytest.raises(DeviceFault, match="stuck"):
        build(clock, Fake(stuck=True)).read(AT, WHO_AM_I, 1)
    bus = build(clock, Fake(nak=3))
    with pytest.raises(DeviceGone):
        bus.read(AT, WHO_AM_I, 1)
    assert bus.read(AT, WHO_AM_I, 1) == b"\x68"


# The recording that it plays

SHAPE = Layout(50.0, tuple(Channel(c, u) for c, u in zip(CHANNELS, UNITS, strict=True)))


def record(folder: Path, values: list[float], shape: Layout = SHAPE, labels: tuple[Label, ...] = ()) -> Path:
    rows = np.repeat(np.array(values, np.float32)[:, np.newaxis], len(shape.channels), axis=1)
    write_series(folder, Header(1, {"imu": shape}, labels), "imu", rows)
    return folder


def test_a_recording_is_played_sample_by_sample_and_round_and_round(tmp_path: Path) -> None:
    motion = Playback(record(tmp_path / "r", [0.0, 1.0, 4.0]))
    at_50_hz = np.arange(7) * 20_000_000
    assert motion.at(at_50_hz)[:, 0].tolist() == [0, 1, 4, 0, 1, 4, 0]


def test_between_samples_of_a_recording_and_over_its_seam_lie_straight_lines(tmp_path: Path) -> None:
    motion = Playback(record(tmp_path / "r", [0.0, 1.0, 4.0]))
    at_100_hz = np.arange(6) * 10_000_000
    assert motion.at(at_100_hz)[:, 5].tolist() == [0, 0.5, 1, 2.5, 4, 2]


def test_time_0_of_the_recording_is_the_first_sample_after_the_fifo_is_enabled(
    tmp_path: Path, clock: VirtualClock
) -> None:
    g = 9.80665
    bus = build(clock, Fake(recording=record(tmp_path / "r", [0.0, g / 4, g / 2])))
    for register, value in ((PWR_MGMT_1, 1), (CONFIG, 4), (SMPLRT_DIV, 19)):
        bus.write(AT, bytes((register, value)))
    clock.sleep_s(1.234)
    bus.write(AT, bytes((FIFO_EN, 0x08)))
    bus.write(AT, bytes((USER_CTRL, 0x40)))
    clock.sleep_s(0.070)
    assert words(bus.read(AT, FIFO_R_W, 18))[::3] == [0, 4096, 8192]


def test_the_truth_is_the_label_at_that_time_of_the_recording_also_in_its_second_round(
    tmp_path: Path, clock: VirtualClock
) -> None:
    labels = (Label("rest", 0, 1 * SECOND), Label("run", 1 * SECOND, 2 * SECOND))
    bus = build(clock, Fake(recording=record(tmp_path / "r", [0.0] * 100, labels=labels)))
    assert bus.truth is not None
    assert bus.truth(clock.now_ns(), clock.now_ns()) is None
    bus.write(AT, bytes((PWR_MGMT_1, 1)))
    bus.write(AT, bytes((CONFIG, 4)))
    bus.write(AT, bytes((SMPLRT_DIV, 19)))
    bus.write(AT, bytes((FIFO_EN, 0x78)))
    bus.write(AT, bytes((USER_CTRL, 0x40)))
    zero = clock.now_ns() + 20_000_000
    said = [
        bus.truth(zero + round(a * SECOND), zero + round(b * SECOND))
        for a, b in ((0, 1), (0.5, 1.5), (1.2, 1.9), (1.9, 2.1), (2.1, 2.9), (203.5, 203.9))
    ]
    assert said == ["rest", None, "run", None, "rest", "run"]


def test_without_a_recording_there_is_no_truth(clock: VirtualClock) -> None:
    assert build(clock).truth is None


def test_a_recording_in_other_units_is_refused(tmp_path: Path) -> None:
    in_g = Layout(50.0, tuple(Channel(c.name, "g") for c in SHAPE.channels))
    with pytest.raises(ConfigFault, match=r"acc_x acc_y acc_z in m/s2"):
        Playback(record(tmp_path / "r", [0.0, 1.0], in_g))


def test_a_recording_that_is_not_there_is_a_fault(tmp_path: Path, clock: VirtualClock) -> None:
    with pytest.raises(StorageFault, match=r"recording\.yaml"):
        build(clock, Fake(recording=tmp_path / "nowhere"))
