"""A serial port that works, waits, wakes, and says in plain words why it does not open."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.agent.clock import RealClock, ScaledClock
from edgeagent.buses.fake.port import FakePort
from edgeagent.buses.ports import Ports
from edgeagent.buses.serial import SerialPort, open_fault
from edgeagent.errors import DeviceDenied, DeviceFault, DeviceGone
from edgeagent.records import NS_PER_S

MS = 1_000_000


@pytest.fixture
def cable() -> Iterator[FakePort]:
    port = FakePort()
    yield port
    port.unplug()


@pytest.fixture
def port(cable: FakePort) -> Iterator[SerialPort]:
    port = SerialPort(cable.path, 115200, RealClock())
    port.open()
    yield port
    port.close()


def test_what_the_device_sends_is_read_as_it_is(cable: FakePort, port: SerialPort) -> None:
    every_byte = bytes(range(256))
    cable.send(every_byte)
    assert port.read(NS_PER_S) == every_byte


def test_what_is_written_reaches_the_device(cable: FakePort, port: SerialPort) -> None:
    port.write(b"\x00\x0d\x0a\xff")
    assert cable.receive(1.0) == b"\x00\x0d\x0a\xff"


def test_a_silent_device_gives_nothing_after_the_time_out(port: SerialPort) -> None:
    started = time.monotonic()
    assert port.read(20 * MS) == b""
    assert time.monotonic() - started > 0.015


def test_the_time_out_is_counted_by_the_clock_that_was_handed_in(cable: FakePort) -> None:
    port = SerialPort(cable.path, 115200, ScaledClock(10_000.0, time.monotonic_ns()))
    port.open()
    started = time.monotonic()
    assert port.read(600 * NS_PER_S) == b""
    assert time.monotonic() - started < 60.0
    port.close()


def test_a_wake_from_another_thread_ends_a_read_that_waits(port: SerialPort) -> None:
    threading.Timer(0.02, port.wake).start()
    started = time.monotonic()
    assert port.read(90 * NS_PER_S) == b""
    assert time.monotonic() - started < 60.0


def test_a_wake_is_good_for_one_read_only(port: SerialPort) -> None:
    port.wake()
    assert port.read(30 * NS_PER_S) == b""
    started = time.monotonic()
    assert port.read(20 * MS) == b""
    assert time.monotonic() - started > 0.015


def test_a_wake_does_not_swallow_data(cable: FakePort, port: SerialPort) -> None:
    cable.send(b"data")
    port.wake()
    assert port.read(NS_PER_S) == b"data"


def test_unplugging_is_found_out_by_the_read(cable: FakePort, port: SerialPort) -> None:
    cable.unplug()
    with pytest.raises(DeviceGone, match=r"unplugged .*Check cable"):
        port.read(NS_PER_S)


def test_unplugging_is_found_out_by_the_write(cable: FakePort, port: SerialPort) -> None:
    cable.unplug()
    with pytest.raises(DeviceGone, match="unplugged"):
        port.write(b"x")


def test_a_device_that_takes_nothing_is_a_fault_not_a_hang(cable: FakePort) -> None:
    port = SerialPort(cable.path, 115200, ScaledClock(50.0, time.monotonic_ns()))
    port.open()
    with pytest.raises(DeviceFault, match="takes no more data"):
        port.write(bytes(200_000))
    port.close()


def test_a_port_that_is_not_open_says_so(cable: FakePort) -> None:
    port = SerialPort(cable.path, 9600, RealClock())
    with pytest.raises(DeviceFault, match="not open"):
        port.read(0)
    with pytest.raises(DeviceFault, match="not open"):
        port.write(b"x")


def test_closing_twice_and_waking_a_closed_port_do_nothing(port: SerialPort) -> None:
    port.close()
    port.close()
    port.wake()


def test_closing_after_the_device_is_gone_does_not_raise(cable: FakePort, port: SerialPort) -> None:
    cable.unplug()
    port.close()


def test_opening_again_leaves_no_descriptor_behind(port: SerialPort) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        port.open()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_port_that_fails_to_open_leaves_no_descriptor_behind(cable: FakePort, port: SerialPort) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(DeviceFault):
            SerialPort(cable.path, 9600, RealClock()).open()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_second_opener_is_told_who_holds_the_port(cable: FakePort, port: SerialPort) -> None:
    with pytest.raises(DeviceFault, match=rf"{cable.path}: in use by .*\(pid {os.getpid()}\)"):
        SerialPort(cable.path, 115200, RealClock()).open()


def test_an_absent_port_is_gone_and_says_what_to_check() -> None:
    with pytest.raises(DeviceGone, match=r"/dev/ttyUSB77: does not exist.*(There are|check cable)"):
        SerialPort("/dev/ttyUSB77", 9600, RealClock()).open()


def test_a_dead_link_is_named_as_one(tmp_path: Path) -> None:
    link = tmp_path / "arduino"
    link.symlink_to("/dev/ttyACM77")
    with pytest.raises(DeviceGone, match="a link to /dev/ttyACM77, which does not exist"):
        SerialPort(str(link), 9600, RealClock()).open()


def test_a_file_is_not_a_serial_port(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DeviceFault, match="not a serial port"):
        SerialPort(str(file), 9600, RealClock()).open()


def test_a_port_of_another_group_names_the_group_and_the_cure(tmp_path: Path) -> None:
    fault = open_fault("/dev/ttyUSB77", 9600, errno.EACCES, "")
    assert isinstance(fault, DeviceDenied)
    assert "usermod -aG dialout" in str(fault)


def test_an_impossible_baud_rate_is_a_fault(cable: FakePort) -> None:
    with pytest.raises(DeviceFault, match="cannot be set to -1 baud"):
        SerialPort(cable.path, -1, RealClock()).open()


def test_a_replugged_device_is_opened_again_under_its_own_name_not_the_number_that_another_took(
    tmp_path: Path,
) -> None:
    by_id = tmp_path / "serial" / "by-id"
    by_id.mkdir(parents=True)
    link, number = by_id / "usb-Arduino_Uno_5573-if00", tmp_path / "ttyUSB0"
    first, other, back = FakePort(), FakePort(), FakePort()
    number.symlink_to(first.path)
    link.symlink_to(number)
    port = SerialPort(str(number), 9600, RealClock(), Ports(tmp_path))
    port.open()
    first.unplug()
    link.unlink()
    number.unlink()
    number.symlink_to(other.path)
    with pytest.raises(DeviceGone, match="usb-Arduino_Uno_5573-if00: does not exist"):
        port.open()
    link.symlink_to(back.path)
    port.open()
    back.send(b"me again")
    assert port.read(NS_PER_S) == b"me again"
    port.close()
    for cable in (other, back):
        cable.unplug()
