"""What the kernel already knows: cameras, IIO devices, accelerators, GPIO chips. Read from sysfs; nothing is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from edgeagent.buses.scan.found import Device
from edgeagent.buses.scan.machine import Machine, text

# Vendor and product, as the maker's driver lists them.
_USB_ACCELERATORS = {
    "1a6e:089a": "Coral USB Accelerator (before its first use: then it shows as 18d1:9302)",
    "18d1:9302": "Coral USB Accelerator",
    "03e7:2485": "Intel Neural Compute Stick 2",
    "03e7:2150": "Intel Movidius Neural Compute Stick",
}
_PCI_ACCELERATORS = {
    "1ac1:089a": "Coral Edge TPU (PCIe or M.2)",
    "1e60:2864": "Hailo-8 or Hailo-8L",
    "1e60:45c4": "Hailo-10H",
}
_SOC_ACCELERATORS = (
    (r"\.npu$", "NPU of the SoC (Rockchip: wants the maker's rknn runtime)"),
    (r"^etnaviv|\.vipsi$|vip8000", "NPU of the SoC (VeriSilicon: Mesa's Teflon delegate)"),
)

# Video nodes of the SoC's own codecs and converters: they have no lens.
_NO_CAMERA = re.compile(r"codec|-isp|rpivid|hevc|pispbe|rkvdec|hantro|rga|vpu|-m2m|scaler", re.IGNORECASE)
_CSI = re.compile(r"unicam|rp1-cfe", re.IGNORECASE)


def scan_sysfs(machine: Machine) -> Iterator[Device]:
    """All of it, kind by kind."""
    yield from _cameras(machine)
    yield from _iio(machine)
    yield from _accelerators(machine)
    yield from _gpio(machine)


def _cameras(machine: Machine) -> Iterator[Device]:
    for node in machine.entries("sys/class/video4linux/video*"):
        name, index = text(node / "name"), text(node / "index")
        if _NO_CAMERA.search(name) or index not in ("", "0"):  # a webcam's second node is for its metadata
            continue
        names = [
            f"/dev/{node.name}",
            *_links(machine, "dev/v4l/by-id/*", node),
            *_links(machine, "dev/v4l/by-path/*", node),
        ]
        place = names[1] if len(names) > 1 else names[0]
        raw = _CSI.search(name) is not None
        yield Device(
            kind="camera",
            place=place,
            name=name,
            why="a camera on the CSI ribbon: its raw pictures want libcamera (rpicam-still)" if raw else "",
            names=tuple(n for n in names if n != place),
            sensor=None if raw else {"driver": "camera", "device": place},
        )


def _links(machine: Machine, pattern: str, node: Path) -> list[str]:
    return [
        machine.name(p) for p in machine.entries(pattern) if os.path.basename(os.readlink(p)) == node.name
    ]


def _iio(machine: Machine) -> Iterator[Device]:
    for folder in machine.entries("sys/bus/iio/devices/iio:device*"):
        channels = sorted(
            {m[1] for f in folder.glob("in_*") if (m := re.fullmatch(r"in_(\w+)_(?:raw|input)", f.name))}
        )
        name = text(folder / "name")
        yield Device(
            kind="iio",
            place=folder.name,
            name=name,
            why=f"channels {', '.join(channels)}" if channels else "no channel that can be read",
            sensor={"driver": "iio", "device": name, "channels": channels} if name and channels else None,
        )


def _accelerators(machine: Machine) -> Iterator[Device]:
    for folder in machine.entries("sys/bus/usb/devices/*"):
        ids = f"{text(folder / 'idVendor')}:{text(folder / 'idProduct')}"
        if ids in _USB_ACCELERATORS:
            yield _accelerator(f"usb {folder.name}", _USB_ACCELERATORS[ids], ids)
    for folder in machine.entries("sys/bus/pci/devices/*"):
        ids = f"{text(folder / 'vendor')[2:]}:{text(folder / 'device')[2:]}"
        if ids in _PCI_ACCELERATORS:
            yield _accelerator(f"pci {folder.name}", _PCI_ACCELERATORS[ids], ids)
    for folder in machine.entries("sys/bus/platform/devices/*"):
        for pattern, name in _SOC_ACCELERATORS:
            if re.search(pattern, folder.name):
                yield _accelerator(f"soc {folder.name}", name, "")


def _accelerator(place: str, name: str, ids: str) -> Device:
    return Device(kind="accelerator", place=place, name=name, why=f"id {ids}" if ids else "", usb=ids)


def _gpio(machine: Machine) -> Iterator[Device]:
    for chip in machine.entries("sys/bus/gpio/devices/gpiochip*"):
        label, lines = _label(chip.resolve().parent)
        yield Device(
            kind="gpio",
            place=f"/dev/{chip.name}",
            name=label or chip.resolve().parent.name,
            why=f"{lines} lines" if lines else "",
        )


def _label(parent: Path) -> tuple[str, str]:
    """What the old GPIO interface of the same chip says of it: its label, and how many lines it has."""
    for old in sorted(parent.glob("gpio/gpiochip*")):
        return text(old / "label"), text(old / "ngpio")
    return "", ""
