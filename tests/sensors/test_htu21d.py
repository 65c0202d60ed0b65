"""The HTU21D driver: checksums, and what is not an HTU21D."""

from __future__ import annotations

import math

import pytest
from driving import finish

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses.crc8 import checked, crc8
from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.htu21d import Htu21d as Chip
from edgeagent.buses.fake.sht3x import with_crc
from edgeagent.buses.i2c import I2cBus
from edgeagent.errors import ConfigFault, DeviceGone, WrongDevice
from edgeagent.sensors.htu21d import CRC_START, Htu21d, Options, layout


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def on(chip: Chip, clock: VirtualClock) -> Htu21d:
    return Htu21d(I2cBus("fake:htu21d", clock, lambda: chip), 0x40)


@pytest.mark.parametrize(("data", "crc"), [(b"\xdc", 0x79), (b"\x68\x3a", 0x7C), (b"\x4e\x85", 0x6B)])
def test_the_checksum_is_the_one_of_the_datasheets_examples(data: bytes, crc: int) -> None:
    assert crc8(data, CRC_START) == crc


def test_driver_and_fake_agree_on_every_checksum_though_they_compute_it_differently() -> None:
    assert all(checked(with_crc(word, CRC_START), CRC_START) == word for word in range(0, 0x10000, 7))


def test_a_word_with_a_wrong_checksum_is_missing_and_the_other_is_not(clock: VirtualClock) -> None:
    class Flips(Chip):
        def answer(self, n: int) -> bytes:
            answer = super().answer(n)
            return answer if n < 3 or self._rows_measured else answer[:2] + bytes((answer[2] ^ 0x10,))

    driver = on(Flips(clock, Fake()), clock)
    driver.start()
    values, reason = finish(driver.measure(), clock)
    assert [math.isnan(value) for value in values] == [True, False]
    assert "checksum" in reason


def test_an_ina219_at_its_address_is_told_by_the_register_that_it_does_not_have(clock: VirtualClock) -> None:
    class Ina219(Chip):
        def answer(self, n: int) -> bytes:
            return b"\x00" * n

    with pytest.raises(WrongDevice, match=r"user register 0x00.*expected an HTU21D.*an INA219"):
        on(Ina219(clock, Fake()), clock).start()


def test_the_heater_is_switched_off_and_what_is_reserved_stays(clock: VirtualClock) -> None:
    class Si7021(Chip):
        written = b""

        def receive(self, data: bytes) -> None:
            super().receive(data)
            self.written = data

        def answer(self, n: int) -> bytes:
            return b"\x3e" if n == 1 else super().answer(n)

    chip = Si7021(clock, Fake())
    on(chip, clock).start()
    assert chip.written == b"\xe6\x3a", "what its datasheet has after a reset"


def test_the_chip_acknowledges_nothing_while_it_measures(clock: VirtualClock) -> None:
    chip = Chip(clock, Fake())
    bus = I2cBus("fake:htu21d", clock, lambda: chip)
    bus.write(0x40, b"\xf3")
    with pytest.raises(DeviceGone):
        bus.transfer(0x40, b"", 3)
    clock.sleep_s(0.05)
    assert bus.transfer(0x40, b"", 3) == b"\x68\x3a\x7c"


def test_a_rate_that_leaves_no_time_to_measure_is_refused() -> None:
    assert layout(Options(bus="i2c-1", rate=8)).rate_hz == 8
    with pytest.raises(ConfigFault, match=r"10 times a second; expected 8\.77 Hz at most"):
        layout(Options(bus="i2c-1", rate=10))
