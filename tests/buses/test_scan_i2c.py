"""The scan of the I2C buses, on fake chips: it names them, and it does nothing to those that could take harm."""

from __future__ import annotations

import errno
import importlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.chip import ByteRegisters, FakeWires, os_error
from edgeagent.buses.i2c import Adapter, fake_chips
from edgeagent.buses.scan.found import Device, Findings
from edgeagent.buses.scan.i2c import scan_i2c
from edgeagent.buses.scan.machine import Machine
from edgeagent.demo.workbench import lay

# The registers of these are the same as those of the chip that they are taken for.
TAKEN_FOR = {"tmp105": "lm75"}

RTC = bytes.fromhex("56341205211125") + bytes(7) + bytes.fromhex("1c08001740")


class Wires(FakeWires):
    """Wires that remember what was sent to whom."""

    def __init__(self, chips: Mapping[int, Adapter]) -> None:
        super().__init__(chips)
        self.sent: list[tuple[int, bytes]] = []
        self.closed = False

    def transfer(self, address: int, out: bytes, n: int) -> bytes:
        self.sent.append((address, out))
        return super().transfer(address, out, n)

    def close(self) -> None:
        super().close()
        self.closed = True


class Registers(ByteRegisters):
    """A chip with these bytes in its registers."""

    def __init__(self, content: bytes) -> None:
        super().__init__(VirtualClock(), Fake())
        self.registers[: len(content)] = content
        self.addresses = tuple(range(128))


Registers.ADDRESSES = ()


class Mute:
    """Something at an address that must not be written to, such as a PCF8574: it answers a plain read."""

    def transfer(self, address: int, out: bytes, n: int) -> bytes:
        assert not out, f"{out!r} was written to {address:#x}"
        return b"\xff" * n

    def close(self) -> None: ...


class Failing:
    """A bus that fails, the same way each time."""

    def __init__(self, number: int) -> None:
        self.number, self.asked = number, 0

    def transfer(self, address: int, out: bytes, n: int) -> bytes:
        del address, out, n
        self.asked += 1
        raise os_error(self.number)

    def close(self) -> None: ...


CLOCK = VirtualClock()  # of the chips and of who scans them: some take a moment to answer


def fake_chip(name: str, address: int | None = None) -> tuple[int, Adapter]:
    chip = importlib.import_module(f"edgeagent.buses.fake.{name}").build(CLOCK, Fake(address=address))
    return chip.addresses[0], chip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lay(tmp_path, "dev/i2c-1", "")
    lay(tmp_path, "sys/bus/i2c/devices/i2c-1/name", "bcm2835 (i2c@7e804000)")
    return tmp_path


def scan(root: Path, adapter: Adapter) -> Findings:
    return scan_i2c(Machine(CLOCK, root, lambda _: adapter))


def only(found: Findings) -> Device:
    (device,) = found.devices
    return device


@pytest.mark.parametrize("chip", fake_chips())
def test_every_fake_chip_that_ships_is_named_with_its_driver(chip: str, root: Path) -> None:
    address, adapter = fake_chip(chip)
    device = only(scan(root, FakeWires({address: adapter})))
    driver = TAKEN_FOR.get(chip, chip)
    assert device.sensor == {"driver": driver, "bus": "i2c-1", "address": address}
    assert driver in device.name.replace("-", "").lower()
    assert device.why


def test_at_one_address_the_clock_and_the_gyroscope_are_told_apart_and_it_is_said_how(root: Path) -> None:
    clock = only(scan(root, FakeWires({0x68: Registers(RTC)})))
    assert clock.name == "DS3231 clock"
    assert clock.why.startswith("looks like it: register 0x00 is 0x56341205")
    imu = only(scan(root, FakeWires(dict([fake_chip("mpu6050")]))))
    assert (imu.name, imu.why) == ("MPU-6050", "register 0x75 is 0x68")


def test_an_unknown_chip_is_shown_with_what_it_said(root: Path) -> None:
    content = bytearray(b"\xfe" * 256)
    content[0x75] = 0x99
    device = only(scan(root, FakeWires({0x68: Registers(bytes(content))})))
    assert device.name == ""
    assert device.sensor is None
    assert "register 0x75 is 0x99" in device.why


