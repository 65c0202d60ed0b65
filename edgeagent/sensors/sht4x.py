"""SHT40, SHT41, SHT43, SHT45: temperature and humidity. Sensirion, "Datasheet SHT4x"; its headings are quoted."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Literal, NamedTuple

import msgspec

from edgeagent.buses.crc8 import checked
from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import I2cAddress, I2cBus
from edgeagent.buses.registers import Chip
from edgeagent.config.quantities import Hz
from edgeagent.errors import ConfigFault, WrongDevice
from edgeagent.records import Channel, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.polled import Polled, Row
from edgeagent.timebase import Clock


class Mode(NamedTuple):
    """A measurement without heating ("Command Overview"), and how long it takes at most ("Timings")."""

    command: bytes
    seconds: float


MODES = {
    "high": Mode(b"\xfd", 0.0083),
    "medium": Mode(b"\xf6", 0.0045),
    "low": Mode(b"\xe0", 0.0016),
}
READ_SERIAL_NUMBER = b"\x89"
SERIAL_NUMBER_S = 0.001
CRC_START = 0xFF  # "Checksum Calculation"
ATTEMPTS_TO_FETCH = 1  # a measurement can be fetched once


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The address is in the part's name: SHT40-AD1B has 0x44, BD1B 0x45, CD1B 0x46. No pin chooses it."""

    bus: str
    address: I2cAddress = 0x44
    rate: Hz = 1.0
    repeatability: Literal["low", "medium", "high"] = "high"
    fake: Fake = Fake()


def layout(options: Options) -> Layout:
    """Raises ConfigFault for a rate that leaves no time to measure."""
    most_hz = 1 / MODES[options.repeatability].seconds
    if options.rate > most_hz:
        raise ConfigFault(
            f"the SHT4x cannot measure {options.rate:g} times a second",
            where="rate",
            expected=f"{most_hz:.3g} Hz at most at {options.repeatability} repeatability",
        )
    return Layout(options.rate, (Channel("temperature", "degC"), Channel("humidity", "%RH")))


def build(name: str, options: Options, context: Context) -> Sensor:
    bus = context.buses.i2c(options.bus, options.fake)
    return Polled(name, layout(options), context.clock, Sht4x(bus, options, context.clock))


class Sht4x(Chip):
    """It has commands of one byte, and no registers."""

    __slots__ = ("_clock", "_mode")

    def __init__(self, bus: I2cBus, options: Options, clock: Clock) -> None:
        super().__init__(bus, options.address)
        self._mode, self._clock = MODES[options.repeatability], clock

    def start(self) -> float:
        """A serial number with two right checksums says enough; nothing is set that could be otherwise."""
        self.bus.write(self.address, READ_SERIAL_NUMBER)
        self._clock.sleep_s(SERIAL_NUMBER_S)
        answer = self.bus.transfer(self.address, b"", 6)
        if math.isnan(checked(answer[:3], CRC_START) + checked(answer[3:], CRC_START)):
            raise WrongDevice(
                f"the serial number came as 0x{answer.hex()}, and its checksums are wrong",
                where=self.where,
                expected="an SHT4x",
                hint="Check `driver:` and `address:`; an SHT3x has the same addresses.",
            )
        return 0.0

    def measure(self) -> Generator[float, None, Row]:
        self.bus.write(self.address, self._mode.command)
        yield self._mode.seconds
        answer = self.bus.transfer(self.address, b"", 6, attempts=ATTEMPTS_TO_FETCH)
        temperature, humidity = checked(answer[:3], CRC_START), checked(answer[3:], CRC_START)
        # "Conversion of Signal Output": the ends of the scale lie beyond what there is, and may be cropped.
        values = -45 + 175 * temperature / 0xFFFF, min(max(-6 + 125 * humidity / 0xFFFF, 0.0), 100.0)
        bad = math.isnan(temperature) or math.isnan(humidity)
        return Row(values, "the checksum is wrong: noise on the cable" if bad else "")
