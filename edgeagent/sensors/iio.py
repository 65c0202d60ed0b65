"""A sensor that Linux has a driver for (Industrial I/O), read through sysfs by its name.

    driver: iio
    device: mpu6050
    channels: [accel_x, accel_y, accel_z, temp]

value = (raw + offset) x scale, all three the kernel's (Documentation/ABI/testing/sysfs-bus-iio), and then to SI. Each
channel is a reading of its own: where one instant matters, a driver of ours with a FIFO is the better choice.
"""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgeagent.buses.sysfs import read_attribute
from edgeagent.config.quantities import FilePath, Hz
from edgeagent.errors import ConfigFault, DeviceDenied, DeviceFault, DeviceGone
from edgeagent.records import Channel, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.polled import Polled, Row

DEVICES = Path("/sys/bus/iio/devices")


class Quantity(NamedTuple):
    """A kind of channel: our unit, and what the kernel's is worth in it."""

    unit: str
    worth: float


QUANTITIES = {
    "accel": Quantity("m/s2", 1),
    "angl": Quantity("rad", 1),
    "anglvel": Quantity("rad/s", 1),
    "concentration": Quantity("%", 1),
    "current": Quantity("A", 1e-3),
    "distance": Quantity("m", 1),
    "gravity": Quantity("m/s2", 1),
    "humidityrelative": Quantity("%RH", 1e-3),
    "illuminance": Quantity("lx", 1),
    "magn": Quantity("T", 1e-4),
    "power": Quantity("W", 1e-3),
    "pressure": Quantity("Pa", 1e3),
    "resistance": Quantity("Ohm", 1),
    "temp": Quantity("degC", 1e-3),
    "voltage": Quantity("V", 1e-3),
}
KIND = re.compile(r"([a-z]+)(\d*)((?:-[a-z]+\d+)?)((?:_[a-z0-9]+)*)")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`device` is the content of the file `name` (or `label`) in sysfs, a channel a file there without `in_`."""

    device: str
    channels: list[str]
    rate: Hz = 1.0
    sysfs: FilePath = DEVICES


def layout(options: Options) -> Layout:
    """Raises ConfigFault for no channels, or one of no known kind."""
    if not options.channels:
        raise ConfigFault("no channels", where="channels", expected="[accel_x, accel_y, accel_z], [temp] ...")
    return Layout(options.rate, tuple(Channel(name, quantity(name).unit) for name in options.channels))


def quantity(channel: str) -> Quantity:
    """What `accel_x` or `voltage0` is. Raises ConfigFault."""
    found = KIND.fullmatch(channel)
    if found is None or found[1] not in QUANTITIES:
        raise ConfigFault(
            f"the kind of channel {channel!r} is not known",
            where="channels",
            expected=f"names that begin with one of {', '.join(QUANTITIES)}",
        )
    return QUANTITIES[found[1]]


def build(name: str, options: Options, context: Context) -> Sensor:
    return Polled(name, layout(options), context.clock, IioDevice(options))


class Source(NamedTuple):
    """Where one channel is read, and how it becomes a value in our unit."""

    path: Path
    offset: float
    scale: float


class IioDevice:
    """One device of the kernel: a Probe."""

    def __init__(self, options: Options) -> None:
        self.port = self.where = f"iio:{options.device}"
        self._options = options
        self._sources: list[Source] = []
        self._errors = 0

    def start(self) -> float:
        """Find the device and its channels. Raises DeviceFault."""
        folder = self._find()
        self.where = str(folder)
        self._sources = [self._source(folder, name) for name in self._options.channels]
        return 0.0

    def measure(self) -> Row:
        try:
            return Row(tuple((number(s.path) + s.offset) * s.scale for s in self._sources))
        except DeviceFault:
            self._errors += 1
            raise

    def counters(self) -> Mapping[str, int]:
        return {"iio_errors": self._errors}

    def close(self) -> None:
        """Nothing is kept open."""

    def _find(self) -> Path:
        folders = sorted(self._options.sysfs.glob("iio:device*"))
        names = {folder: {text(folder / "name"), text(folder / "label")} - {""} for folder in folders}
        mine = [folder for folder in folders if self._options.device in names[folder]]
        if len(mine) == 1:
            return mine[0]
        there = ", ".join(sorted({name for some in names.values() for name in some})) or "none"
        if mine:
            raise DeviceFault(
                f"{len(mine)} devices are called {self._options.device!r}",
                where=str(self._options.sysfs),
                expected="one: give them labels in the device tree",
            )
        raise DeviceGone(
            f"no device is called {self._options.device!r}",
            where=str(self._options.sysfs),
            expected=f"one of those that there are: {there}",
            hint="Is its overlay in config.txt, its driver loaded (dmesg), the chip connected?",
        )

    def _source(self, folder: Path, channel: str) -> Source:
        """A processed channel (`_input`) as it is, a raw one with the offset and scale that are nearest to it."""
        worth = quantity(channel).worth
        processed = folder / f"in_{channel}_input"
        if processed.exists():
            return Source(processed, 0.0, worth)
        raw = folder / f"in_{channel}_raw"
        if not raw.exists():
            there = sorted(
                p.name.removeprefix("in_").rpartition("_")[0] for p in folder.glob("in_*") if _is_value(p)
            )
            raise DeviceFault(f"it has no channel {channel!r}", where=str(folder), expected=", ".join(there))
        offset, scale = (shared(folder, channel, kind) for kind in ("offset", "scale"))
        return Source(raw, offset or 0.0, (1.0 if scale is None else scale) * worth)


def _is_value(path: Path) -> bool:
    return path.name.endswith(("_raw", "_input"))


def shared(folder: Path, channel: str, kind: str) -> float | None:
    """`in_accel_x_scale`, or that of all of its kind: `in_accel_scale`; None if there is neither."""
    found = KIND.fullmatch(channel)
    name, _, other, modifier = found.groups() if found else (channel, "", "", "")
    pair = re.sub(r"\d", "", other)
    for candidate in (channel, f"{name}{pair}{modifier}", f"{name}{pair}"):
        path = folder / f"in_{candidate}_{kind}"
        if path.exists():
            return number(path)
    return None


def text(path: Path) -> str:
    """A file of sysfs; "" if it is not there. A vendor's label may be in any encoding."""
    try:
        return path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""


def number(path: Path) -> float:
    """Raises DeviceFault for a file that is gone, denied, failing, or that holds no number."""
    try:
        found = read_attribute(path)
    except OSError as e:
        raise _fault(path, e) from e
    try:
        value = float(found)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DeviceFault(f"{found!r} is no number", where=str(path), hint="Which driver is this? See dmesg.")
    return value


def _fault(path: Path, error: OSError) -> DeviceFault:
    if error.errno in (errno.ENOENT, errno.ENODEV):
        return DeviceGone(
            "the device has gone", where=str(path.parent), hint="Unplugged, or its driver unloaded?"
        )
    if error.errno == errno.EACCES:
        return DeviceDenied(
            "this user may not read it",
            where=str(path),
            hint="Is /sys mounted for this user? A udev rule may help.",
        )
    if error.errno == errno.EBUSY:
        return DeviceFault(
            "another program reads it through its buffer",
            where=str(path),
            hint="Stop it (iio_readdev, iiod).",
        )
    return DeviceFault(
        f"the kernel cannot read the chip ({error.strerror})", where=str(path), hint="See dmesg."
    )
