"""Registers as the class body: a chip's class lists them, and a reader ticks them off against the datasheet.

class Thermometer(Chip):
    __slots__ = ()
    control = Byte(0x01)
    raw = Word(0x05)

chip = Thermometer(bus, 0x48)
chip.control = 0x60        # writes
chip.raw                   # reads
chip.contrl = 0x60         # AttributeError: __slots__ leave no room for a mistyped name
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeagent.buses.i2c import I2cBus


class Byte:
    """An 8-bit register that can be read and written."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __get__(self, chip: Chip, owner: type[Chip]) -> int:
        return chip.bus.read(chip.address, self.number, 1)[0]

    def __set__(self, chip: Chip, value: int) -> None:
        chip.bus.write(chip.address, bytes((self.number, value)))


class Word:
    """A 16-bit unsigned register pair, high byte first, that can be read."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __get__(self, chip: Chip, owner: type[Chip]) -> int:
        return int.from_bytes(chip.bus.read(chip.address, self.number, 2), "big")

    def __set__(self, chip: Chip, value: int) -> None:
        raise AttributeError(f"register {self.number:#04x} is read-only")


class ControlWord(Word):
    """A 16-bit register, high byte first, that can be written too."""

    __slots__ = ()

    def __set__(self, chip: Chip, value: int) -> None:
        chip.bus.write(chip.address, bytes((self.number, *value.to_bytes(2, "big"))))


class SignedWord(Word):
    """A 16-bit register in two's complement, high byte first, that can be read."""

    __slots__ = ()

    def __get__(self, chip: Chip, owner: type[Chip]) -> int:
        return int.from_bytes(chip.bus.read(chip.address, self.number, 2), "big", signed=True)


class Data:
    """`n` registers in a row, read in one transaction: all of one instant."""

    __slots__ = ("n", "number")

    def __init__(self, number: int, n: int) -> None:
        self.number, self.n = number, n

    def __get__(self, chip: Chip, owner: type[Chip]) -> bytes:
        return chip.bus.read(chip.address, self.number, self.n)

    def __set__(self, chip: Chip, value: bytes) -> None:
        raise AttributeError(f"registers from {self.number:#04x} on are read-only")


class Chip:
    """A chip at an address of a bus. Every access to a register is a transfer, and may raise DeviceFault."""

    __slots__ = ("address", "bus")

    def __init__(self, bus: I2cBus, address: int) -> None:
        self.bus, self.address = bus, address

    @property
    def port(self) -> str:
        return self.bus.name

    @property
    def where(self) -> str:
        """Bus and address, as faults name them."""
        return f"{self.bus.name} address {self.address:#04x}"

    def counters(self) -> dict[str, int]:
        """What went wrong at this address so far, by cause."""
        return self.bus.counters(self.address)

    def close(self) -> None:
        """Let go of the bus; the next transfer, of whatever chip, opens it again."""
        self.bus.close()
