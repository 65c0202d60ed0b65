"""What the datasheets' formulas make of the counts, and what the chips do between two readings."""

from __future__ import annotations

import pytest
from driving import finish

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses import Buses
from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.bme280 import Bme280 as Bme280Chip
from edgeagent.buses.fake.bmp280 import Bmp280 as Bmp280Chip
from edgeagent.buses.i2c import I2cBus
from edgeagent.errors import ConfigFault, WrongDevice
from edgeagent.records import NS_PER_S
from edgeagent.sensors import Context, bme280, bmp280


def test_the_example_of_the_bmp280s_datasheet_comes_out_to_the_hundredth() -> None:
    calibration = bmp280.Calibration.unpack(Bmp280Chip.TRIMMING)
    t_fine = calibration.fine_temperature(519888)
    assert t_fine == pytest.approx(128422, abs=1)
    assert t_fine / 5120 == pytest.approx(25.08, abs=0.005)
    assert calibration.pascals(415148, t_fine) == pytest.approx(100653.27, abs=0.02)


def test_the_calibration_of_a_chip_that_says_nothing_but_0_gives_no_pressure() -> None:
    calibration = bmp280.Calibration.unpack(bytes(24))
    assert str(calibration.pascals(415148, 0.0)) == "nan"


def test_humidity_is_what_another_library_makes_of_the_same_counts() -> None:
    calibration = bme280.HumidityCalibration(*Bme280Chip.HUMIDITY)
    t_fine = 24.7894877676 * 5120
    assert calibration.percent(30281, t_fine) == pytest.approx(68.66996648709, abs=1e-6)


@pytest.mark.parametrize("h4", [0x11E, -1, -2048, 2047])
@pytest.mark.parametrize("h5", [50, -50, -2048, 2047])
def test_the_two_calibration_values_of_12_bits_keep_their_signs(h4: int, h5: int) -> None:
    class Chip(Bme280Chip):
        HUMIDITY = (75, 376, 0, h4, h5, -30)

    clock = VirtualClock()
    chip = Chip(clock, Fake())
    bus = I2cBus("fake:bme280", clock, lambda: chip)
    h1, rest = bus.read(0x76, 0xA1, 1)[0], bus.read(0x76, 0xE1, 7)
    assert bme280.HumidityCalibration.unpack(h1, rest) == Chip.HUMIDITY


@pytest.mark.parametrize(
    ("driver", "fake", "says"),
    [
        (bme280, "bmp280", r"a BMP280 answers \(id 0x58\).*expected a BME280 \(0x60\)"),
        (bmp280, "bme280", r"a BME280 answers \(id 0x60\).*expected a BMP280"),
    ],
)
def test_one_taken_for_the_other_is_named(driver: object, fake: str, says: str) -> None:
    clock = VirtualClock()
    options = bmp280.Options(bus=f"fake:{fake}")
    sensor = driver.build("room", options, Context(clock, Buses(clock)))  # type: ignore[attr-defined]
    with pytest.raises(WrongDevice, match=says):
        sensor.open()


def test_a_bme280_that_was_without_power_for_a_moment_goes_on_with_the_next_reading() -> None:
    clock = VirtualClock(NS_PER_S)
    chip = Bme280Chip(clock, Fake())
    bus = I2cBus("fake:bme280", clock, lambda: chip)
    sensor = bme280.Bme280(bus, bme280.Options(bus="fake:bme280"))
    sensor.start()
    bus.write(0x76, b"\xe0\xb6")  # a reset is what the loss of power does to it
    row = finish(sensor.measure(), clock)
    assert row.reason == ""
    assert row.values == pytest.approx((24.789, 100661.5, 68.67), rel=1e-4)


def test_oversampling_that_the_rate_leaves_no_time_for_is_refused() -> None:
    most = 1000 / (1.25 + 2.3 * 16 * 3 + 0.575 * 2)  # BST-BME280-DS002, section 9.1
    options = bmp280.Options(bus="i2c-1", rate=10.0, oversampling=16)
    with pytest.raises(ConfigFault, match=f"expected {most:.3g} Hz at most"):
        bme280.layout(options)
