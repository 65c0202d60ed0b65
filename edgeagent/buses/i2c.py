"""I2C: one bus and its transfers, retried, counted and faulted alike whether the chips on it are real or fake."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import pkgutil
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Annotated, Protocol

from edgeagent.buses.fake import Fake
from edgeagent.config.findings import nearest
from edgeagent.config.quantities import Between
from edgeagent.errors import ConfigFault, DeviceDenied, DeviceFault, DeviceGone
from edgeagent.timebase import Clock

Truth = Callable[[int, int], str | None]

I2cAddress = Annotated[int, Between(0x08, 0x77)]
"""As a chip may have one: of the 128, what is below and above is the bus's own."""

MAX_READ_BYTES = 8192  # the kernel's limit for one message
ATTEMPTS = 3
FIRST_PAUSE_S = 0.001  # doubled for each further attempt: a dead chip holds up the others on its bus for 3 ms

_FAKES = "edgeagent.buses.fake"
_NO_ACKNOWLEDGE = (errno.EREMOTEIO, errno.ENXIO)
_PASSING = (*_NO_ACKNOWLEDGE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN)
_CAUSES = dict.fromkeys(_NO_ACKNOWLEDGE, "i2c_naks") | {errno.ETIMEDOUT: "i2c_timeouts"}


