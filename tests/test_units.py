"""Units as people write them."""

from __future__ import annotations

import pytest

from edgeagent.config import parts
from edgeagent.units import KNOWN, meant


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ("Amp", "A"),
        ("amps", "A"),
        ("Volts", "V"),
        ("Celsius", "degC"),
        ("°C", "degC"),
        ("deg F", "degF"),
        ("l/min", "L/min"),
        ("m³/h", "m3/h"),
        ("m/s^2", "m/s2"),
        ("µT", "uT"),
        ("percent", "%"),
        ("Lux", "lx"),
        ("HZ", "Hz"),
        ("L/mim", "L/min"),
    ],
)
def test_of_a_unit_that_is_misspelt_the_one_that_was_meant_is_known(written: str, instead: str) -> None:
    assert meant(written) == instead


@pytest.mark.parametrize("unit", [*KNOWN, "", "ppm", "uT", "kVA", "lx", "%RH", "MW", "furlong", "widgets/h"])
def test_a_unit_that_is_known_or_could_be_anything_is_let_stand(unit: str) -> None:
    assert meant(unit) == ""


def test_no_driver_has_a_unit_that_is_misspelt() -> None:
    for name in ("bme280", "ina219", "mpu6050", "nmea", "sht4x", "system"):
        module = parts.find("sensors", name)
        options = {"nmea": {"port": "/dev/ttyACM0"}, "system": {}}.get(name, {"bus": "i2c-1"})
        layout = module.layout(module.Options(**options))
        assert [c.unit for c in layout.channels if meant(c.unit)] == []
