"""A workbench with one of everything on it, for `edgeagent scan --fake demo`: a Raspberry Pi that is not there.

Fake chips on one pair of wires, devices that talk on ptys, and the kernel's files as a tree under a folder, laid out
as Linux documents them (Documentation/ABI). The scan that runs on it is the one that runs on a board.
"""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.board import VirtualBoard
from edgeagent.buses.fake.chip import FakeWires
from edgeagent.buses.fake.port import FakePort
from edgeagent.buses.i2c import Adapter
from edgeagent.buses.scan.machine import Machine
from edgeagent.records import NS_PER_MS
from edgeagent.timebase import Clock

CHIPS = {
    0x18: "mcp9808",
    0x40: "htu21d",
    0x41: "ina219",
    0x44: "sht3x",
    0x46: "sht4x",
    0x48: "ads1115",
    0x49: "tmp102",
    0x4F: "lm75",
    0x53: "adxl345",
    0x68: "mpu6050",
    0x69: "mpu6500",
    0x76: "bme280",
    0x77: "bmp280",
}
SAY_EVERY_NS = 200 * NS_PER_MS

# The standard's own example of a fix, and its neighbour; the rest is what an Arduino sketch prints.
GPS = (
    b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n"
    b"$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n"
)
CSV = b"2.41,42.7\r\n"


class Plug(NamedTuple):
    """A serial device: what the kernel says of it, and what it says itself. `says` None: firmware_bridge."""

    tty: str
    socket: str
    ids: str
    maker: str
    product: str
    serial: str
    says: bytes | None
    held_by: str = ""


PLUGS = (
    Plug("ttyACM0", "1-1.1", "2341:0043", "Arduino LLC", "Uno", "75830303934351F0D1A2", None),
    Plug("ttyACM1", "1-1.2", "1546:01a7", "u-blox AG", "GNSS receiver", "", GPS),
    Plug("ttyUSB0", "1-1.3", "1a86:7523", "", "USB Serial", "", CSV),
    Plug("ttyUSB1", "1-1.4", "1a86:7523", "", "USB Serial", "", b""),
    Plug("ttyUSB2", "1-1.5", "0403:6001", "FTDI", "FT232R USB UART", "A50285BI", b"", held_by="minicom"),
)
HOLDER_PID = 812

# Files of the kernel's tree, with what stands in them; what ends with / is a folder, `->` is a link.
FILES = {
    "sys/class/tty/console/active": "tty1 ttyAMA0",
    "sys/class/tty/ttyAMA0/type": "32",
    "sys/class/tty/ttyAMA0/device/": "",
    "sys/bus/i2c/devices/i2c-1/name": "bcm2835 (i2c@7e804000)",
    "sys/bus/i2c/devices/i2c-20/name": "fef04500.i2c",
    "sys/bus/i2c/devices/1-0051/name": "pcf85063",
    "sys/bus/i2c/devices/1-0051/driver": "-> ../../drivers/rtc-pcf85063",
    "sys/bus/i2c/drivers/rtc-pcf85063/": "",
    "dev/i2c-1": "",
    "dev/i2c-20": "",
    "sys/class/video4linux/video0/name": "HD Pro Webcam C920",
    "sys/class/video4linux/video0/index": "0",
    "sys/class/video4linux/video1/name": "HD Pro Webcam C920",
    "sys/class/video4linux/video1/index": "1",
    "sys/class/video4linux/video10/name": "bcm2835-codec-decode",
    "sys/class/video4linux/video10/index": "0",
    "dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920_5D2B3C4F-video-index0": "-> ../../video0",
    "sys/bus/iio/devices/iio:device0/name": "scd30",
    "sys/bus/iio/devices/iio:device0/in_concentration_co2_raw": "412",
    "sys/bus/iio/devices/iio:device0/in_temp_raw": "2210",
    "sys/bus/usb/devices/2-1/idVendor": "18d1",
    "sys/bus/usb/devices/2-1/idProduct": "9302",
    "sys/devices/platform/soc/fe200000.gpio/gpiochip0/": "",
    "sys/devices/platform/soc/fe200000.gpio/gpio/gpiochip512/label": "pinctrl-bcm2711",
    "sys/devices/platform/soc/fe200000.gpio/gpio/gpiochip512/ngpio": "58",
    "sys/bus/gpio/devices/gpiochip0": "-> ../../../devices/platform/soc/fe200000.gpio/gpiochip0",
    f"proc/{HOLDER_PID}/comm": "minicom",
}