class Adapter(Protocol):
    """What carries out transfers: the kernel's bus, or a fake chip. Its OSErrors carry the kernel's errno."""

    def transfer(self, address: int, out: bytes, n: int) -> bytes:
        """Write `out`, and after a repeated start read `n` bytes: one transaction. Either may be nothing."""
        ...

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
        self.name, self.connect, self.truth = name, connect, truth
        self._clock = clock
        self._adapter: Adapter | None = None
        self._answers: dict[int, bool] = {}  # by address that has ever answered: whether it did the last time
        self._tallies: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._lock = Lock()

    def write(self, address: int, data: bytes) -> None:
        """Write a register's number and what goes there, or a command. Raises DeviceFault."""
        self.transfer(address, data, 0)

    def read(self, address: int, register: int, n: int, *, attempts: int = ATTEMPTS) -> bytes:
        """`n` bytes (8192 at most) from a register on, in one transaction with a repeated start.

        Where reading takes something away (a FIFO), say `attempts=1`: a second try would miss what the first took.
        Raises DeviceFault.
        """
        return self.transfer(address, bytes((register,)), n, attempts=attempts)

    def transfer(self, address: int, out: bytes, n: int, *, attempts: int = ATTEMPTS) -> bytes:
        """Any transaction: write `out`, then read `n` bytes. Raises DeviceFault."""
        tally, pause_s = self._tallies[address], FIRST_PAUSE_S
        with self._lock:
            for left in reversed(range(attempts)):
                try:
                    self._adapter = self._adapter or self.connect()
                    answer = self._adapter.transfer(address, out, n)
                except OSError as e:
                    tally[_CAUSES.get(e.errno or 0, "i2c_errors")] += 1
                    if left == 0 or e.errno not in _PASSING:
                        self._drop()
                        raise self._fault(address, e) from e
                else:
                    self._answers[address] = True
                    return answer
                tally["i2c_retries"] += 1
                self._clock.sleep_s(pause_s)
                pause_s *= 2
        raise ValueError(f"{attempts} attempts")

    def counters(self, address: int) -> dict[str, int]:
        """What went wrong at an address so far, by cause."""
        return {cause: self._tallies[address][cause] for cause in COUNTED}

    def close(self) -> None:
        """Let go of the bus; the next transfer opens it again. Never raises."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        adapter, self._adapter = self._adapter, None
        if adapter is not None:
            adapter.close()

    def _fault(self, address: int, error: OSError) -> DeviceFault:
        """One silent chip is that chip's trouble; if all that ever answered are silent, it is the bus's."""
        if address in self._answers:
            self._answers[address] = False
        if error.errno in _PASSING and len(self._answers) > 1 and not any(self._answers.values()):
            return DeviceFault(
                f"no chip answers any more ({', '.join(f'{a:#04x}' for a in sorted(self._answers))} did): "
                "the bus is stuck, or its chips are without power",
                where=self.name,
                hint=_UNSTICK,
            )
        return transfer_fault(self.name, address, error.errno or 0, str(error))


COUNTED = ("i2c_retries", "i2c_naks", "i2c_timeouts", "i2c_errors")


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

    def transfer(self, address: int, out: bytes, n: int) -> bytes:
        answer = self._message.read(address, n)
        writing = [self._message.write(address, out)] if out or not n else []
        self._bus.i2c_rdwr(*writing, *([answer] if n else []))
        return bytes(answer)

    def close(self) -> None:
        self._bus.close()


def bus_path(name: str) -> str:
    """`/dev/i2c-1` for `i2c-1`, `1` or `/dev/i2c-1`. Raises ConfigFault for any other name."""
    number = name.removeprefix("/dev/").removeprefix("i2c-")
    if not number.isdecimal():
        raise ConfigFault(f"no I2C bus is called {name!r}", expected="i2c-1, or fake:CHIP")
    return f"/dev/i2c-{number}"


def open_i2c(name: str, clock: Clock, fake: Fake) -> I2cBus:
    """The bus `i2c-1`, `1` or `/dev/i2c-1`, not yet opened; `fake:CHIP` is `edgeagent/buses/fake/CHIP.py`.

    Raises ConfigFault for a name that is neither, and what the fake's own `build(clock, fake)` raises.
    """
    if name.startswith("fake:"):
        chip = _fake_builder(name.removeprefix("fake:"))(clock, fake)
        truth = getattr(chip, "truth", None) if fake.recording else None
        return I2cBus(name, clock, lambda: chip, truth)
    path = bus_path(name)
    return I2cBus(path, clock, lambda: LinuxAdapter(path))


def fake_chips() -> list[str]:
    """The chips that `fake:CHIP` may name: the files of buses/fake/ with a `build`."""
    names = [m.name for m in pkgutil.iter_modules(importlib.import_module(_FAKES).__path__)]
    return [name for name in names if _build_of(name)]


def _fake_builder(chip: str) -> Callable[[Clock, Fake], Adapter]:
    if build := _build_of(chip):
        return build
    there = fake_chips()
    raise ConfigFault(
        f"no fake chip is called {chip!r}", expected=f"one of {', '.join(there)}", hint=nearest(chip, there)
    )


def _build_of(chip: str) -> Callable[[Clock, Fake], Adapter] | None:
    name = f"{_FAKES}.{chip}"
    if not chip.isidentifier() or importlib.util.find_spec(name) is None:
        return None
    build: Callable[[Clock, Fake], Adapter] | None = getattr(importlib.import_module(name), "build", None)
    return build


def transfer_fault(bus: str, address: int, number: int, text: str) -> DeviceFault:
    """The fault for an errno met while opening a bus or moving bytes on it, with the cure on a Raspberry Pi."""
    where = f"{bus} address {address:#04x}"
    if number == errno.ENOENT:
        return DeviceGone("this bus does not exist", where=bus, hint=_which_do(Path(bus).parent))
    if number in (errno.EACCES, errno.EPERM):
        return _denied(bus)
    if number in _NO_ACKNOWLEDGE:
        return DeviceGone(
            "nothing answers (no acknowledge)",
            where=where,
            hint=f"Check power, SDA and SCL; `i2cdetect -y {bus.removeprefix('/dev/i2c-')}` shows who answers.",
        )
    if number == errno.ENODEV:
        return DeviceGone("the bus itself has gone", where=bus, hint="Is it a USB adapter? Plug it in again.")
    what, hint = _SAYINGS.get(number, (f"the transfer failed ({text})", _VAGUE))
    return DeviceFault(what, where=where, hint=hint)


_SLOWER = "Lower the bus clock (dtparam=i2c_arm_baudrate=10000 in config.txt), or use the i2c-gpio overlay"
_UNSTICK = (
    "Take the chips' power away and give it back; check pull-ups and for a short (docs/i2c-bus-recovery.md)."
)
_VAGUE = f"Check wiring and cable length. Does the chip stretch the clock? The Pi's own bus is bad at that: {_SLOWER}."
_SAYINGS = {
    errno.ETIMEDOUT: (
        "the chip held the clock for too long",
        f"{_SLOWER}: the Pi's own bus is bad at waiting.",
    ),
    errno.EBUSY: ("the bus is stuck: SDA or SCL is held low", _UNSTICK),
    errno.EAGAIN: (
        "another master was talking (arbitration lost)",
        "Only one computer may drive this bus: unplug the other.",
    ),
    errno.EOPNOTSUPP: (
        "this adapter cannot do plain I2C transfers",
        "Use the Pi's own bus, or an adapter that can do more than SMBus.",
    ),
}


def _denied(bus: str) -> DeviceDenied:
    """The group that may open it; if that is root's, no udev rule has given it to anybody."""
    try:
        group = Path(bus).group()
    except (OSError, KeyError):
        group = "i2c"
    if group == "root":
        return DeviceDenied(
            "only root may open it",
            where=bus,
            hint="Copy systemd/99-edgeagent.rules into /etc/udev/rules.d/, and run `sudo udevadm trigger`.",
        )
    return DeviceDenied(
        f"this user may not open it; it belongs to the group {group}",
        where=bus,
        hint=f"Run `sudo usermod -aG {group} USER` and log in again (a service: SupplementaryGroups={group}).",
    )


NO_BUS = (
    "No I2C bus is enabled. "
    "Run `sudo raspi-config nonint do_i2c 0`, or put dtparam=i2c_arm=on into config.txt and reboot."
)


def _which_do(dev: Path) -> str:
    there = ", ".join(sorted(p.name for p in dev.glob("i2c-*")))
    return f"There are: {there}." if there else NO_BUS
