"""The SHT3x driver: checksums, and what one wrong word does to the other."""

from __future__ import annotations

import math

import pytest
from driving import finish

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses.crc8 import checked, crc8
from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.sht3x import Sht3x as Chip
from edgeagent.buses.fake.sht3x import with_crc
from edgeagent.buses.i2c import I2cBus
from edgeagent.errors import ConfigFault, DeviceGone, WrongDevice
from edgeagent.sensors.sht3x import CRC_START, Options, Sht3x, layout


def test_the_checksum_is_the_one_of_the_datasheets_example() -> None:
    assert crc8(b"\xbe\xef", CRC_START) == 0x92
    assert with_crc(0xBEEF) == b"\xbe\xef\x92"


def test_driver_and_fake_agree_on_every_checksum_though_they_compute_it_differently() -> None:
    assert all(checked(with_crc(word), CRC_START) == word for word in range(0, 0x10000, 7))


@pytest.mark.parametrize("bit", range(24))
def test_a_single_bit_flipped_is_noticed(bit: int) -> None:
    word = int.from_bytes(with_crc(0x1234), "big") ^ 1 << bit
    assert math.isnan(checked(word.to_bytes(3, "big"), CRC_START))


@pytest.mark.parametrize(("broken", "left"), [(0, (False, True)), (4, (True, False))])
def test_a_word_with_a_wrong_checksum_is_missing_and_the_other_is_not(
    broken: int, left: tuple[bool, bool]
) -> None:
    class Flips(Chip):
        def answer(self, n: int) -> bytes:
            answer = bytearray(super().answer(n))
            answer[broken % n] ^= 0x10 if n == 6 else 0
            return bytes(answer)

    clock = VirtualClock()
    chip = Flips(clock, Fake())
    sensor = Sht3x(I2cBus("fake:sht3x", clock, lambda: chip), Options(bus="fake:sht3x"))
    clock.sleep_s(sensor.start())
    values, reason = finish(sensor.measure(), clock)
    assert tuple(not math.isnan(v) for v in values) == left
    assert "checksum" in reason


def test_another_chip_at_its_address_is_told_by_the_checksum_of_the_status() -> None:
    class SomethingElse(Chip):
        def answer(self, n: int) -> bytes:
            return b"\xff" * n

    clock = VirtualClock()
    chip = SomethingElse(clock, Fake())
    sensor = Sht3x(I2cBus("fake:sht3x", clock, lambda: chip), Options(bus="fake:sht3x"))
    with pytest.raises(WrongDevice, match=r"0xffffff.*not its checksum.*expected an SHT3x"):
        sensor.start()


def test_the_chip_acknowledges_nothing_while_it_measures_and_gives_a_measurement_once() -> None:
    clock = VirtualClock()
    chip = Chip(clock, Fake())
    bus = I2cBus("fake:sht3x", clock, lambda: chip)
    bus.write(0x44, b"\x24\x16")
    with pytest.raises(DeviceGone):
        bus.transfer(0x44, b"", 6, attempts=1)
    clock.sleep_s(0.0045)
    assert len(bus.transfer(0x44, b"", 6)) == 6
    with pytest.raises(DeviceGone):
        bus.transfer(0x44, b"", 6)


def test_a_rate_that_leaves_no_time_to_measure_is_refused() -> None:
    assert layout(Options(bus="i2c-1", rate=200, repeatability="low")).rate_hz == 200
    with pytest.raises(ConfigFault, match=r"200 times a second; expected 64\.5 Hz at most at high"):
        layout(Options(bus="i2c-1", rate=200))