@pytest.mark.parametrize("address", [0x20, 0x27, 0x38, 0x3F, 0x70, 0x75, 0x3C])
def test_what_takes_any_byte_for_an_order_is_read_but_never_written_to(address: int, root: Path) -> None:
    device = only(scan(root, FakeWires({address: Mute()})))
    assert device.name.startswith("usually")
    assert "not asked who it is" in device.why


def test_chips_without_an_entry_of_their_own_are_never_written_to(root: Path) -> None:
    assert only(scan(root, FakeWires({0x50: Mute()}))).name.startswith("usually an EEPROM")


def test_everything_that_is_sent_is_a_register_number_or_a_command_that_reads(root: Path) -> None:
    wires = Wires(dict(fake_chip(name) for name in fake_chips()))
    scan(root, wires)
    assert {out for _, out in wires.sent if len(out) > 1} == {b"\xf3\x2d"}
    assert wires.closed


def test_reserved_and_unsafe_addresses_are_not_even_read(root: Path) -> None:
    wires = Wires({})
    found = scan(root, wires)
    touched = {address for address, _ in wires.sent}
    assert touched == set(range(0x08, 0x78)) - {0x0C}
    assert [left.place for left in found.left] == ["i2c-1 0x0c"]
    assert "alert" in found.left[0].reason


def test_a_chip_of_a_kernel_driver_is_shown_and_not_spoken_to(root: Path) -> None:
    lay(root, "sys/bus/i2c/devices/1-0068/name", "ds3231")
    lay(root, "sys/bus/i2c/devices/1-0068/driver", "-> ../../drivers/rtc-ds1307")
    lay(root, "sys/bus/i2c/drivers/rtc-ds1307/", "")
    wires = Wires({0x68: Registers(RTC)})
    device = only(scan(root, wires))
    assert (device.name, device.state, device.holders) == ("ds3231", "busy", ("kernel driver rtc-ds1307",))
    assert 0x68 not in {address for address, _ in wires.sent}


def test_a_bus_that_another_program_reads_is_left_to_it(root: Path) -> None:
    lay(root, "proc/4711/comm", "edgeagent")
    lay(root, "proc/4711/fd/7", "-> /dev/i2c-1")
    wires = Wires({})
    (left,) = scan(root, wires).left
    assert "in use by edgeagent (pid 4711)" in left.reason
    assert wires.sent == []


@pytest.mark.parametrize(
    "name", ["fef04500.i2c", "SMBus I801 adapter at efa0", "i915 gmbus dpb", "AMDGPU DM i2c hw bus 0"]
)
def test_the_buses_of_displays_and_of_a_pcs_memory_are_left_alone(name: str, root: Path) -> None:
    (root / "sys/bus/i2c/devices/i2c-1/name").write_text(name)
    wires = Wires({})
    (left,) = scan(root, wires).left
    assert name in left.reason
    assert wires.sent == []


def test_a_stuck_bus_is_given_up_at_once_with_the_cure(root: Path) -> None:
    bus = Failing(errno.EBUSY)
    found = scan(root, bus)
    assert bus.asked == 1
    assert "stuck" in found.left[-1].reason


def test_a_bus_that_times_out_again_and_again_is_given_up_after_three(root: Path) -> None:
    bus = Failing(errno.ETIMEDOUT)
    found = scan(root, bus)
    assert bus.asked == 3
    assert [left.place for left in found.left] == ["i2c-1 0x08", "i2c-1 0x09", "i2c-1 0x0a", "i2c-1"]


def test_one_chip_that_holds_the_clock_does_not_hide_the_others(root: Path) -> None:
    found = scan(root, FakeWires({0x10: Failing(errno.ETIMEDOUT), **dict([fake_chip("bme280")])}))
    assert only(found).name == "BME280"
    assert "i2c-1 0x10" in {left.place for left in found.left}


def test_a_bus_that_this_user_may_not_open_says_which_group_may(root: Path) -> None:
    def connect(path: str) -> Adapter:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    (left,) = scan_i2c(Machine(VirtualClock(), root, connect)).left
    assert "group" in left.reason
    assert "usermod" in left.reason


def test_no_bus_is_no_fault_and_says_how_to_enable_one(tmp_path: Path) -> None:
    found = scan(tmp_path, FakeWires({}))
    assert found.devices == ()
    (left,) = found.left
    assert "raspi-config" in left.reason
