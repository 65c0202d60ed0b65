"""USB serial adapters, plugged in and pulled: the kernel's ftdi_sio, its ttyUSB numbers, and udev's names for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator import Emulator, FarEnd, load, until

from edgeagent.agent.readers import Device, Reader
from edgeagent.agent.threads import Inbox
from edgeagent.buses.scan.machine import Machine
from edgeagent.buses.scan.serial import scan_serial
from edgeagent.records import Block
from edgeagent.sensors import Context
from edgeagent.sensors.lines import Column
from edgeagent.sensors.serial_text import Options, build

pytestmark = pytest.mark.kernel

OURS, OTHER = "EA7", "EB1"


def link(serial: str) -> Path:
    return Path(f"/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_{serial}-if00-port0")


def plug(emulator: Emulator, serial: str, line: str) -> str:
    """Under which name it came."""
    emulator.plug(serial, line)
    until(link(serial).exists)
    return str(link(serial).resolve())


@pytest.fixture(scope="module", autouse=True)
def drivers() -> None:
    load("xhci-pci")
    load("ftdi-sio")


class Press:
    """A board behind an adapter, read by the agent's own reader. It prints a line whenever it is looked at."""

    def __init__(self, port: str, context: Context) -> None:
        columns = [Column(name="current", unit="A"), Column(name="temperature", unit="degC")]
        sensor = build("press", Options(port=port, channels=columns), context)
        self._far_end, self._inbox = FarEnd("line"), Inbox()
        self.device = Device("press", sensor, context.clock, self._inbox)
        self._reader = Reader(port, [self.device], context.clock, self._inbox)
        self._reader.start()

    def heard(self, line: str, values: list[float]) -> bool:
        self._far_end.says(line)
        time.sleep(0.05)
        while (message := self._inbox.get(0)) is not None:
            if isinstance(message, Block) and values in message.values.tolist():
                return True
        return False

    def close(self) -> None:
        self._reader.stop()
        if self._reader.thread is not None:
            self._reader.thread.join()
        self._far_end.close()


@pytest.fixture
def press(emulator: Emulator, context: Context) -> Iterator[Press]:
    press = Press(plug(emulator, OURS, "line"), context)
    yield press
    press.close()


def test_an_adapter_that_comes_back_under_another_number_is_read_and_not_the_one_that_has_its_number(
    emulator: Emulator, press: Press, context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    until(lambda: press.heard("1.5,20.25\n", [1.5, 20.25]))
    first = link(OURS).resolve()
    emulator.pull(OURS)
    until(lambda: press.device.status()["state"] == "gone")
    until(lambda: not first.exists())
    assert plug(emulator, OTHER, "nobody") == str(first)
    assert plug(emulator, OURS, "line") != str(first)
    began_s = time.monotonic()
    until(lambda: press.heard("2.5,30.5\n", [2.5, 30.5]))
    with capsys.disabled():
        print(f"[read again {time.monotonic() - began_s:.1f} s after udev had named it]", end=" ")
    assert press.device.status()["state"] == "ok"

    found = scan_serial(Machine(context.clock), listen_s=0).devices
    assert {(d.place, d.usb) for d in found if d.usb} == {
        (str(link(serial)), f"0403:6001 {serial}") for serial in (OURS, OTHER)
    }