class Workbench:
    """The bench, as a context: inside it everything is plugged in and talks.

    Args:
        clock: Of the devices and of whoever scans them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._root = Path(tempfile.mkdtemp(prefix="edgeagent-workbench-"))
        self._stop = Event()
        self._cables: list[FakePort] = []
        self._threads: list[Thread] = []
        wires = FakeWires({address: _chip(name, address, clock) for address, name in CHIPS.items()})
        self.machine = Machine(clock, self._root, lambda _: wires)

    def __enter__(self) -> Workbench:
        for name, content in FILES.items():
            lay(self._root, name, content)
        for plug in PLUGS:
            self._plug_in(plug)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for cable in self._cables:
            cable.unplug()
        shutil.rmtree(self._root)

    def _plug_in(self, plug: Plug) -> None:
        cable: FakePort
        if plug.says is None:
            cable = board = VirtualBoard(self._clock)
            self._threads.append(Thread(target=board.serve, args=(self._stop,)))
        else:
            cable = FakePort()
            self._threads.append(Thread(target=self._talk, args=(cable, plug.says)))
        self._cables.append(cable)
        self._announce(plug, cable.path)

    def _announce(self, plug: Plug, pty: str) -> None:
        """What kernel and udev make of a device that is plugged in."""
        usb, tty = f"sys/devices/usb1/{plug.socket}", plug.tty
        vendor, product = plug.ids.split(":")
        facts = {
            "idVendor": vendor,
            "idProduct": product,
            "manufacturer": plug.maker,
            "product": plug.product,
        }
        for name, content in facts.items():
            lay(self._root, f"{usb}/{name}", content)
        if plug.serial:
            lay(self._root, f"{usb}/serial", plug.serial)
        lay(self._root, f"{usb}/{plug.socket}:1.0/", "")
        lay(
            self._root,
            f"sys/class/tty/{tty}/device",
            f"-> ../../../devices/usb1/{plug.socket}/{plug.socket}:1.0",
        )
        lay(self._root, f"sys/bus/usb/devices/{plug.socket}", f"-> ../../../devices/usb1/{plug.socket}")
        by_id = "_".join(filter(None, (plug.maker or vendor, plug.product, plug.serial))).replace(" ", "_")
        with suppress(FileExistsError):  # udev gives the link of two adapters of one name to one of them
            lay(self._root, f"dev/serial/by-id/usb-{by_id}-if00", f"-> ../../{tty}")
        by_path = f"platform-fd500000.pcie-pci-0000:01:00.0-usb-0:{plug.socket[2:]}:1.0-port0"
        lay(self._root, f"dev/serial/by-path/{by_path}", f"-> ../../{tty}")
        lay(self._root, f"dev/{tty}", f"-> {pty}")
        if plug.held_by:
            lay(self._root, f"proc/{HOLDER_PID}/fd/3", f"-> /dev/{tty}")

    def _talk(self, cable: FakePort, words: bytes) -> None:
        while not self._clock.wait(self._stop, self._clock.now_ns() + SAY_EVERY_NS):
            with suppress(BlockingIOError):  # nobody listens
                cable.send(words)


def _chip(name: str, address: int, clock: Clock) -> Adapter:
    build: Callable[[Clock, Fake], Adapter] = importlib.import_module(f"edgeagent.buses.fake.{name}").build
    return build(clock, Fake(address=address))


def lay(root: Path, name: str, content: str) -> None:
    """One file, folder (`name/`) or link (`-> target`) of a tree."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith("/"):
        path.mkdir(exist_ok=True)
    elif content.startswith("-> "):
        os.symlink(content.removeprefix("-> "), path)
    else:
        path.write_text(content)
