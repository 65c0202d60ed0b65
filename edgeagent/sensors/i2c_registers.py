"""A chip that has no driver, described in YAML: what to write once, and which registers mean what.

value = number x scale + offset. Registers that lie side by side are read in one transaction: all of one instant.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Literal, NamedTuple

import msgspec

from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import I2cAddress, I2cBus
from edgeagent.buses.registers import Chip
from edgeagent.config.quantities import Between, Hz, Seconds, Switch
from edgeagent.errors import ConfigFault, WrongDevice
from edgeagent.records import Channel, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.polled import Polled, Row

MOST_BYTES_A_READ = 32  # what any chip and any adapter can do

Number = Literal["uint8", "int8", "uint16", "int16", "uint24", "int24", "uint32", "int32", "float32"]
ByteOrder = Literal["big", "little"]
RegisterNumber = Annotated[int, Between(0, 255)]


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """A register and what is written there."""

    register: RegisterNumber
    value: int
    type: Number = "uint8"
    endianness: ByteOrder = "big"

    def __post_init__(self) -> None:
        try:
            self.message()
        except OverflowError:
            raise ConfigFault(
                f"{self.value:#x} is too great for {self.type}",
                where="value",
                expected="another type: uint16 ...",
            ) from None

    def message(self) -> bytes:
        """The bytes on the wire."""
        signed = self.type.startswith("int")
        data = self.value.to_bytes(size_of(self.type), self.endianness, signed=signed)
        return bytes((self.register, *data))


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A register that always says the same on this chip."""

    register: RegisterNumber
    value: int


class Register(msgspec.Struct, frozen=True, kw_only=True):
    """`bits: 15-4` are the only ones that count; the highest of them is the sign, if the type has one."""

    register: RegisterNumber
    unit: str
    type: Number = "uint8"
    endianness: ByteOrder = "big"
    bits: str | None = None
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        high, low = self.field
        if not 0 <= low <= high < 8 * self.size or (self.bits is not None and self.type == "float32"):
            raise ConfigFault(
                f"{self.type} has no such bits",
                where="bits",
                expected=f"the highest and the lowest of {8 * self.size - 1}-0, such as 15-4",
            )

    @property
    def size(self) -> int:
        return size_of(self.type)

    @property
    def field(self) -> tuple[int, int]:
        """The highest and the lowest bit; (-1, 0) if `bits` cannot be read."""
        if self.bits is None:
            return 8 * self.size - 1, 0
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", self.bits)
        return (int(found[1]), int(found[2] or found[1])) if found else (-1, 0)

    def value(self, data: bytes) -> float:
        """What the register's bytes mean."""
        if self.type == "float32":
            number: float = struct.unpack(">f" if self.endianness == "big" else "<f", data)[0]
        else:
            high, low = self.field
            width = high - low + 1
            number = int.from_bytes(data, self.endianness) >> low & (1 << width) - 1
            if self.type.startswith("int") and number >> width - 1:
                number -= 1 << width
        return number * self.scale + self.offset

    @property
    def lsb(self) -> float | None:
        return None if self.offset or self.type == "float32" else abs(self.scale)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`settle`: how long after the writes of `init` the first reading is there.

    `auto_increment: off` for a chip whose register number does not count up, byte by byte, while it is read.
    """

    bus: str
    address: I2cAddress
    registers: dict[str, Register]
    rate: Hz = 1.0
    init: list[Write] = []
    id: Identity | None = None
    settle: Seconds = 0.0
    auto_increment: Switch = True
    fake: Fake = Fake()


@cache
def size_of(number: Number) -> int:
    """Bytes of `uint24`."""
    return int(re.sub(r"\D", "", number)) // 8


def layout(options: Options) -> Layout:
    """Raises ConfigFault for no registers, or some that lie over one another."""
    if not options.registers:
        raise ConfigFault(
            "no registers", where="registers", expected="temperature: {register: 0x00, unit: degC}"
        )
    list(blocks(options))
    channels = (Channel(name, r.unit, r.lsb) for name, r in options.registers.items())
    return Layout(options.rate, tuple(channels))


def build(name: str, options: Options, context: Context) -> Sensor:
    bus = context.buses.i2c(options.bus, options.fake)
    return Polled(name, layout(options), context.clock, DescribedChip(bus, options))


class Block(NamedTuple):
    """Registers that are read together."""

    first: int
    registers: dict[str, Register]

    @property
    def end(self) -> int:
        """The number after the last."""
        return max(r.register + r.size for r in self.registers.values())

    def takes(self, register: Register, *, auto_increment: bool) -> bool:
        """Whether the register can be read with these: it is one of them, or begins where they end."""
        if any((r.register, r.size) == (register.register, register.size) for r in self.registers.values()):
            return True
        short = register.register + register.size - self.first <= MOST_BYTES_A_READ
        return auto_increment and register.register == self.end and short


def blocks(options: Options) -> Iterator[Block]:
    """The reads, in the order of the registers' numbers. Raises ConfigFault for one that overlaps the next."""
    block: Block | None = None
    for name, register in sorted(options.registers.items(), key=lambda item: item[1].register):
        if block is not None and block.takes(register, auto_increment=options.auto_increment):
            block.registers[name] = register
            continue
        if block is not None:
            yield block
            if options.auto_increment and register.register < block.end:
                raise ConfigFault(
                    f"{name} begins within the register before it",
                    where="registers",
                    expected="registers that do not overlap",
                    hint="If each number is a register of several bytes, write auto_increment: off.",
                )
        block = Block(register.register, {name: register})
    if block is not None:
        yield block


def _places(block: Block) -> Iterator[tuple[str, slice, Register]]:
    """Where in a block's bytes each of its registers lies."""
    for name, register in block.registers.items():
        at = register.register - block.first
        yield name, slice(at, at + register.size), register


class DescribedChip(Chip):
    """The chip that the YAML describes."""

    __slots__ = ("_id", "_init", "_names", "_reads", "_settle_s")

    def __init__(self, bus: I2cBus, options: Options) -> None:
        super().__init__(bus, options.address)
        self._id, self._init, self._settle_s = options.id, options.init, options.settle
        self._names = list(options.registers)
        self._reads = [(b.first, b.end - b.first, list(_places(b))) for b in blocks(options)]

    def start(self) -> float:
        if self._id is not None:
            self._identify(self._id)
        for write in self._init:
            self.bus.write(self.address, write.message())
        return self._settle_s

    def measure(self) -> Row:
        found: dict[str, float] = {}
        for first, n, places in self._reads:
            data = self.bus.read(self.address, first, n)
            for name, place, register in places:
                found[name] = register.value(data[place])
        values = tuple(found[name] if math.isfinite(found[name]) else math.nan for name in self._names)
        return Row(values, "not a finite number" if any(map(math.isnan, values)) else "")

    def _identify(self, wanted: Identity) -> None:
        found = self.bus.read(self.address, wanted.register, 1)[0]
        if found != wanted.value:
            raise WrongDevice(
                f"register {wanted.register:#04x} says {found:#04x}",
                where=self.where,
                expected=f"{wanted.value:#04x}",
                hint="Check `address:` and `id:`; another driver: may fit the chip.",
            )
