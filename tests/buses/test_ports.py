"""Names of serial ports: which one stays with a device, on trees laid out as udev and the kernel do."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.buses.ports import Ports, advice_on_baud


class Machine:
    """A /dev and a /sys with USB adapters plugged in."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.dev = root / "dev"
        for kind in ("by-id", "by-path"):
            (self.dev / "serial" / kind).mkdir(parents=True)
        (root / "class").mkdir()
        self.ports = Ports(self.dev, root / "class")

    def plug(self, tty: str, socket: str, name: str, *, product: str = "7523", serial: str = "") -> str:
        """An adapter in a socket of the hub; udev's later link by id takes the place of an earlier one."""
        usb = self._root / "devices" / socket
        (usb / "1.0" / tty).mkdir(parents=True)
        (usb / "idVendor").write_text("1a86\n")
        (usb / "idProduct").write_text(product + "\n")
        if serial:
            (usb / "serial").write_text(serial + "\n")
        (self._root / "class" / tty).mkdir()
        (self._root / "class" / tty / "device").symlink_to(usb / "1.0" / tty)
        (self.dev / tty).touch()
        by_id = self.dev / "serial" / "by-id" / name
        by_id.unlink(missing_ok=True)
        by_id.symlink_to(self.dev / tty)
        (self.dev / "serial" / "by-path" / f"platform-usb-0:{socket}").symlink_to(self.dev / tty)
        return str(self.dev / tty)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_device_with_a_serial_number_of_its_own_is_named_by_id(machine: Machine) -> None:
    port = machine.plug("ttyUSB0", "1.2", "usb-FTDI_A50285BI-if00", serial="A50285BI")
    machine.plug("ttyUSB1", "1.3", "usb-FTDI_A50285XX-if00", serial="A50285XX")
    assert str(machine.ports.stable_name(port)).endswith("by-id/usb-FTDI_A50285BI-if00")


def test_two_adapters_without_serial_numbers_are_told_apart_by_their_sockets(machine: Machine) -> None:
    one = machine.plug("ttyUSB0", "1.2", "usb-1a86_USB2.0-Serial-if00")
    two = machine.plug("ttyUSB1", "1.3", "usb-1a86_USB2.0-Serial-if00")
    assert str(machine.ports.stable_name(one)).endswith("by-path/platform-usb-0:1.2")
    assert str(machine.ports.stable_name(two)).endswith("by-path/platform-usb-0:1.3")


def test_two_adapters_with_the_same_serial_number_are_told_apart_by_their_sockets(machine: Machine) -> None:
    one = machine.plug("ttyUSB0", "1.2", "usb-CP2102_0001-if00", product="ea60", serial="0001")
    machine.plug("ttyUSB1", "1.3", "usb-CP2102_0001-if00", product="ea60", serial="0001")
    assert str(machine.ports.stable_name(one)).endswith("by-path/platform-usb-0:1.2")


def test_a_port_on_the_board_itself_needs_no_other_name(machine: Machine) -> None:
    (machine.dev / "ttyAMA0").touch()
    assert machine.ports.stable_name(str(machine.dev / "ttyAMA0")) is None
    assert machine.ports.advice_on(str(machine.dev / "ttyAMA0")) == ""


def test_a_name_by_arrival_is_warned_of_with_the_name_to_use_instead(machine: Machine) -> None:
    port = machine.plug("ttyACM0", "1.2", "usb-Arduino_Uno_5573-if00", serial="5573")
    assert machine.ports.advice_on(port).endswith(f"use {machine.dev}/serial/by-id/usb-Arduino_Uno_5573-if00")


def test_a_name_by_arrival_is_warned_of_while_nothing_is_plugged_in(machine: Machine) -> None:
    assert "use one of /dev/serial/by-id/" in machine.ports.advice_on("/dev/ttyUSB7")


def test_an_id_that_two_adapters_may_share_is_warned_of(machine: Machine) -> None:
    machine.plug("ttyUSB0", "1.2", "usb-1a86_USB2.0-Serial-if00")
    by_id = str(machine.dev / "serial" / "by-id" / "usb-1a86_USB2.0-Serial-if00")
    assert machine.ports.advice_on(by_id).endswith("by-path/platform-usb-0:1.2")


def test_good_names_are_not_warned_of(machine: Machine) -> None:
    machine.plug("ttyUSB0", "1.2", "usb-FTDI_A5-if00", serial="A5")
    assert machine.ports.advice_on(str(machine.dev / "serial" / "by-id" / "usb-FTDI_A5-if00")) == ""
    assert machine.ports.advice_on("/dev/serial/by-id/usb-not-plugged-in") == ""
    assert machine.ports.advice_on(str(machine.dev / "serial" / "by-path" / "platform-usb-0:1.2")) == ""


@pytest.mark.parametrize(
    ("baud", "meant"),
    [(11520, "Did you mean 115200?"), (9601, "Did you mean 9600?"), (7, "no usual baud rate")],
)
def test_a_baud_rate_with_a_digit_too_few_is_warned_of(baud: int, meant: str) -> None:
    assert advice_on_baud(baud).endswith(meant)
    assert advice_on_baud(115200) == ""
