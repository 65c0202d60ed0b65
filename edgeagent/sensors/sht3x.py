"""SHT30, SHT31, SHT35: temperature and humidity. Sensirion, "Datasheet SHT3x-DIS", version 7."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from typing import Literal, NamedTuple

import msgspec

from edgeagent.buses.crc8 import checked
from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import I2cAddress, I2cBus
from edgeagent.buses.registers import Chip
from edgeagent.config.quantities import Hz
from edgeagent.errors import WrongDevice
from edgeagent.records import Channel, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.polled import Polled, Row, no_faster


class Mode(NamedTuple):
    """A single measurement without clock stretching (table 9), and how long it takes at most (table 4)."""

    command: bytes
    seconds: float


MODES = {
    "high": Mode(b"\x24\x00", 0.0155),
    "medium": Mode(b"\x24\x0b", 0.0065),
    "low": Mode(b"\x24\x16", 0.0045),
}
READ_STATUS = b"\xf3\x2d"
SOFT_RESET = b"\x30\xa2"
RESET_S = 0.0015
CRC_START = 0xFF  # table 20
ATTEMPTS_TO_FETCH = 1  # a measurement can be fetched once


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The address is 0x44, or 0x45 with its pin ADDR high."""

    bus: str
    address: I2cAddress = 0x44
    rate: Hz = 1.0
    repeatability: Literal["low", "medium", "high"] = "high"
    fake: Fake = Fake()


def layout(options: Options) -> Layout:
    """Raises ConfigFault for a rate that leaves no time to measure."""
    how = f" at {options.repeatability} repeatability"
    no_faster("SHT3x", options.rate, MODES[options.repeatability].seconds, how)
    return Layout(options.rate, (Channel("temperature", "degC"), Channel("humidity", "%RH", 100 / 0xFFFF)))


def build(name: str, options: Options, context: Context) -> Sensor:
    bus = context.buses.i2c(options.bus, options.fake)
    return Polled(name, layout(options), context.clock, Sht3x(bus, options))


class Sht3x(Chip):
    """It has commands of two bytes, and no registers. An SHT4x is one with others, of one byte."""

    __slots__ = ("_mode",)

    def __init__(self, bus: I2cBus, options: Options, modes: Mapping[str, Mode] = MODES) -> None:
        super().__init__(bus, options.address)
        self._mode = modes[options.repeatability]

    def start(self) -> float:
        """There is no id to be read with one command, but a status whose checksum is right says enough."""
        answer = self.bus.transfer(self.address, READ_STATUS, 3)
        if math.isnan(checked(answer, CRC_START)):
            raise WrongDevice(
                f"the status came as 0x{answer.hex()}, and the third byte is not its checksum",
                where=self.where,
                expected="an SHT3x",
                hint="Check `address:` and `driver:`; the pin ADDR chooses between 0x44 and 0x45.",
            )
        self.bus.write(self.address, SOFT_RESET)
        return RESET_S

    def measure(self) -> Generator[float, None, Row]:
        self.bus.write(self.address, self._mode.command)
        yield self._mode.seconds
        answer = self.bus.transfer(self.address, b"", 6, attempts=ATTEMPTS_TO_FETCH)
        temperature, humidity = checked(answer[:3], CRC_START), checked(answer[3:], CRC_START)
        values = -45 + 175 * temperature / 0xFFFF, self.percent(humidity / 0xFFFF)  # section 4.13
        bad = math.isnan(temperature) or math.isnan(humidity)
        return Row(values, "the checksum is wrong: noise on the cable" if bad else "")

    @staticmethod
    def percent(part: float) -> float:
        """Relative humidity from a part of the whole range."""
        return 100 * part
