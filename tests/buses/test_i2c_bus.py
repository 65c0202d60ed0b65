"""An I2C bus: one transaction a read, a bounded retry, and faults that name the cure."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses import Buses
from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import Adapter, I2cBus, open_i2c, transfer_fault
from edgeagent.buses.registers import Byte, Chip, Word
from edgeagent.errors import ConfigFault, DeviceDenied, DeviceFault, DeviceGone


class Memory:
    """A chip of 256 bytes that fails as often, and as it is told to."""

    def __init__(self, *failures: int) -> None:
        self.cells = bytearray(range(256))
        self.failures = list(failures)
        self.transfers = self.closed = 0

    def _begin(self) -> None:
        self.transfers += 1
        if self.failures:
            number = self.failures.pop(0)
            raise OSError(number, os.strerror(number))

    def transfer(self, address: int, out: bytes, n: int) -> bytes:
        self._begin()
        self.cells[out[0] : out[0] + len(out) - 1] = out[1:]
        return bytes(self.cells[out[0] : out[0] + n])

    def close(self) -> None:
        self.closed += 1


def bus_with(memory: Memory) -> tuple[I2cBus, VirtualClock]:
    clock = VirtualClock()
    return I2cBus("/dev/i2c-1", clock, lambda: memory), clock


@pytest.mark.parametrize("number", [errno.EREMOTEIO, errno.EIO, errno.ETIMEDOUT])
def test_a_passing_failure_is_tried_again_and_counted(number: int) -> None:
    memory = Memory(number, number)
    bus, clock = bus_with(memory)
    assert bus.read(0x50, 3, 2) == b"\x03\x04"
    assert (bus.counters(0x50)["i2c_retries"], memory.transfers) == (2, 3)
    assert clock.now_ns() == 3_000_000


def test_the_third_failure_is_final() -> None:
    memory = Memory(*[errno.EREMOTEIO] * 3)
    bus, _ = bus_with(memory)
    with pytest.raises(DeviceGone):
        bus.read(0x50, 3, 2)
    assert bus.read(0x50, 3, 1) == b"\x03"


def test_a_read_that_takes_something_away_is_not_tried_again() -> None:
    memory = Memory(errno.EIO)
    bus, _ = bus_with(memory)
    with pytest.raises(DeviceFault):
        bus.read(0x50, 3, 2, attempts=1)
    assert memory.transfers == 1


def test_a_stuck_bus_is_not_tried_again() -> None:
    memory = Memory(errno.EBUSY)
    bus, _ = bus_with(memory)
    with pytest.raises(DeviceFault, match="SDA or SCL is held low"):
        bus.write(0x50, b"\x01\x02")
    assert memory.transfers == 1


def test_what_went_wrong_is_counted_for_each_address_by_its_cause() -> None:
    bus, _ = bus_with(Memory(errno.EREMOTEIO, errno.ETIMEDOUT, errno.EIO, errno.ENXIO))
    with pytest.raises(DeviceFault):
        bus.read(0x50, 3, 1)
    bus.read(0x51, 3, 1)
    assert bus.counters(0x50) == {"i2c_retries": 2, "i2c_naks": 1, "i2c_timeouts": 1, "i2c_errors": 1}
    assert bus.counters(0x51) == {"i2c_retries": 1, "i2c_naks": 1, "i2c_timeouts": 0, "i2c_errors": 0}
    assert not any(bus.counters(0x52).values())


def test_one_silent_chip_among_others_is_its_own_trouble() -> None:
    memory = Memory()
    bus, _ = bus_with(memory)
    for address in (0x48, 0x76):
        bus.read(address, 0, 1)
    memory.failures = [errno.EREMOTEIO] * 3
    with pytest.raises(DeviceGone, match="address 0x48: nothing answers"):
        bus.read(0x48, 0, 1)


@pytest.mark.parametrize("number", [errno.EREMOTEIO, errno.ETIMEDOUT, errno.EIO])
def test_when_all_that_ever_answered_are_silent_the_bus_is_stuck_and_the_message_names_them(
    number: int,
) -> None:
    memory = Memory()
    bus, _ = bus_with(memory)
    for address in (0x48, 0x76):
        bus.read(address, 0, 1)
    memory.failures = [number] * 6
    with pytest.raises(DeviceFault):
        bus.read(0x48, 0, 1)
    with pytest.raises(DeviceFault, match=r"no chip answers any more \(0x48, 0x76 did\).*i2c-bus-recovery"):
        bus.read(0x76, 0, 1)
    assert bus.read(0x48, 0, 1) == b"\x00", "the next transfer opens the bus again"
    assert memory.closed == 2


def test_a_bus_that_only_root_may_open_needs_a_udev_rule(tmp_path: Path) -> None:
    node = tmp_path / "i2c-1"
    node.touch()
    os.chown(node, -1, 0 if os.getuid() == 0 else os.getgid())
    fault = transfer_fault(str(node), 0x68, errno.EACCES, "")
    assert type(fault) is DeviceDenied
    wanted = "udev/rules.d" if node.group() == "root" else f"usermod -aG {node.group()} "
    assert wanted in str(fault)


def test_the_bus_is_opened_at_the_first_transfer_and_again_after_a_fault() -> None:
    opened: list[Memory] = []

    def connect() -> Adapter:
        opened.append(Memory(*[errno.ENODEV] * (not opened)))
        return opened[-1]

    bus = I2cBus("/dev/i2c-1", VirtualClock(), connect)
    assert not opened
    with pytest.raises(DeviceGone, match="the bus itself has gone"):
        bus.read(0x50, 0, 1)
    assert bus.read(0x50, 7, 1) == b"\x07"
    assert [m.closed for m in opened] == [1, 0]


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.EREMOTEIO, DeviceGone, r"/dev/i2c-1 address 0x68: nothing answers.*i2cdetect -y 1"),
        (errno.ENXIO, DeviceGone, "nothing answers"),
        (errno.EACCES, DeviceDenied, "usermod -aG i2c"),
        (errno.ETIMEDOUT, DeviceFault, "held the clock for too long.*i2c-gpio"),
        (errno.EAGAIN, DeviceFault, "arbitration lost"),
        (errno.EIO, DeviceFault, "the transfer failed .*Check wiring"),
        (errno.EOPNOTSUPP, DeviceFault, "cannot do plain I2C"),
    ],
)
def test_every_errno_of_the_kernel_has_its_fault_and_cure(
    number: int, kind: type[DeviceFault], says: str
) -> None:
    fault = transfer_fault("/dev/i2c-1", 0x68, number, os.strerror(number))
    assert type(fault) is kind
    with pytest.raises(kind, match=says):
        raise fault


@pytest.mark.parametrize("name", ["77", "i2c-77", "/dev/i2c-77"])
def test_a_bus_that_does_not_exist_says_which_do_or_how_to_enable_one(name: str) -> None:
    bus = open_i2c(name, VirtualClock(), Fake())
    with pytest.raises(
        DeviceGone, match=r"/dev/i2c-77: this bus does not exist\. (There are|No I2C bus is enabled)"
    ):
        bus.read(0x68, 0x75, 1)


def test_the_buses_that_there_are_are_named_where_one_does_not_exist(tmp_path: Path) -> None:
    for name in ("i2c-1", "i2c-3", "ttyUSB0"):
        (tmp_path / name).touch()
    fault = transfer_fault(f"{tmp_path}/i2c-0", 0x68, errno.ENOENT, "")
    assert type(fault) is DeviceGone
    assert fault.hint == "There are: i2c-1, i2c-3."


def test_a_file_that_is_no_bus_is_a_fault_and_leaves_no_descriptor_behind() -> None:
    from edgeagent.buses.i2c import LinuxAdapter

    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Inappropriate ioctl"):
        LinuxAdapter("/dev/null")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["spi0", "fake:nonesuch", "fake:port", ""])
def test_a_name_that_is_no_bus_is_a_config_fault_naming_what_there_is(name: str) -> None:
    with pytest.raises(ConfigFault, match=r"i2c-1|mpu6050"):
        open_i2c(name, VirtualClock(), Fake())


def test_sensors_of_one_bus_share_it_and_fakes_do_not() -> None:
    buses = Buses(VirtualClock())
    assert buses.i2c("i2c-1") is buses.i2c("/dev/i2c-1") is buses.i2c("1")
    assert buses.i2c("fake:mpu6050") is not buses.i2c("fake:mpu6050")


class Table(Chip):
    __slots__ = ()
    control = Byte(0x10)
    count = Word(0x20)


def test_registers_are_read_and_written_by_their_names() -> None:
    table = Table(bus_with(Memory())[0], 0x50)
    table.control = 0xAB
    assert (table.control, table.count) == (0xAB, 0x2021)


@pytest.mark.parametrize("misuse", [lambda t: setattr(t, "contrl", 1), lambda t: setattr(t, "count", 1)])
def test_a_mistyped_register_and_a_read_only_one_cannot_be_written(misuse: Callable[[Table], None]) -> None:
    with pytest.raises(AttributeError):
        misuse(Table(bus_with(Memory())[0], 0x50))
