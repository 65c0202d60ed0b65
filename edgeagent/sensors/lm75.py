"""LM75 and its many successors: a temperature in one register, left-justified in 16 bits, 1/256 degC a count.

LM75: National Semiconductor DS012658, sections 1.4 and 1.6. The family's other files say what they do differently.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import I2cAddress, I2cBus
from edgeagent.buses.registers import Chip, SignedWord
from edgeagent.config.quantities import Hz
from edgeagent.errors import WrongDevice
from edgeagent.records import Channel, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.polled import Polled, Row, no_faster

DEGREES_PER_COUNT = 1 / 256


class Model(NamedTuple):
    """What tells the chips of this family apart. `settings` is the configuration register for a rate in Hz."""

    name: str
    bits: int
    conversion_s: float
    """At most; it converts again and again by itself."""
    settings: bytes
    """The configuration register; bits that the chip itself changes are those of `status`."""
    status: bytes

    @property
    def degrees_per_step(self) -> float:
        return 256 / (1 << self.bits)


# 9 bits; the register map has no other settings than comparator and shutdown. Conversion 300 ms at most.
LM75 = Model("LM75", bits=9, conversion_s=0.3, settings=b"\x00", status=b"\x00")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses are 0x48 to 0x4F by the pins A0 to A2 (TMP102: 0x48 to 0x4B by what ADD0 is connected to)."""

    bus: str
    address: I2cAddress = 0x48
    rate: Hz = 1.0
    fake: Fake = Fake()


def layout(options: Options, model: Model = LM75) -> Layout:
    """Raises ConfigFault for a rate at which the chip has nothing new to say."""
    no_faster(model.name, options.rate, model.conversion_s)
    return Layout(options.rate, (Channel("temperature", "degC", model.degrees_per_step),))


def build(name: str, options: Options, context: Context, model: Model = LM75) -> Sensor:
    bus = context.buses.i2c(options.bus, options.fake)
    return Polled(name, layout(options, model), context.clock, Lm75(bus, options.address, model))


class Lm75(Chip):
    """The registers of section 1.8, and one reading."""

    __slots__ = ("_model",)

    temperature = SignedWord(0x00)
    CONFIGURATION = 0x01

    def __init__(self, bus: I2cBus, address: int, model: Model) -> None:
        super().__init__(bus, address)
        self._model = model

    def start(self) -> float:
        """Set it up. There is no id register: that the settings stay is all that can be asked."""
        wanted, status = self._model.settings, self._model.status
        self.bus.write(self.address, bytes((self.CONFIGURATION, *wanted)))
        found = self.bus.read(self.address, self.CONFIGURATION, len(wanted))
        if any((f ^ w) & ~own for f, w, own in zip(found, wanted, status, strict=True)):
            raise WrongDevice(
                f"the configuration register says 0x{found.hex()} after 0x{wanted.hex()} was written",
                where=self.where,
                expected=f"a {self._model.name}, which keeps it",
                hint="Check `address:` and `driver:`.",
            )
        return self._model.conversion_s

    def measure(self) -> Row:
        counts = self.temperature & -(1 << (16 - self._model.bits))  # the other bits say nothing
        return Row((counts * DEGREES_PER_COUNT,))
