"""What the scan reads out of the kernel's own files: accelerators, cameras, IIO devices, GPIO chips."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.agent.clock import RealClock
from edgeagent.buses.scan.found import Device
from edgeagent.buses.scan.machine import Machine
from edgeagent.buses.scan.sysfs import scan_sysfs
from edgeagent.demo.workbench import lay


def scanned(root: Path, files: dict[str, str]) -> list[Device]:
    for name, content in files.items():
        lay(root, f"sys/{name}", content)
    return list(scan_sysfs(Machine(RealClock(), root)))


def usb(vendor: str, product: str) -> dict[str, str]:
    place = "bus/usb/devices/2-1"
    return {f"{place}/idVendor": f"{vendor}\n", f"{place}/idProduct": f"{product}\n"}


def pci(vendor: str, device: str) -> dict[str, str]:
    place = "bus/pci/devices/0000:01:00.0"
    return {f"{place}/vendor": f"0x{vendor}\n", f"{place}/device": f"0x{device}\n"}


@pytest.mark.parametrize(
    ("files", "place", "name"),
    [
        (usb("1a6e", "089a"), "usb 2-1", "Coral USB Accelerator (before its first use"),
        (usb("18d1", "9302"), "usb 2-1", "Coral USB Accelerator"),
        (usb("03e7", "2485"), "usb 2-1", "Intel Neural Compute Stick 2"),
        (pci("1ac1", "089a"), "pci 0000:01:00.0", "Coral Edge TPU"),
        (pci("1e60", "2864"), "pci 0000:01:00.0", "Hailo-8"),
        ({"bus/platform/devices/fdab0000.npu/": ""}, "soc fdab0000.npu", "NPU of the SoC (Rockchip"),
        ({"bus/platform/devices/etnaviv/": ""}, "soc etnaviv", "NPU of the SoC (VeriSilicon"),
    ],
)
def test_corals_and_known_npus_are_named_by_what_the_kernel_says(
    files: dict[str, str], place: str, name: str, tmp_path: Path
) -> None:
    (device,) = scanned(tmp_path, files)
    assert (device.kind, device.place, device.sensor) == ("accelerator", place, None)
    assert device.name.startswith(name)


@pytest.mark.parametrize("files", [usb("046d", "082d"), pci("14e4", "2712")])
def test_what_is_no_accelerator_is_none(files: dict[str, str], tmp_path: Path) -> None:
    assert scanned(tmp_path, files) == []


def video(number: int, name: str, index: int = 0) -> dict[str, str]:
    node = f"class/video4linux/video{number}"
    return {f"{node}/name": f"{name}\n", f"{node}/index": f"{index}\n"}


def test_a_webcam_is_one_camera_that_a_driver_reads(tmp_path: Path) -> None:
    (device,) = scanned(tmp_path, video(0, "HD Pro Webcam C920") | video(1, "HD Pro Webcam C920", index=1))
    assert device.sensor == {"driver": "camera", "device": "/dev/video0"}


def test_a_camera_on_the_ribbon_is_told_with_what_it_wants_instead_of_a_driver(tmp_path: Path) -> None:
    (device,) = scanned(tmp_path, video(0, "unicam"))
    assert device.sensor is None
    assert "libcamera" in device.why


@pytest.mark.parametrize("name", ["bcm2835-codec-decode", "bcm2835-isp", "rpivid", "pispbe-input"])
def test_the_processors_own_codecs_are_no_cameras(name: str, tmp_path: Path) -> None:
    assert scanned(tmp_path, video(10, name)) == []


def test_an_iio_device_comes_with_the_channels_that_can_be_read(tmp_path: Path) -> None:
    place = "bus/iio/devices/iio:device0"
    files = {
        "name": "bmp280",
        "in_temp_input": "1",
        "in_pressure_raw": "1",
        "in_temp_oversampling_ratio": "2",
    }
    (device,) = scanned(tmp_path, {f"{place}/{name}": f"{content}\n" for name, content in files.items()})
    assert device.sensor == {"driver": "iio", "device": "bmp280", "channels": ["pressure", "temp"]}


def test_an_iio_device_without_a_readable_channel_says_so(tmp_path: Path) -> None:
    (device,) = scanned(tmp_path, {"bus/iio/devices/iio:device0/name": "adc-trigger\n"})
    assert device.sensor is None
    assert device.why == "no channel that can be read"


def test_a_gpio_chip_is_named_by_its_label_with_its_lines(tmp_path: Path) -> None:
    chip = "devices/platform/fe200000.gpio"
    (device,) = scanned(
        tmp_path,
        {
            f"{chip}/gpiochip0/": "",
            f"{chip}/gpio/gpiochip512/label": "pinctrl-bcm2711\n",
            f"{chip}/gpio/gpiochip512/ngpio": "58\n",
            "bus/gpio/devices/gpiochip0": "-> ../../../devices/platform/fe200000.gpio/gpiochip0",
        },
    )
    assert (device.place, device.name, device.why) == ("/dev/gpiochip0", "pinctrl-bcm2711", "58 lines")
