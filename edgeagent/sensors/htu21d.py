"""HTU21D, Si7021, SHT2x: temperature and humidity. Measurement Specialties HPC199, Silicon Labs Si7021-A20.

The three take the same commands and give the same words; of what they differ in, the longest times are waited for.
"""

from __future__ import annotations

import math
from collections.abc import Generator

import msgspec

from edgeagent.buses.crc8 import checked
from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import I2cAddress
from edgeagent.buses.registers import Byte, Chip
from edgeagent.config.quantities import Hz
from edgeagent.errors import WrongDevice
from edgeagent.records import Channel, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.polled import Polled, Row, no_faster

TEMPERATURE, HUMIDITY = b"\xf3", b"\xf5"  # without holding the clock
TEMPERATURE_S, HUMIDITY_S = 0.085, 0.029  # at most, in the SHT21; the HTU21D takes 0.050 and 0.016
WRITE_USER = 0xE6
NOT_FROM_OTP = 0x02  # of the user register: set from power-on
RESOLUTION_AND_HEATER = 0x85  # the same: 0 for 14 bits of temperature, 12 of humidity, and no heating
CRC_START = 0x00
STATUS_BITS = 0x0003  # of a word: what was measured; to be taken for 0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """All of them are at 0x40: two on one bus need a multiplexer."""

    bus: str
    address: I2cAddress = 0x40
    rate: Hz = 1.0
    fake: Fake = Fake()


def layout(options: Options) -> Layout:
    """Raises ConfigFault for a rate that leaves no time to measure."""
    no_faster("HTU21D", options.rate, TEMPERATURE_S + HUMIDITY_S)
    return Layout(options.rate, (Channel("temperature", "degC"), Channel("humidity", "%RH")))


def build(name: str, options: Options, context: Context) -> Sensor:
    bus = context.buses.i2c(options.bus, options.fake)
    return Polled(name, layout(options), context.clock, Htu21d(bus, options.address))


class Htu21d(Chip):
    """It has commands, and one register."""

    __slots__ = ()

    user = Byte(0xE7)

    def start(self) -> float:
        """It has no id, but one bit of its user register is known."""
        found = self.user
        if not found & NOT_FROM_OTP:
            raise WrongDevice(
                f"another chip answers (user register {found:#04x}, bit 1 is 0)",
                where=self.where,
                expected="an HTU21D, Si7021 or SHT2x",
                hint="Check `driver:`; an INA219 and an HDC1080 have the same address.",
            )
        self.bus.write(self.address, bytes((WRITE_USER, found & ~RESOLUTION_AND_HEATER)))
        return 0.0

    def measure(self) -> Generator[float, None, Row]:
        self.bus.write(self.address, TEMPERATURE)
        yield TEMPERATURE_S
        temperature = self._fetch()
        self.bus.write(self.address, HUMIDITY)
        yield HUMIDITY_S
        humidity = self._fetch()
        values = -46.85 + 175.72 * temperature, -6 + 125 * humidity
        bad = any(map(math.isnan, values))
        return Row(values, "the checksum is wrong: noise on the cable" if bad else "")

    def _fetch(self) -> float:
        """What was measured, as a part of the whole range; NaN if its checksum is wrong."""
        word = checked(self.bus.transfer(self.address, b"", 3), CRC_START)
        return math.nan if math.isnan(word) else (int(word) & ~STATUS_BITS) / 0x10000
