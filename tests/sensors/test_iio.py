"""The iio driver on trees as the kernel documents them (Documentation/ABI/testing/sysfs-bus-iio)."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from driving import next_block

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses import Buses
from edgeagent.errors import ConfigFault, DeviceDenied, DeviceFault, DeviceGone
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.iio import QUANTITIES, Options, _fault, build, layout


def device(sysfs: Path, number: int, **files: object) -> Path:
    folder = sysfs / f"iio:device{number}"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name.replace("__", "-")).write_text(f"{content}\n")
    return folder


def on(sysfs: Path, name: str, *channels: str) -> tuple[Sensor, VirtualClock]:
    clock = VirtualClock()
    options = Options(device=name, channels=list(channels), sysfs=sysfs)
    return build("x", options, Context(clock, Buses(clock))), clock


def values(sysfs: Path, name: str, *channels: str) -> list[float]:
    sensor, clock = on(sysfs, name, *channels)
    sensor.open()
    return [float(v) for v in next_block(sensor, clock).values[0]]


def test_processed_channels_come_out_in_si_units(tmp_path: Path) -> None:
    device(
        tmp_path,
        0,
        name="bme280",
        in_temp_input=25080,
        in_pressure_input="100.653267",
        in_humidityrelative_input=41000,
    )
    assert values(tmp_path, "bme280", "temp", "pressure", "humidityrelative") == pytest.approx(
        [25.08, 100653.267, 41.0]
    )


def test_scale_and_offset_are_the_channels_own_or_those_of_its_kind(tmp_path: Path) -> None:
    device(
        tmp_path, 0, name="ads1115", in_voltage0_raw=1000, in_voltage0_scale=2, in_voltage1_raw=1000,
        in_voltage_scale=3, in_voltage1_offset=-500,
    )  # fmt: skip
    assert values(tmp_path, "ads1115", "voltage0", "voltage1") == pytest.approx([2.0, 1.5])


def test_a_differential_channel_has_the_scale_of_its_pair_or_of_all_pairs(tmp_path: Path) -> None:
    device(tmp_path, 0, name="adc", in_voltage0__voltage1_raw=100, in_voltage__voltage_scale=0.5)
    assert values(tmp_path, "adc", "voltage0-voltage1") == pytest.approx([0.05])


def test_a_raw_channel_without_a_scale_is_taken_as_it_is(tmp_path: Path) -> None:
    device(tmp_path, 0, name="light", in_illuminance_raw=320)
    assert values(tmp_path, "light", "illuminance") == [320.0]


def test_a_device_is_found_by_its_name_or_label_wherever_it_is_counted(tmp_path: Path) -> None:
    device(tmp_path, 3, name="tmp", label="outside", in_temp_input=1000)
    device(tmp_path, 12, name="tmp", label="inside", in_temp_input=2000)
    assert values(tmp_path, "inside", "temp") == [2.0]
    with pytest.raises(DeviceFault, match=r"2 devices are called 'tmp'.*labels"):
        values(tmp_path, "tmp", "temp")


def test_a_device_or_channel_that_is_not_there_says_which_are(tmp_path: Path) -> None:
    device(tmp_path, 0, name="bmp280", in_temp_input=1, in_pressure_input=1, in_temp_oversampling_ratio=2)
    with pytest.raises(DeviceGone, match=r"'mpu6050'; expected one of those that there are: bmp280\."):
        values(tmp_path, "mpu6050", "temp")
    with pytest.raises(DeviceFault, match="no channel 'accel_x'; expected pressure, temp"):
        values(tmp_path, "bmp280", "accel_x")


def test_a_device_that_is_unplugged_is_gone_and_found_again_under_another_number(tmp_path: Path) -> None:
    folder = device(tmp_path, 0, name="tmp", in_temp_input=1000)
    sensor, clock = on(tmp_path, "tmp", "temp")
    sensor.open()
    next_block(sensor, clock)
    shutil.rmtree(folder)
    with pytest.raises(DeviceGone, match=r"iio:device0: the device has gone"):
        next_block(sensor, clock)
    assert sensor.counters()["iio_errors"] == 1
    sensor.close()
    device(tmp_path, 4, name="tmp", in_temp_input=3000)
    sensor.open()
    assert next_block(sensor, clock).values.tolist() == [[3.0]]


def test_a_chip_that_has_no_value_yet_is_a_fault_that_says_so(tmp_path: Path) -> None:
    """EAGAIN, as a pipe with nothing in it gives it too."""
    folder = device(tmp_path, 0, name="tmp")
    os.mkfifo(folder / "in_temp_input")
    writer = os.open(folder / "in_temp_input", os.O_RDWR)
    with pytest.raises(DeviceFault, match="Resource temporarily unavailable"):
        values(tmp_path, "tmp", "temp")
    os.close(writer)


@pytest.mark.parametrize("content", ["", "nan", "busy"])
def test_what_is_no_number_is_a_fault_not_a_value(tmp_path: Path, content: str) -> None:
    device(tmp_path, 0, name="tmp", in_temp_input=content)
    with pytest.raises(DeviceFault, match=f"'{content}' is no number"):
        values(tmp_path, "tmp", "temp")


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.ENODEV, DeviceGone, "has gone"),
        (errno.EACCES, DeviceDenied, "may not read it"),
        (errno.EBUSY, DeviceFault, "through its buffer"),
        (errno.ETIMEDOUT, DeviceFault, "cannot read the chip .*See dmesg"),
    ],
)
def test_every_errno_of_the_kernel_has_its_fault(number: int, kind: type[DeviceFault], says: str) -> None:
    fault = _fault(Path("/sys/x/in_temp_raw"), OSError(number, os.strerror(number)))
    assert type(fault) is kind
    with pytest.raises(kind, match=says):
        raise fault


def test_every_kind_of_channel_has_an_si_unit() -> None:
    shape = layout(Options(device="x", channels=list(QUANTITIES)))
    assert [c.unit for c in shape.channels] == [q.unit for q in QUANTITIES.values()]


@pytest.mark.parametrize(
    ("channels", "says"),
    [([], "no channels"), (["smell"], "'smell' is not known"), (["Accel X"], "not known")],
)
def test_channels_that_cannot_be_are_refused(channels: list[str], says: str) -> None:
    with pytest.raises(ConfigFault, match=says):
        layout(Options(device="x", channels=channels))
