"""SHT40, SHT41, SHT43, SHT45: temperature and humidity. Sensirion, "Datasheet SHT4x"; its headings are quoted."""

from __future__ import annotations

import math

from edgeagent.buses.crc8 import checked
from edgeagent.buses.i2c import I2cBus
from edgeagent.errors import WrongDevice
from edgeagent.records import Channel, Layout
from edgeagent.sensors import Context, Sensor, sht3x
from edgeagent.sensors.polled import Polled, no_faster
from edgeagent.sensors.sht3x import CRC_START, Mode, Sht3x
from edgeagent.timebase import Clock

# Measurements without heating ("Command Overview"), and how long they take at most ("Timings").
MODES = {
    "high": Mode(b"\xfd", 0.0083),
    "medium": Mode(b"\xf6", 0.0045),
    "low": Mode(b"\xe0", 0.0016),
}
READ_SERIAL_NUMBER = b"\x89"
SERIAL_NUMBER_S = 0.001


class Options(sht3x.Options, frozen=True, kw_only=True):
    """The address is in the part's name: SHT40-AD1B has 0x44, BD1B 0x45, CD1B 0x46. No pin chooses it."""


def layout(options: Options) -> Layout:
    """Raises ConfigFault for a rate that leaves no time to measure."""
    how = f" at {options.repeatability} repeatability"
    no_faster("SHT4x", options.rate, MODES[options.repeatability].seconds, how)
    return Layout(options.rate, (Channel("temperature", "degC"), Channel("humidity", "%RH")))


def build(name: str, options: Options, context: Context) -> Sensor:
    bus = context.buses.i2c(options.bus, options.fake)
    return Polled(name, layout(options), context.clock, Sht4x(bus, options, context.clock))


class Sht4x(Sht3x):
    """It has commands of one byte, and no registers."""

    __slots__ = ("_clock",)

    def __init__(self, bus: I2cBus, options: Options, clock: Clock) -> None:
        super().__init__(bus, options, MODES)
        self._clock = clock

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

    @staticmethod
    def percent(part: float) -> float:
        """Of relative humidity. The ends of the scale lie beyond what there is, and may be cropped."""
        return min(max(-6 + 125 * part, 0.0), 100.0)  # "Conversion of Signal Output"
