"""INA219: voltage, current and power of a supply, by a shunt. Texas Instruments SBOS448G.

Each reading is triggered, so that voltage and current are of one conversion, and stay until the next. Current and
power are computed here from the two voltages: the chip's own registers for them only lose digits.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Literal

import msgspec

from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import I2cAddress, I2cBus
from edgeagent.buses.registers import Chip, ControlWord, SignedWord, Word
from edgeagent.config.quantities import Hz, Ohms
from edgeagent.errors import ConfigFault, DeviceFault, WrongDevice
from edgeagent.records import Channel, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.polled import Polled, Row

SHUNT_VOLTS = 10e-6  # a count, in every range
BUS_VOLTS = 4e-3
CONVERSION_S = 586e-6  # of one voltage at 12 bits, at most
LOOKS = 20

RANGES = {"40 mV": 0, "80 mV": 1, "160 mV": 2, "320 mV": 3}  # PG


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`shunt` is the resistor's value (R100 on most boards), `range` the most that can fall off over it."""

    bus: str
    address: I2cAddress = 0x40
    rate: Hz = 1.0
    shunt: Ohms = 0.1
    range: Literal["40 mV", "80 mV", "160 mV", "320 mV"] = "320 mV"
    average: Literal[1, 2, 4, 8, 16, 32, 64, 128] = 1
    fake: Fake = Fake()


def layout(options: Options) -> Layout:
    """Raises ConfigFault for a shunt that cannot be, or a rate that the averaging leaves no time for."""
    if options.shunt == 0:
        raise ConfigFault("a shunt of no resistance", where="shunt", expected="its value, such as 100 mOhm")
    most_hz = 1 / (2 * CONVERSION_S * options.average)
    if options.rate > most_hz:
        raise ConfigFault(
            f"an average of {options.average} cannot be had {options.rate:g} times a second",
            where="rate",
            expected=f"{most_hz:.3g} Hz at most, or a smaller average",
        )
    current = Channel("current", "A", SHUNT_VOLTS / options.shunt)
    return Layout(options.rate, (Channel("voltage", "V", BUS_VOLTS), current, Channel("power", "W")))


def build(name: str, options: Options, context: Context) -> Sensor:
    bus = context.buses.i2c(options.bus, options.fake)
    return Polled(name, layout(options), context.clock, Ina219(bus, options))


class Ina219(Chip):
    """Section 8.6."""

    __slots__ = ("_conversion_s", "_limit", "_ohms", "_trigger")

    configuration = ControlWord(0x00)
    shunt_voltage = SignedWord(0x01)
    bus_voltage = Word(0x02)  # counts in bits 15 to 3

    RESET = 0x8000  # of the configuration
    AFTER_RESET = 0x399F
    BUS_32_V = 0x2000
    SHUNT_AND_BUS_TRIGGERED = 0x0003
    CONVERSION_READY = 0x0002  # of the bus voltage

    def __init__(self, bus: I2cBus, options: Options) -> None:
        super().__init__(bus, options.address)
        self._ohms = options.shunt
        gain, averaging = RANGES[options.range], 0b1000 | int(math.log2(options.average))
        self._trigger = self.BUS_32_V | gain << 11 | averaging << 7 | averaging << 3
        self._trigger |= self.SHUNT_AND_BUS_TRIGGERED
        self._limit = 4000 << gain
        self._conversion_s = 2 * CONVERSION_S * options.average

    def start(self) -> float:
        self.configuration = self.RESET
        found = self.configuration
        if found != self.AFTER_RESET:
            raise WrongDevice(
                f"the configuration register says {found:#06x} after a reset",
                where=self.where,
                expected=f"an INA219 ({self.AFTER_RESET:#06x})",
                hint="Check `address:` and `driver:`; the pins A0 and A1 choose from 0x40 to 0x4F.",
            )
        return 0.0

    def measure(self) -> Generator[float, None, Row]:
        self.configuration = self._trigger
        yield self._conversion_s
        volts = yield from self._bus_volts()
        counts = self.shunt_voltage
        if abs(counts) >= self._limit:
            return Row((volts, math.nan, math.nan), "the current is beyond the range of the shunt")
        amperes = counts * SHUNT_VOLTS / self._ohms
        return Row((volts, amperes, volts * amperes))

    def _bus_volts(self) -> Generator[float, None, float]:
        for _ in range(LOOKS):
            register = self.bus_voltage
            if register & self.CONVERSION_READY:
                return (register >> 3) * BUS_VOLTS
            yield self._conversion_s / 10
        raise DeviceFault(
            "the conversion does not end", where=self.where, hint="Check the supply of the chip itself."
        )
