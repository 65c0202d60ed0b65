"""A serial line, or a connection, with a device at its far end that is not there: a program, and the faults of a cable.

The device lives by the clock that is handed in, in the reads of whoever listens: on virtual time an hour of it takes a
second or two. (For what only the kernel does to a port there is the pty, port.py.)
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections import deque
from collections.abc import Callable
from random import Random
from threading import Event
from typing import ClassVar, Literal, Protocol

from edgeagent.buses.fake import FakeDevice
from edgeagent.config.findings import nearest
from edgeagent.errors import ConfigFault, DeviceFault, DeviceGone
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

UNREAD_BYTES = 65536  # what a line holds for a host that does not read; the rest is lost
GARBAGE_BYTES = 20

Spoilt = Literal["half", "garbage", "reordered", "noise"]

_FAKES = "edgeagent.buses.fake"


class Program(Protocol):
    """What runs on a device; `edgeagent/buses/fake/NAME.py` has it as `program(fake)`."""

    HAS_ID: ClassVar[bool]
    """Whether it says who it is: what does not cannot be another."""

    stuck_value: bool

    def step(self, now_ns: int, heard: bytes) -> list[bytes]:
        """The messages to send now, of its own accord or because of what it heard."""
        ...

    def due_ns(self) -> int:
        """When it will speak by itself."""
        ...


class Talker:
    """A program that says something at a rate, and listens to nobody."""

    HAS_ID: ClassVar[bool] = False

    def __init__(self, fake: FakeDevice) -> None:
        self.stuck_value = fake.stuck_value
        self._period_ns = round(NS_PER_S / fake.rate)
        self._next_ns: int | None = None
        self._said = self._measured = 0

    def step(self, now_ns: int, heard: bytes) -> list[bytes]:
        del heard
        if self._next_ns is None:
            self._next_ns = now_ns + self._period_ns
        messages = []
        while self._next_ns <= now_ns:
            messages += self.say(self._said, self._measured)
            self._next_ns += self._period_ns
            self._said += 1
            self._measured += not self.stuck_value
        return messages

    def due_ns(self) -> int:
        return self._next_ns or 0

    def say(self, said: int, measured: int) -> list[bytes]:
        """What it says after so many times, and measurements: these stand still if the value is stuck."""
        raise NotImplementedError


class FakeLine:
    """`Port` of buses/__init__.py. Its faults may be set at any time."""

    def __init__(self, path: str, clock: Clock, program: Program, fake: FakeDevice) -> None:
        if fake.wrong_id is not None and not program.HAS_ID:
            raise ConfigFault(f"{path} has no id that could be wrong", where="wrong_id")
        self.path, self.program = path, program
        self.spoils: dict[Spoilt, int] = {
            "half": fake.half,
            "garbage": fake.garbage,
            "reordered": fake.reordered,
            "noise": fake.noise,
        }
        self.unplugged, self.silent, self.slow_s = fake.unplugged, fake.silent, fake.slow
        self._clock = clock
        self._woken = Event()
        self._is_open = False
        self._heard = b""
        self._underway: deque[tuple[int, bytes]] = deque()
        self._unread_bytes = 0
        self._random = Random(1)  # noqa: S311 - noise, the same in every run

    def open(self) -> None:
        """What it has said meanwhile nobody has heard. Raises DeviceGone."""
        self.close()
        self._be_plugged_in()
        self._live()
        self._underway.clear()
        self._unread_bytes = 0
        self._is_open = True

    def read(self, wait_ns: int) -> bytes:
        until_ns = self._clock.now_ns() + wait_ns
        while True:
            self._be_open()
            self._live()
            if data := self._arrived():
                return data
            if self._clock.now_ns() >= until_ns:
                return b""
            if self._clock.wait(self._woken, min(until_ns, self._next_ns())):
                self._woken.clear()
                return b""

    def write(self, data: bytes) -> None:
        self._be_open()
        self._heard += data

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        self._is_open = False
        self._heard = b""
        self._woken.clear()

    def _live(self) -> None:
        """Let the device do what it has to do up to now."""
        now_ns = self._clock.now_ns()
        heard, self._heard = self._heard, b""
        for message in self.program.step(now_ns, heard):
            carried = b"" if self.silent else self._carry(message)
            if self._unread_bytes + len(carried) <= UNREAD_BYTES:
                self._unread_bytes += len(carried)
                self._underway.append((now_ns + round(self.slow_s * NS_PER_S), carried))

    def _carry(self, message: bytes) -> bytes:
        """A message as it arrives."""
        if self._spoils("half"):
            message = message[: len(message) // 2]
        if self._spoils("reordered"):
            pairs = (message[i : i + 2][::-1] for i in range(0, len(message), 2))
            message = b"".join(pairs)
        if self._spoils("noise"):
            message = bytes(byte ^ self._random.randrange(256) for byte in message)
        return self._random.randbytes(GARBAGE_BYTES) + message if self._spoils("garbage") else message

    def _spoils(self, fault: Spoilt) -> bool:
        left = self.spoils[fault]
        self.spoils[fault] = max(left - 1, 0)
        return left > 0

    def _arrived(self) -> bytes:
        data = b""
        while self._underway and self._underway[0][0] <= self._clock.now_ns():
            data += self._underway.popleft()[1]
        self._unread_bytes -= len(data)
        return data

    def _next_ns(self) -> int:
        return min([self.program.due_ns(), *(at_ns for at_ns, _ in self._underway)])

    def _be_open(self) -> None:
        if not self._is_open:
            raise DeviceFault("the port is not open", where=self.path)
        self._be_plugged_in()

    def _be_plugged_in(self) -> None:
        if self.unplugged:
            raise DeviceGone("unplugged", where=self.path, hint="It is a fake: `fake: {unplugged: off}`.")


def fake_line(path: str, clock: Clock, fake: FakeDevice) -> FakeLine:
    """`fake:DEVICE` is `edgeagent/buses/fake/DEVICE.py`. Raises ConfigFault for a name that is none."""
    name = path.removeprefix("fake:")
    if (program := _program_of(name)) is None:
        there = fake_devices()
        raise ConfigFault(
            f"no fake device is called {name!r}",
            expected=f"one of {', '.join(there)}",
            hint=nearest(name, there),
        )
    return FakeLine(path, clock, program(fake), fake)


def fake_devices() -> list[str]:
    """The devices that `fake:DEVICE` may name: the files of buses/fake/ with a `program`."""
    names = [m.name for m in pkgutil.iter_modules(importlib.import_module(_FAKES).__path__)]
    return [name for name in names if _program_of(name)]


def _program_of(device: str) -> Callable[[FakeDevice], Program] | None:
    name = f"{_FAKES}.{device}"
    if not device.isidentifier() or importlib.util.find_spec(name) is None:
        return None
    found: Callable[[FakeDevice], Program] | None = getattr(importlib.import_module(name), "program", None)
    return found
