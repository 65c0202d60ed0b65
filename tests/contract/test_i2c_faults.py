"""Every driver on an I2C bus against every fault that the fake chips take: see buses/fake/__init__.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
from driven import Driven, rows, tries, values
from test_sensors import ON_FAKE_BUS, Case

from edgeagent.buses import Buses
from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.chip import STRETCH_LIMIT_S, FakeChip
from edgeagent.buses.i2c import I2cBus
from edgeagent.errors import ConfigFault, DeviceFault, DeviceGone, WrongDevice
from edgeagent.records import NS_PER_S, Float32Array
from edgeagent.sensors import Context


class Wires(Buses):
    """The buses, and the chip on the last of them: to have its faults."""

    chip: FakeChip

    def i2c(self, name: str, fake: Fake = Fake()) -> I2cBus:  # noqa: B008
        bus = super().i2c(name, fake)
        chip = bus.connect()
        assert isinstance(chip, FakeChip)
        self.chip = chip
        return bus


class Wired(Driven):
    """A case with its chip at hand."""

    def __init__(self, case: Case) -> None:
        wires = Wires(case.clock)
        super().__init__(case, wires)
        self.chip = wires.chip


@pytest.fixture(params=ON_FAKE_BUS, ids=lambda p: p.name)
def wired(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wired]:
    wired = Wired(Case(request.param, tmp_path))
    yield wired
    wired.sensor.close()


@tries(Fake, "nak")
def test_a_chip_that_does_not_acknowledge_twice_is_asked_again_and_it_is_counted(wired: Wired) -> None:
    wired.sensor.open()
    wired.run(wired.periods_s)
    wired.chip.nak = 2
    blocks = wired.run(wired.periods_s)
    assert rows(blocks) > 0
    assert sum(b.lost for b in blocks) == 0
    counters = wired.sensor.counters()
    assert (counters["i2c_naks"], counters["i2c_retries"]) == (2, 2)


def test_a_chip_that_was_never_there_is_gone_and_the_message_says_where(wired: Wired) -> None:
    wired.chip.nak = 1_000_000
    with pytest.raises(DeviceGone, match=r"fake:\w+ address 0x[0-9a-f]{2}: nothing answers"):
        wired.sensor.open()


def test_a_chip_that_answers_for_an_hour_and_then_no_more_is_gone_and_comes_back_with_the_gap_told(
    wired: Wired,
) -> None:
    wired = at_its_slowest(wired.case)
    wired.sensor.open()
    (*_, last) = hour = wired.run(3600.0)
    assert wired.sensor.layout is not None
    rate_hz = wired.sensor.layout.rate_hz
    assert rows(hour) + sum(b.lost for b in hour) == pytest.approx(3600 * rate_hz, rel=0.02, abs=2)
    wired.chip.nak = 1_000_000
    with pytest.raises(DeviceGone):
        wired.run(10 / rate_hz)
    wired.sensor.close()
    wired.clock.sleep_s(60)
    wired.chip.nak = 0
    wired.sensor.open()
    first = wired.run(10 / rate_hz)[0]
    assert first.lost == pytest.approx(60 * rate_hz, rel=0.2)
    assert first.t_mono_ns[0] > last.t_mono_ns[-1]


def at_its_slowest(case: Case) -> Wired:
    """At the lowest of three rates that the chip can be set to: an hour of it is soon over."""
    for rate_hz in (1.0, 4.0, 6.25):
        options = msgspec.structs.replace(case.options, rate=rate_hz)
        with suppress(ConfigFault):
            case.module.layout(options)
            case.options = options
            return Wired(case)
    raise AssertionError("another rate")


@tries(Fake, "stuck")
def test_a_stuck_bus_is_told_from_a_silent_chip_and_left_when_it_is_free_again(wired: Wired) -> None:
    wired.sensor.open()
    wired.run(wired.periods_s)
    wired.chip.stuck = True
    with pytest.raises(DeviceFault, match=r"SDA or SCL is held low.*pull-ups") as raised:
        wired.run(10 * wired.periods_s)
    assert not isinstance(raised.value, DeviceGone)
    wired.sensor.close()
    with pytest.raises(DeviceFault, match="SDA or SCL"):
        wired.sensor.open()
    wired.chip.stuck = False
    wired.sensor.open()
    assert rows(wired.run(wired.periods_s)) > 0


def test_a_chip_that_holds_the_clock_too_long_is_a_fault_with_the_cure_for_a_pi(wired: Wired) -> None:
    wired.sensor.open()
    wired.chip.slow_s = STRETCH_LIMIT_S + 1
    with pytest.raises(DeviceFault, match=r"held the clock for too long.*i2c_arm_baudrate=10000.*i2c-gpio"):
        wired.run(100 * wired.periods_s)
    assert wired.sensor.counters()["i2c_timeouts"] > 0


@tries(Fake, "slow")
def test_a_slow_chip_is_read_as_fast_as_it_can_be_and_what_was_missed_is_told(wired: Wired) -> None:
    wired.sensor.open()
    wired.run(wired.periods_s)
    wired.chip.slow_s = 0.002
    blocks = wired.run(5.0)
    span_s = (blocks[-1].t_mono_ns[-1] - blocks[0].t_mono_ns[0]) / NS_PER_S
    told = rows(blocks) + sum(b.lost for b in blocks[1:])
    assert told == pytest.approx(span_s * float(wired.case.expected["rate_hz"]), rel=0.05, abs=5)
    assert (np.diff(np.concatenate([b.t_mono_ns for b in blocks])) > 0).all()


@tries(Fake, "stuck_value")
def test_a_value_that_is_stuck_is_passed_on_as_it_is(wired: Wired) -> None:
    """Whether a value may stay the same for so long, only conditioning can know."""
    wired.sensor.open()
    wired.run(wired.periods_s)
    wired.chip.stuck_value = True
    wired.run(wired.periods_s)
    seen = values(wired.run(wired.periods_s))
    assert len(np.unique(np.nan_to_num(seen), axis=0)) == 1


@tries(Fake, "noise")
def test_after_a_burst_of_noise_samples_come_clean_and_complete_again(wired: Wired) -> None:
    wired.sensor.open()
    clean = wired.run(2 * wired.periods_s)
    wired.chip.noise = 5
    wired.run_as_reader(2 * wired.periods_s + 3.0)
    assert wired.chip.noise == 0
    after = wired.run_as_reader(3 * wired.periods_s)
    assert rows(after) >= rows(clean)
    assert [b.lost for b in after[1:]] == [0] * (len(after) - 1)
    known = np.nan_to_num(values(clean))
    seen = np.nan_to_num(values(after))
    low, high = known.min(axis=0), known.max(axis=0)
    assert (seen >= low).all()
    assert (seen <= high).all()


@tries(Fake, "wrong_id")
def test_a_chip_with_another_id_is_the_wrong_device_and_one_without_an_id_cannot_have_a_wrong_one(
    wired: Wired,
) -> None:
    case, chip = wired.case, wired.chip
    options = msgspec.structs.replace(
        case.options, fake=msgspec.structs.replace(case.options.fake, wrong_id=0x5A)
    )
    context = Context(case.clock, Buses(case.clock))
    if chip.ID is None:
        with pytest.raises(ConfigFault, match="has no id"):
            case.module.build(case.name, options, context)
        return
    sensor = case.module.build(case.name, options, context)
    with pytest.raises(WrongDevice, match=r"address 0x[0-9a-f]+: .*; expected .*driver:"):
        sensor.open()


OF_ONE_INSTANT = [
    folder
    for folder in ON_FAKE_BUS
    if len(json.loads((folder / "expected.json").read_text())["channels"]) > 1
    and "recording:" not in (folder / "config.yaml").read_text()  # the MPUs: tests/sensors/test_mpu6050.py
    and "driver: ads1115" not in (folder / "config.yaml").read_text()  # one converter for all its inputs
]


@pytest.mark.parametrize("folder", OF_ONE_INSTANT, ids=lambda p: p.name)
@pytest.mark.parametrize("transfer_s", [0.0003, 0.004])
def test_no_sample_mixes_two_instants_however_the_transfers_fall_between_the_conversions(
    folder: Path, transfer_s: float, tmp_path: Path
) -> None:
    """The chip converts two rows in turn, while its registers are being read."""
    low, high = (seen(folder, tmp_path / name, name) for name in ("low", "high"))
    both = seen(folder, tmp_path / "both", "both", transfer_s)
    assert len(low) == len(high) == 1
    assert {tuple(row) for row in both} <= {tuple(row) for row in np.concatenate((low, high))}
    assert len(both) == 2


def seen(folder: Path, work: Path, what: str, transfer_s: float = 0.0) -> Float32Array:
    """The different rows that come of a chip that converts its lowest counts, its highest, or both in turn."""
    work.mkdir()
    case = Case(folder, work)
    chip = Wired(case).chip
    low, high = (
        tuple(rest + sign * swing for rest, swing in zip(chip.REST, chip.SWING, strict=True))
        for sign in (-1, 1)
    )
    raw = {"low": (low,), "high": (high,), "both": (low, high)}[what]
    fake = msgspec.structs.replace(case.options.fake, raw=raw)
    case.options = msgspec.structs.replace(case.options, fake=fake)
    wired = Wired(case)
    wired.chip.slow_s = transfer_s
    wired.sensor.open()
    return np.unique(values(wired.run(3 * wired.periods_s)), axis=0)
