"""I2C: one bus and its transfers, retried and faulted alike whether the chips on it are real or fake."""

from __future__ import annotations

import errno
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeVar

from edgeagent.errors import ConfigFault, DeviceDenied, DeviceFault, DeviceGone
from edgeagent.timebase import Clock

T = TypeVar("T")
Truth = Callable[[int, int], str | None]

MAX_READ_BYTES = 8192  # the kernel's limit for one message
ATTEMPTS = 3
PAUSE_S = 0.001

_FAKES = "edgeagent.buses.fake"
_NO_ACKNOWLEDGE = (errno.EREMOTEIO, errno.ENXIO)
_PASSING = (*_NO_ACKNOWLEDGE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN)


class Adapter(Protocol):
    """What carries out transfers: the kernel's bus, or a fake chip. Its OSErrors carry the kernel's errno."""

    def write(self, address: int, data: bytes) -> None: ...

    def read(self, address: int, register: int, n: int) -> bytes: ...

    def close(self) -> None: ...


class I2cBus:
    """One bus, for any thread.

    Args:
        name: As it is shown in faults: `/dev/i2c-1`, `fake:mpu6050`.
        clock: Waits between attempts.
        connect: Opens the adapter; called at the first transfer, and at the next one after a fault or `close`.
        truth: What really happened between two times, if a labelled recording is played; None on a real bus.
    """

    def __init__(
        self, name: str, clock: Clock, connect: Callable[[], Adapter], truth: Truth | None = None
    ) -> None:
        self.name, self.truth = name, truth
        self.retries = 0
        self._clock = clock
        self._connect = connect
        self._adapter: Adapter | None = None
        self._lock = Lock()

    def write(self, address: int, data: bytes) -> None:
        """Write a register's number and what goes there. Raises DeviceFault."""
        self._transfer(address, ATTEMPTS, lambda adapter: adapter.write(address, data))

    def read(self, address: int, register: int, n: int, *, attempts: int = ATTEMPTS) -> bytes:
        """`n` bytes (8192 at most) from a register on, in one transaction with a repeated start.

        Where reading takes something away (a FIFO), say `attempts=1`: a second try would miss what the first took.
        Raises DeviceFault.
        """
        return self._transfer(address, attempts, lambda adapter: adapter.read(address, register, n))

    def close(self) -> None:
        """Let go of the bus; the next transfer opens it again. Never raises."""
        with self._lock:
            self._drop()

    def _transfer(self, address: int, attempts: int, do: Callable[[Adapter], T]) -> T:
        with self._lock:
            while True:
                try:
                    adapter = self._adapter = self._adapter or self._connect()
                    return do(adapter)
                except OSError as e:
                    attempts -= 1
                    if attempts == 0 or e.errno not in _PASSING:
                        self._drop()
                        raise transfer_fault(self.name, address, e.errno or 0, str(e)) from e
                self.retries += 1
                self._clock.sleep_s(PAUSE_S)

    def _drop(self) -> None:
        adapter, self._adapter = self._adapter, None
        if adapter is not None:
            adapter.close()


class LinuxAdapter:
    """`/dev/i2c-N` by smbus2. Raises OSError."""

    def __init__(self, path: str) -> None:
        from smbus2 import SMBus, i2c_msg

        self._message = i2c_msg
        self._bus = SMBus()
        try:
            self._bus.open(path)
        except OSError:
            self._bus.close()  # smbus2 keeps the descriptor of a file that turns out to be no bus
            raise

    def write(self, address: int, data: bytes) -> None:
        self._bus.i2c_rdwr(self._message.write(address, data))

    def read(self, address: int, register: int, n: int) -> bytes:
        answer = self._message.read(address, n)
        self._bus.i2c_rdwr(self._message.write(address, (register,)), answer)
        return bytes(answer)

    def close(self) -> None:
        self._bus.close()


