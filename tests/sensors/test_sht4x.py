"""The SHT4x driver: checksums, the ends of its scale, and what is not an SHT4x."""

from __future__ import annotations

import math

import pytest
from driving import finish

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.sht3x import Sht3x
from edgeagent.buses.fake.sht4x import Sht4x as Chip
from edgeagent.buses.i2c import Adapter, I2cBus
from edgeagent.errors import ConfigFault, DeviceGone, WrongDevice
from edgeagent.sensors.sht4x import Options, Sht4x, layout


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def on(chip: Adapter, clock: VirtualClock) -> Sht4x:
    return Sht4x(I2cBus("fake:sht4x", clock, lambda: chip), Options(bus="fake:sht4x"), clock)


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_word_with_a_wrong_checksum_is_missing_and_the_other_is_not(
    clock: VirtualClock, damaged: int
) -> None:
    class Flips(Chip):
        def answer(self, n: int) -> bytes:
            answer = bytearray(super().answer(n))
            answer[3 * damaged + 2] ^= 0x10 if self._measurements else 0
            return bytes(answer)

    driver = on(Flips(clock, Fake()), clock)
    driver.start()
    values, reason = finish(driver.measure(), clock)
    assert [math.isnan(value) for value in values] == [damaged == 0, damaged == 1]
    assert "checksum" in reason


def test_what_answers_without_a_right_checksum_is_no_sht4x(clock: VirtualClock) -> None:
    class Other(Chip):
        def answer(self, n: int) -> bytes:
            return bytes(n)

    with pytest.raises(
        WrongDevice, match=r"serial number came as 0x000000000000.*expected an SHT4x.*an SHT3x"
    ):
        on(Other(clock, Fake()), clock).start()


def test_an_sht3x_at_its_address_does_not_answer_to_its_command(clock: VirtualClock) -> None:
    with pytest.raises(DeviceGone):
        on(Sht3x(clock, Fake()), clock).start()


def test_a_rate_that_leaves_no_time_to_measure_is_a_fault_of_the_config() -> None:
    with pytest.raises(ConfigFault, match=r"130 times a second.*120 Hz at most at high"):
        layout(Options(bus="i2c-1", rate=130.0))
    assert layout(Options(bus="i2c-1", rate=130.0, repeatability="low")).rate_hz == 130.0
