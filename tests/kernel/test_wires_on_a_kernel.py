"""A kernel's I2C bus: plain transfers through unmodified smbus2, true errors, the kernel's own drivers as witnesses.

The adapter's driver and the bus are the kernel's; the chips at the far end are our fakes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from emulator import load, until
from mcp2221 import Mcp2221
from wires import BME280, CHIPS, EMPTY, MPU6050, SHT4X, TMP102, TMP105

from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import open_i2c
from edgeagent.buses.scan.i2c import scan_i2c
from edgeagent.buses.scan.machine import Machine
from edgeagent.buses.scan.sysfs import scan_sysfs
from edgeagent.buses.sysfs import read_attribute
from edgeagent.errors import DeviceFault, DeviceGone
from edgeagent.sensors import Context, Sensor, bme280, iio, lm75, mpu6050, sht4x, tmp102, tmp105

pytestmark = pytest.mark.kernel

BUSES = Path("/sys/bus/i2c/devices")


def bus_called(name: str) -> str:
    """`i2c-1`, as soon as there is such an adapter."""

    def there() -> str:
        adapters = (p for p in BUSES.glob("i2c-*") if re.search(name, (p / "name").read_text()))
        return next((p.name for p in adapters if Path("/dev", p.name).exists()), "")

    return until(there)


@pytest.fixture(scope="module")
def bus() -> str:
    """The adapter's; its driver is there when its GPIO lines are."""
    until(lambda: list(Path("/dev").glob("gpiochip*")))
    return bus_called("MCP2221")


def read(sensor: Sensor) -> list[float]:
    sensor.open()
    try:
        return [float(v) for v in until(sensor.read).values[0]]
    finally:
        sensor.close()


def test_a_thermometer_says_what_its_data_sheet_does(bus: str, context: Context) -> None:
    assert read(tmp105.build("t", lm75.Options(bus=bus, address=TMP105), context)) == [25.0]


def test_a_fifo_is_read_in_bursts_longer_than_the_adapters_reports(bus: str, context: Context) -> None:
    sensor = mpu6050.build("imu", mpu6050.Options(bus=bus, address=MPU6050, rate=50.0), context)
    sensor.open()
    blocks = [until(sensor.read) for _ in range(3)]
    sensor.close()
    values = np.concatenate([b.values for b in blocks])
    assert len(values) > 3
    assert np.isfinite(values).all()


def test_who_does_not_answer_is_told_apart_from_a_bus_that_fails(bus: str, context: Context) -> None:
    sensor = tmp105.build("t", lm75.Options(bus=bus, address=EMPTY), context)
    with pytest.raises(DeviceGone, match=rf"/dev/{bus} address 0x1d: nothing answers \(no acknowledge\)"):
        sensor.open()
    assert sensor.counters()["i2c_naks"] == 3


@contextmanager
def given_to_the_kernel(bus: str, module: str, chip: str, address: int) -> Iterator[Path]:
    """The chip's folder in sysfs, while the kernel's own driver has it."""
    load(module)
    (BUSES / bus / "new_device").write_text(f"{chip} {address:#x}")
    try:
        yield BUSES / f"{bus.removeprefix('i2c-')}-{address:04x}"
    finally:
        (BUSES / bus / "delete_device").write_text(f"{address:#x}")


@pytest.mark.parametrize(
    ("module", "chip", "ours", "shown"),
    [
        ("lm75", "tmp105", (tmp105, lm75.Options, TMP105), ["temp1_input"]),
        ("tmp102", "tmp102", (tmp102, lm75.Options, TMP102), ["temp1_input"]),
        ("sht4x", "sht4x", (sht4x, sht4x.Options, SHT4X), ["temp1_input", "humidity1_input"]),
    ],
    ids=["tmp105", "tmp102", "sht4x"],
)
def test_the_kernels_driver_of_a_thermometer_reads_the_same_as_ours(
    module: str, chip: str, ours: Any, shown: list[str], bus: str, context: Context
) -> None:
    driver, options, address = ours
    values = read(driver.build("t", options(bus=bus, address=address), context))
    with given_to_the_kernel(bus, module, chip, address) as folder:
        kernels = [until(partial(number, folder, f"hwmon/hwmon*/{name}")) / 1000 for name in shown]
    assert kernels == pytest.approx(values, abs=0.01)


def number(folder: Path, pattern: str) -> float | None:
    """None as long as the driver has none."""
    try:
        return next((float(read_attribute(path)) for path in folder.glob(pattern)), None)
    except OSError:
        return None


def test_what_iio_reads_through_the_kernels_driver_is_what_ours_reads(bus: str, context: Context) -> None:
    ours = read(bme280.build("ours", bme280.Options(bus=bus, address=BME280), context))
    channels = ["temp", "pressure", "humidityrelative"]
    with given_to_the_kernel(bus, "bmp280-i2c", "bme280", BME280) as folder:
        until(lambda: list(folder.glob("iio:device*")))
        kernels = read(iio.build("kernels", iio.Options(device="bme280", channels=channels), context))
        found = [d.sensor for d in scan_sysfs(Machine(context.clock)) if d.kind == "iio"]
    assert kernels == pytest.approx(ours, rel=1e-3)
    assert found == [{"driver": "iio", "device": "bme280", "channels": sorted(channels)}]


def test_scan_does_not_ask_a_chip_that_the_kernel_has(bus: str, context: Context) -> None:
    with given_to_the_kernel(bus, "lm75", "tmp105", TMP105):
        found = scan_i2c(Machine(context.clock)).devices
    taken = [d for d in found if d.place == f"{bus} {TMP105:#04x}"]
    assert [d.holders for d in taken] == [("kernel driver lm75",)]


def test_scan_finds_the_chips_and_leaves_a_pcs_own_bus_alone(bus: str, context: Context) -> None:
    load("i2c-i801")
    pcs = bus_called("SMBus I801")
    found = scan_i2c(Machine(context.clock))
    chips = {d.place: d.name for d in found.devices}
    assert chips.keys() == {f"{bus} {address:#04x}" for address in CHIPS}
    assert "MPU-6050" in chips[f"{bus} {MPU6050:#04x}"]
    assert "BME280" in chips[f"{bus} {BME280:#04x}"]
    assert any(left.place == pcs and "a PC's SMBus" in left.reason for left in found.left)


def test_scan_shows_the_adapters_gpio_lines(bus: str, context: Context) -> None:
    chips = [d for d in scan_sysfs(Machine(context.clock)) if d.kind == "gpio"]
    assert [(d.name, d.why) for d in chips] == [("mcp2221_gpio", "4 lines")]


def test_an_adapter_that_knows_smbus_alone_is_told_as_that(context: Context) -> None:
    load("i2c-stub", "chip_addr=0x48")
    stub = bus_called("SMBus stub")
    with pytest.raises(DeviceFault, match="this adapter cannot do plain I2C transfers"):
        read(tmp105.build("t", lm75.Options(bus=stub, address=0x48), context))


def test_an_adapter_that_is_pulled_lets_go_of_the_bus_which_then_does_not_exist(
    bus: str, context: Context, adapter: Mcp2221
) -> None:
    wire = open_i2c(bus, context.clock, Fake())
    assert wire.read(BME280, 0xD0, 1) == b"\x60"
    pulled = Thread(target=adapter.unplug)
    pulled.start()

    def fault() -> DeviceFault | None:
        try:
            wire.read(BME280, 0xD0, 1)
        except DeviceFault as e:
            return e
        return None

    until(fault)
    until(lambda: isinstance(fault(), DeviceGone))
    pulled.join()
    assert "this bus does not exist" in str(until(fault))
