"""Adafruit's own drivers, unmodified, on the fake chips: what they say is what ours say."""

from __future__ import annotations

import math

import pytest

from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.buses import Buses
from edgeagent.buses.fake import Fake, sht3x
from edgeagent.buses.i2c import I2cBus
from edgeagent.config.parts import find
from edgeagent.errors import ConfigFault, DeviceFault, DeviceGone, WrongDevice
from edgeagent.records import NS_PER_S
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.circuitpython import BusioI2c, CircuitPython, Options, Source, build, layout
from edgeagent.timebase import Clock

BME280 = "adafruit_bme280.basic.Adafruit_BME280_I2C"
SHT31D = "adafruit_sht31d.SHT31D"
MPU6050 = "adafruit_mpu6050.MPU6050"
VECTOR = {
    f"acc_{axis}": Source(unit="m/s2", attribute="acceleration", index=i) for i, axis in enumerate("xyz")
}


def first_row(sensor: Sensor, clock: Clock) -> list[float]:
    sensor.open()
    try:
        while True:
            clock.sleep_s(max(sensor.due_ns() - clock.now_ns(), 0) / NS_PER_S)
            if block := sensor.read():
                return [float(v) for v in block.values[0]]
    finally:
        sensor.close()


# These drivers sleep by the real clock.
@pytest.mark.parametrize(
    ("chip", "address", "driver_class", "channels", "fake"),
    [
        (
            "bme280",
            0x76,
            BME280,
            {"temperature": Source(unit="degC"), "humidity": Source(unit="%RH")},
            Fake(raw=((326816, 529191, 30281),)),
        ),
        (
            "sht3x",
            0x44,
            SHT31D,
            {"temperature": Source(unit="degC"), "relative_humidity": Source(unit="%RH")},
            Fake(raw=((0x6666, 0x8000),)),
        ),
    ],
)
def test_adafruits_driver_and_ours_read_the_same_from_the_same_chip(
    chip: str, address: int, driver_class: str, channels: dict[str, Source], fake: Fake
) -> None:
    clock = RealClock()
    context = Context(clock, Buses(clock))
    theirs = Options(
        bus=f"fake:{chip}", address=address, driver_class=driver_class, channels=channels, fake=fake
    )
    ours = find("sensors", chip)
    ours_options = ours.Options(bus=f"fake:{chip}", address=address, fake=fake)
    wanted = first_row(ours.build("ours", ours_options, context), clock)
    names = [c.name for c in ours.layout(ours_options).channels]
    by_name = dict(zip(names, wanted, strict=True)) | {"relative_humidity": wanted[-1]}
    found = first_row(build("theirs", theirs, context), clock)
    assert found == pytest.approx([by_name[name] for name in channels], rel=1e-4)


def test_a_vector_is_read_once_for_all_its_channels() -> None:
    clock = RealClock()
    options = Options(bus="fake:mpu6050", address=0x68, driver_class=MPU6050, channels=VECTOR)
    x, y, z = first_row(build("imu", options, Context(clock, Buses(clock))), clock)
    assert abs(x) < 1.5
    assert abs(y) < 1.5
    assert z == pytest.approx(9.8, abs=1.5)


def test_settings_and_arguments_reach_the_driver() -> None:
    clock = VirtualClock()
    options = Options(
        bus="fake:mcp9808",
        address=0x18,
        driver_class="adafruit_mcp9808.MCP9808",
        channels={"resolution": Source(unit="")},
        settings={"resolution": 1},
    )
    assert first_row(build("x", options, Context(clock, Buses(clock))), clock) == [1.0]


def test_a_setting_that_the_driver_does_not_have_is_a_fault_and_not_silently_nothing() -> None:
    clock = VirtualClock()
    options = Options(
        bus="fake:mcp9808",
        address=0x18,
        driver_class="adafruit_mcp9808.MCP9808",
        channels={"temperature": Source(unit="degC")},
        settings={"resolutoin": 1},
    )
    with pytest.raises(DeviceFault, match=r"MCP9808 has no setting 'resolutoin'.*`settings:`"):
        build("x", options, Context(clock, Buses(clock))).open()


