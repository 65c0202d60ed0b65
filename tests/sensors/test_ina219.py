"""The INA219 driver beyond its case: one conversion a reading, and shunts that cannot be."""

from __future__ import annotations

import pytest
from driving import next_block

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses import Buses
from edgeagent.buses.fake import Fake
from edgeagent.errors import ConfigFault, WrongDevice
from edgeagent.sensors import Context
from edgeagent.sensors.ina219 import Options, build, layout


def test_voltage_and_current_of_a_reading_are_of_one_conversion() -> None:
    clock = VirtualClock()
    fake = Fake(raw=tuple((k, 1000 + k) for k in range(1, 40)))
    sensor = build(
        "supply", Options(bus="fake:ina219", rate=10, average=32, fake=fake), Context(clock, Buses(clock))
    )
    sensor.open()
    for k in range(1, 40):
        assert next_block(sensor, clock).values[0, :2] == pytest.approx(((1000 + k) * 4e-3, k * 10e-6 / 0.1))


def test_a_chip_without_the_configuration_of_an_ina219_after_a_reset_is_another() -> None:
    clock = VirtualClock()
    options = Options(bus="fake:tmp102", address=0x48)
    sensor = build("supply", options, Context(clock, Buses(clock)))
    with pytest.raises(WrongDevice, match=r"after a reset.*expected an INA219 \(0x399f\)"):
        sensor.open()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shunt": 0.0}, "a shunt of no resistance"),
        (
            {"rate": 100.0, "average": 128},
            r"an average of 128 cannot be had 100 times a second; expected 6\.67 Hz",
        ),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigFault, match=says):
        layout(Options(bus="i2c-1", **options))  # type: ignore[arg-type]
