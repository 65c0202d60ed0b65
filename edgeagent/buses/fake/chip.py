"""What all fake chips share: an address, faults, and registers behind a pointer."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Mapping
from random import Random
from typing import ClassVar

from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import Adapter
from edgeagent.errors import ConfigFault
from edgeagent.timebase import Clock

STRETCH_LIMIT_S = 1.0  # after which the kernel gives a transfer up
WAVE_CONVERSIONS = 50


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class FakeChip:
    """One chip on a bus of its own: `Adapter` of buses/i2c.py. Its faults may be set at any time.

    A chip says below what it is, and overrides `receive` and `answer`. Time passes for it by its clock alone.
    """

    ADDRESSES: ClassVar[tuple[int, ...]]
    ID: ClassVar[int | None] = None
    """What its id register says; None if it has none."""

    REST: ClassVar[tuple[int, ...]] = ()
    SWING: ClassVar[tuple[int, ...]] = ()
    """What it converts if nothing else is said: counts at rest, and how far each swings."""

    def __init__(self, clock: Clock, fake: Fake) -> None:
        if fake.wrong_id is not None and self.ID is None:
            raise ConfigFault(f"a {type(self).__name__} has no id that could be wrong", where="wrong_id")
        if any(len(row) != len(self.REST) for row in fake.raw):
            raise ConfigFault(
                "a row of another length", where="raw", expected=f"{len(self.REST)} counts a row"
            )
        self.clock = clock
        self.nak, self.stuck, self.slow_s, self.noise = fake.nak, fake.stuck, fake.slow, fake.noise
        self.stuck_value = fake.stuck_value
        self.addresses = self.ADDRESSES if fake.address is None else (fake.address,)
        self.id = self.ID if fake.wrong_id is None else fake.wrong_id
        self._rows = fake.raw or tuple(self._wave(k) for k in range(WAVE_CONVERSIONS))
        self._frozen: tuple[int, ...] | None = None
        self._random = Random(1)  # noqa: S311 - noise, the same in every run

    def transfer(self, address: int, out: bytes, n: int) -> bytes:
        self._suffer(address)
        if out:
            self.receive(out)
        return self._noisy(self.answer(n)) if n else b""

    def close(self) -> None:
        """The bus was let go; the chip stays as it is."""

    def receive(self, data: bytes) -> None:
        """Bytes written to its address."""
        raise NotImplementedError

    def answer(self, n: int) -> bytes:
        """`n` bytes read from its address."""
        raise NotImplementedError

    def converted(self, k: int) -> tuple[int, ...]:
        """The counts of conversion number `k`."""
        row = self._rows[k % len(self._rows)]
        self._frozen = (self._frozen or row) if self.stuck_value else None
        return self._frozen or row

    def _wave(self, k: int) -> tuple[int, ...]:
        part = math.sin(2 * math.pi * k / WAVE_CONVERSIONS)
        return tuple(round(rest + swing * part) for rest, swing in zip(self.REST, self.SWING, strict=True))

    def _suffer(self, address: int) -> None:
        if self.stuck:
            raise os_error(errno.EBUSY)
        if address not in self.addresses or self.nak > 0:
            self.nak = max(self.nak - 1, 0)
            raise os_error(errno.EREMOTEIO)
        if self.slow_s:
            self.clock.sleep_s(min(self.slow_s, STRETCH_LIMIT_S))
        if self.slow_s > STRETCH_LIMIT_S:
            raise os_error(errno.ETIMEDOUT)

    def _noisy(self, answer: bytes) -> bytes:
        if self.noise <= 0:
            return answer
        self.noise -= 1
        return bytes(byte ^ self._random.randrange(256) for byte in answer)


class ByteRegisters(FakeChip):
    """A chip of 256 byte registers: the first byte written is the pointer, which counts up with each byte."""

    def __init__(self, clock: Clock, fake: Fake) -> None:
        super().__init__(clock, fake)
        self.registers = bytearray(256)
        self.pointer = 0

    def receive(self, data: bytes) -> None:
        self.pointer = data[0]
        for value in data[1:]:
            self.written(self.pointer, value)
            self.pointer = (self.pointer + 1) % 256

    def answer(self, n: int) -> bytes:
        self.refresh()
        there = bytes(self.registers) * (1 + (self.pointer + n) // 256)
        start, self.pointer = self.pointer, (self.pointer + n) % 256
        return there[start : start + n]

    def written(self, register: int, value: int) -> None:
        """A byte has arrived."""
        self.registers[register] = value

    def refresh(self) -> None:
        """Bring the registers up to this moment: a read begins."""


class WordRegisters(FakeChip):
    """A chip of 16-bit registers, high byte first, behind a pointer that stays where it is."""

    def __init__(self, clock: Clock, fake: Fake) -> None:
        super().__init__(clock, fake)
        self.words: dict[int, int] = {}
        self.pointer = 0

    def receive(self, data: bytes) -> None:
        self.pointer = data[0]
        if len(data) >= 3:
            self.written(self.pointer, int.from_bytes(data[1:3], "big"))

    def answer(self, n: int) -> bytes:
        self.refresh()
        word = self.words.get(self.pointer, 0).to_bytes(2, "big")
        return (word * (n // 2 + 1))[:n]

    def written(self, register: int, value: int) -> None:
        """A word has arrived."""
        self.words[register] = value

    def refresh(self) -> None:
        """Bring the registers up to this moment: a read begins."""


class FakeWires:
    """Several chips on one pair of wires, by their addresses."""

    def __init__(self, chips: Mapping[int, Adapter]) -> None:
        self.chips = dict(chips)

    def transfer(self, address: int, out: bytes, n: int) -> bytes:
        if address not in self.chips:
            raise os_error(errno.EREMOTEIO)
        return self.chips[address].transfer(address, out, n)

    def close(self) -> None:
        for chip in self.chips.values():
            chip.close()