@pytest.mark.parametrize(
    ("fake", "kind", "says"),
    [
        (Fake(nak=100), DeviceGone, "address 0x76: nothing answers"),
        (Fake(stuck=True), DeviceFault, "SDA or SCL is held low"),
        (
            Fake(wrong_id=0x58),
            WrongDevice,
            r"Failed to find BME280! Chip ID 0x58; expected a chip that .*BME280_I2C",
        ),
    ],
)
def test_what_an_adafruit_driver_makes_of_a_fault_is_told_as_what_it_was(
    fake: Fake, kind: type[DeviceFault], says: str
) -> None:
    clock = RealClock()
    channels = {"temperature": Source(unit="degC")}
    options = Options(bus="fake:bme280", address=0x76, driver_class=BME280, channels=channels, fake=fake)
    sensor = build("x", options, Context(clock, Buses(clock)))
    with pytest.raises(kind, match=says):
        sensor.open()


def test_a_checksum_that_the_driver_complains_of_is_a_reading_that_failed() -> None:
    clock = RealClock()
    chip = sht3x.build(clock, Fake())
    channels = {"temperature": Source(unit="degC")}
    options = Options(bus="fake:sht3x", address=0x44, driver_class=SHT31D, channels=channels)
    probe = CircuitPython("x", I2cBus("fake:sht3x", clock, lambda: chip), options)
    probe.start()
    chip.noise = 1
    row = probe.measure()
    assert math.isnan(row.values[0])
    assert "CRC" in row.reason


def test_other_sensors_of_the_bus_do_not_wait_for_a_driver_that_sleeps() -> None:
    clock = VirtualClock()
    context = Context(clock, Buses(clock))
    options = Options(bus="i2c-1", address=0x18, driver_class=BME280, channels=VECTOR)
    ours = find("sensors", "bme280")
    assert build("x", options, context).port != ours.build("y", ours.Options(bus="i2c-1"), context).port


def test_parts_of_buffers_are_sent_and_filled_where_the_driver_says() -> None:
    class Echo:
        seen: bytes

        def transfer(self, address: int, out: bytes, n: int) -> bytes:
            self.seen = out
            return bytes(range(1, n + 1))

        def close(self) -> None:
            pass

    adapter = Echo()
    i2c = BusioI2c(I2cBus("fake:x", VirtualClock(), lambda: adapter))
    i2c.writeto(0x20, b"abcdef", start=1, end=3)
    assert adapter.seen == b"bc"
    buffer = bytearray(6)
    i2c.readfrom_into(0x20, buffer, start=2)
    assert buffer == bytes((0, 0, 1, 2, 3, 4))
    i2c.writeto_then_readfrom(0x20, b"xyz", buffer, out_start=1, in_start=1, in_end=3)
    assert adapter.seen == b"yz"
    assert buffer == bytes((0, 1, 2, 2, 3, 4))


@pytest.mark.parametrize(
    ("driver_class", "says"),
    [
        ("adafruit_nonesuch.Chip", r"no package 'adafruit_nonesuch'.*adafruit-circuitpython-nonesuch"),
        ("Chip", "'Chip' names no module"),
    ],
)
def test_a_class_that_is_not_installed_is_a_config_fault_with_what_to_install(
    driver_class: str, says: str
) -> None:
    with pytest.raises(ConfigFault, match=says):
        layout(Options(bus="i2c-1", address=0x20, driver_class=driver_class, channels=VECTOR))


@pytest.mark.parametrize(
    ("driver_class", "channels", "says"),
    [
        ("adafruit_mcp9808.MCP", {"temperature": Source(unit="degC")}, "no attribute 'MCP'.*Check `class:`"),
        (
            "adafruit_mcp9808.MCP9808",
            {"pressure": Source(unit="Pa")},
            "no attribute 'pressure'.*Check the names",
        ),
    ],
)
def test_a_class_or_attribute_that_does_not_exist_is_a_fault_that_says_which(
    driver_class: str, channels: dict[str, Source], says: str
) -> None:
    clock = VirtualClock()
    options = Options(bus="fake:mcp9808", address=0x18, driver_class=driver_class, channels=channels)
    with pytest.raises(DeviceFault, match=says):
        first_row(build("x", options, Context(clock, Buses(clock))), clock)