def open_i2c(name: str, clock: Clock, fake: Mapping[str, Any]) -> I2cBus:
    """The bus `i2c-1`, `1` or `/dev/i2c-1`, not yet opened; `fake:CHIP` is `edgeagent/buses/fake/CHIP.py`.

    Raises ConfigFault for a name that is neither, and what the fake's own `build(clock, fake)` raises.
    """
    if name.startswith("fake:"):
        return _open_fake(name, clock, fake)
    number = name.removeprefix("/dev/").removeprefix("i2c-")
    if not number.isdecimal():
        raise ConfigFault(f"no I2C bus is called {name!r}", expected="i2c-1, or fake:CHIP")
    path = f"/dev/i2c-{number}"
    return I2cBus(path, clock, lambda: LinuxAdapter(path))


def _open_fake(name: str, clock: Clock, fake: Mapping[str, Any]) -> I2cBus:
    chip = name.removeprefix("fake:")
    names = [m.name for m in pkgutil.iter_modules(importlib.import_module(_FAKES).__path__)]
    build = _fake_builder(chip) if chip in names else None
    if build is None:
        chips = ", ".join(n for n in names if _fake_builder(n))
        raise ConfigFault(f"no fake chip is called {chip!r}", expected=f"one of {chips}")
    return build(clock, fake)


def _fake_builder(module: str) -> Callable[[Clock, Mapping[str, Any]], I2cBus] | None:
    """What builds the fake chip of that file; None if the file holds something that is no I2C chip."""
    return getattr(importlib.import_module(f"{_FAKES}.{module}"), "build", None)


def transfer_fault(bus: str, address: int, number: int, text: str) -> DeviceFault:
    """The fault for an errno met while opening a bus or moving bytes on it, with the cure on a Raspberry Pi."""
    where = f"{bus} address {address:#04x}"
    if number == errno.ENOENT:
        return DeviceGone("this bus does not exist", where=bus, hint=_how_to_enable())
    if number in (errno.EACCES, errno.EPERM):
        return DeviceDenied(
            "this user may not open it; it belongs to the group i2c",
            where=bus,
            hint="Run `sudo usermod -aG i2c USER` and log in again (a service: SupplementaryGroups=i2c).",
        )
    if number in _NO_ACKNOWLEDGE:
        return DeviceGone(
            "nothing answers (no acknowledge)",
            where=where,
            hint=f"Check power, SDA and SCL; `i2cdetect -y {bus.removeprefix('/dev/i2c-')}` shows who answers.",
        )
    if number == errno.ENODEV:
        return DeviceGone("the bus itself has gone", where=bus, hint="Is it a USB adapter? Plug it in again.")
    what, hint = _SAYINGS.get(number, (f"the transfer failed ({text})", "Check wiring and cable length."))
    return DeviceFault(what, where=where, hint=hint)


_SAYINGS = {
    errno.ETIMEDOUT: (
        "the chip held the clock for too long",
        "Lower the bus clock (dtparam=i2c_arm_baudrate=50000 in config.txt), or use the i2c-gpio overlay.",
    ),
    errno.EBUSY: (
        "the bus is stuck: SDA or SCL is held low",
        "Take the chip's power away and give it back; check pull-ups and for a short.",
    ),
    errno.EAGAIN: (
        "another master was talking (arbitration lost)",
        "Only one computer may drive this bus: unplug the other.",
    ),
    errno.EOPNOTSUPP: (
        "this adapter cannot do plain I2C transfers",
        "Use the Pi's own bus, or an adapter that can do more than SMBus.",
    ),
}


def _how_to_enable() -> str:
    there = ", ".join(sorted(p.name for p in Path("/dev").glob("i2c-*")))
    enable = "Run `sudo raspi-config nonint do_i2c 0`, or put dtparam=i2c_arm=on into config.txt and reboot."
    return f"There are: {there}." if there else f"No I2C bus is enabled. {enable}"
