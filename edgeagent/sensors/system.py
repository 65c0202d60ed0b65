"""The board itself: temperature, throttling, load, memory, disk, uptime, links. From /proc and /sys.

board: {driver: system, rate: 6 /min, links: [eth0, wlan0]}
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from edgeagent.buses.sysfs import read_attribute
from edgeagent.config.quantities import FilePath, Hz
from edgeagent.errors import ConfigFault
from edgeagent.records import Channel, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.polled import Polled, Row

Name = Literal["cpu_temperature", "under_voltage", "throttled", "load", "memory_used", "disk_used", "uptime"]
UNITS: dict[Name, str] = {
    "cpu_temperature": "degC",
    "under_voltage": "1",
    "throttled": "1",
    "load": "1",
    "memory_used": "1",
    "disk_used": "1",
    "uptime": "s",
}
# What the Raspberry Pi's firmware says, as `vcgencmd get_throttled` does. Bits 16 on: the same, since boot.
GET_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
UNDER_VOLTAGE, FREQUENCY_CAPPED, THROTTLED, SOFT_LIMIT = 1 << 0, 1 << 1, 1 << 2, 1 << 3
CPU_ZONES = ("cpu-thermal", "cpu_thermal", "soc-thermal", "x86_pkg_temp")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`disk` is any path on the disk meant; `root` is where /proc and /sys are, another in a container."""

    rate: Hz = 0.1
    channels: list[Name] = msgspec.field(default_factory=lambda: list(UNITS))
    links: list[str] = []
    disk: FilePath = Path("/")
    root: FilePath = Path("/")


def layout(options: Options) -> Layout:
    """Shares (memory, disk) run from 0 to 1; what is true or false is 1 or 0. Raises ConfigFault if nothing is read."""
    own = [Channel(name, UNITS[name]) for name in options.channels]
    links = [Channel(f"link_{name}", "1") for name in options.links]
    if not own and not links:
        raise ConfigFault("no channels", expected=f"some of {', '.join(UNITS)}, or links: [eth0]")
    return Layout(options.rate, (*own, *links))


def build(name: str, options: Options, context: Context) -> Sensor:
    return Polled(name, layout(options), context.clock, System(options))


class System:
    """Each channel by itself: what this board or kernel does not have is NaN, with the reason."""

    port = where = "system"

    def __init__(self, options: Options) -> None:
        self._root, self._disk = options.root, options.disk
        ways: dict[Name, Callable[[], float]] = {
            "cpu_temperature": self._cpu_temperature,
            "under_voltage": self._under_voltage,
            "throttled": self._throttled,
            "load": lambda: float(self._text("proc/loadavg").split()[0]),
            "memory_used": self._memory_used,
            "disk_used": self._disk_used,
            "uptime": lambda: float(self._text("proc/uptime").split()[0]),
        }
        self._ways: dict[str, Callable[[], float]] = {name: ways[name] for name in options.channels}
        self._ways |= {f"link_{link}": lambda link=link: self._link(link) for link in options.links}  # type: ignore[misc]

    def start(self) -> float:
        return 0.0

    def measure(self) -> Row:
        values, reasons = [], []
        for name, way in self._ways.items():
            try:
                values.append(way())
            except (OSError, ValueError, LookupError) as e:
                values.append(math.nan)
                reasons.append(f"{name}: {e}")
        return Row(tuple(values), "; ".join(reasons))

    def counters(self) -> Mapping[str, int]:
        return {}

    def close(self) -> None:
        """Nothing is held open."""

    def _text(self, path: str) -> str:
        return (self._root / path).read_text().strip()

    def _cpu_temperature(self) -> float:
        zones = sorted((self._root / "sys/class/thermal").glob("thermal_zone*"))
        if not zones:
            raise LookupError("this board has no thermal zone")
        zone = next((z for z in zones if (z / "type").read_text().strip() in CPU_ZONES), zones[0])
        return int(read_attribute(zone / "temp")) / 1000

    def _flags(self) -> int:
        return int(self._text(GET_THROTTLED), 16)

    def _under_voltage(self) -> float:
        """From the firmware, or else from the driver rpi_volt, which newer kernels have instead."""
        if (self._root / GET_THROTTLED).exists():
            return float(bool(self._flags() & UNDER_VOLTAGE))
        for monitor in (self._root / "sys/class/hwmon").glob("hwmon*"):
            if (monitor / "name").read_text().strip() == "rpi_volt":
                return float(read_attribute(monitor / "in0_lcrit_alarm"))
        raise LookupError("this board does not watch its supply")

    def _throttled(self) -> float:
        """Slowed down, for want of voltage or for heat."""
        if not (self._root / GET_THROTTLED).exists():
            raise LookupError("this board does not say")
        return float(bool(self._flags() & (FREQUENCY_CAPPED | THROTTLED | SOFT_LIMIT)))

    def _memory_used(self) -> float:
        lines = (line.split() for line in self._text("proc/meminfo").splitlines())
        kb = {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1}
        return 1 - kb["MemAvailable"] / kb["MemTotal"]

    def _disk_used(self) -> float:
        """As `df` has it: of what this user may use."""
        disk = os.statvfs(self._disk)
        used = disk.f_blocks - disk.f_bfree
        return used / (used + disk.f_bavail)

    def _link(self, name: str) -> float:
        return float(self._text(f"sys/class/net/{name}/operstate") == "up")
