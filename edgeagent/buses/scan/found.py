"""What a scan finds. Plain data: the command shows it as a table, as JSON, or as the `sensors:` of a config."""

from __future__ import annotations

from typing import Any

import msgspec


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is there.

    kind: i2c, serial, camera, iio, accelerator or gpio.
    place: Where it is, in the words of a config: `i2c-1 0x68`, or the name of a port that stays with the device.
    name: What it is, as far as it could be told; "" if it could not.
    why: How that is known, or why nobody was asked.
    state: ok; busy, denied or skipped: it was left alone, and `why` says the reason.
    names: Other names of the same thing: /dev/ttyUSB0, by-id, by-path.
    usb: Vendor, product and serial number.
    holders: The processes that have it open: `minicom (pid 812)`.
    sensor: An entry for `sensors:` in the YAML; None if there is no driver for it.
    """

    kind: str
    place: str
    name: str = ""
    why: str = ""
    state: str = "ok"
    names: tuple[str, ...] = ()
    usb: str = ""
    holders: tuple[str, ...] = ()
    sensor: dict[str, Any] | None = None


class Left(msgspec.Struct, frozen=True):
    """What was not looked at, and why."""

    place: str
    reason: str


class Findings(msgspec.Struct, frozen=True):
    """All of a scan."""

    devices: tuple[Device, ...]
    left: tuple[Left, ...]

    def __add__(self, other: Findings) -> Findings:
        return Findings(self.devices + other.devices, self.left + other.left)


NOTHING = Findings((), ())
