"""Serial ports by name: which names stay with a device when it is plugged in anew, and which do not.

The kernel numbers /dev/ttyUSB0 by order of arrival. udev's links in /dev/serial/by-id name the device by maker,
model and serial number; those in by-path name the socket that it is plugged into. Many cheap adapters have no serial
number, or all the same one: two of them share one by-id link, which leads to whichever came last.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, NamedTuple

from edgeagent.config.findings import alike
from edgeagent.config.quantities import Between

Baud = Annotated[int, Between(50, 12_000_000)]
"""What a tty of Linux can be set to, from a teletype to USB 2."""

_BY_ARRIVAL = re.compile(r"tty(USB|ACM)\d+")


class UsbIdentity(NamedTuple):
    """What a USB device says of itself; `serial` is "" if it has none."""

    vendor: str
    product: str
    serial: str


class Ports:
    """The ports of this machine, or of the trees given instead. Opens no device."""

    def __init__(self, dev: Path = Path("/dev"), sys_class_tty: Path = Path("/sys/class/tty")) -> None:
        self._dev, self._tty = dev, sys_class_tty

    def stable_name(self, path: str) -> str | None:
        """The name that stays with the device now at `path`: by id, by path where the id is not its alone."""
        by_id, by_path = self._link("by-id", path), self._link("by-path", path)
        return (by_id or by_path) if self.told_apart(path) else (by_path or by_id)

    def lasting_name(self, path: str) -> str:
        """The same for a name by order of arrival; any other was chosen, and stays as it is."""
        return (_by_arrival(path) and self.stable_name(path)) or path

    def told_apart(self, path: str) -> bool:
        """Whether the device's id is its alone: it has a serial number, and no other has the same."""
        me = os.path.basename(os.path.realpath(path))
        identity = self.identity(me)
        if identity is None or not identity.serial:
            return False
        others = (tty.name for tty in self._tty.glob("tty*") if tty.name != me)
        return all(self.identity(other) != identity for other in others)

    def identity(self, tty: str) -> UsbIdentity | None:
        """Of `ttyUSB0`; None if it is no USB device."""
        at = (self._tty / tty / "device").resolve()
        usb = next((place for place in (at, *at.parents) if (place / "idVendor").exists()), None)
        if usb is None:
            return None
        return UsbIdentity(*(_text(usb / name) for name in ("idVendor", "idProduct", "serial")))

    def advice_on(self, path: str) -> str:
        """What `check` warns of in the name of a port; "" if nothing."""
        if _by_arrival(path):
            better = self.stable_name(path) or "one of /dev/serial/by-id/ or /dev/serial/by-path/"
            return f"{path} is whichever device came first, after the next replug or reboot another; use {better}"
        by_path = self._link("by-path", path)
        if "/by-id/" in path and by_path and not self.told_apart(path):
            return (
                "this adapter has no serial number of its own, so a second one of its kind takes the same name; "
                f"with two of them, use {by_path}"
            )
        return ""

    def _link(self, kind: str, path: str) -> str | None:
        target = os.path.realpath(path)
        links = sorted((self._dev / "serial" / kind).glob("*"))
        return next((str(link) for link in links if os.path.realpath(link) == target), None)


def advice_on(path: str) -> str:
    """`Ports.advice_on` of this machine."""
    return Ports().advice_on(path)


USUAL_BAUDS = (
    *(300, 600, 1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 74880, 76800, 115200),
    *(230400, 250000, 460800, 500000, 576000, 921600, 1000000, 1500000, 2000000, 3000000),
)


def advice_on_baud(baud: int) -> str:
    """What `check` warns of in a baud rate: a digit too few gives noise, and no error; "" if it is one in use."""
    if baud in USUAL_BAUDS:
        return ""
    near = alike(str(baud), map(str, USUAL_BAUDS))
    return f"{baud} is no usual baud rate" + (f". Did you mean {near}?" if near else "")


def _by_arrival(path: str) -> bool:
    return _BY_ARRIVAL.fullmatch(os.path.basename(path)) is not None


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
