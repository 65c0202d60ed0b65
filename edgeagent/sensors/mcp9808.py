"""MCP9808: temperature to a quarter of a degree. Microchip DS25095A."""

from __future__ import annotations

import msgspec

from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import I2cAddress
from edgeagent.buses.registers import Byte, Chip, Word
from edgeagent.config.quantities import Hz
from edgeagent.errors import WrongDevice
from edgeagent.records import Channel, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.polled import Polled, Row, no_faster

DEGREES_PER_COUNT = 0.0625
CONVERSION_S = 0.25  # at that resolution (section 5.2.4)
MANUFACTURER, DEVICE = 0x0054, 0x04  # Microchip, MCP9808


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses are 0x18 to 0x1F, by the pins A0 to A2."""

    bus: str
    address: I2cAddress = 0x18
    rate: Hz = 1.0
    fake: Fake = Fake()


def layout(options: Options) -> Layout:
    """Raises ConfigFault for a rate at which the chip has nothing new to say."""
    no_faster("MCP9808", options.rate, CONVERSION_S)
    return Layout(options.rate, (Channel("temperature", "degC", DEGREES_PER_COUNT),))


def build(name: str, options: Options, context: Context) -> Sensor:
    bus = context.buses.i2c(options.bus, options.fake)
    return Polled(name, layout(options), context.clock, Mcp9808(bus, options.address))


class Mcp9808(Chip):
    """Section 5.1."""

    __slots__ = ()

    ambient = Word(0x05)  # three alert flags, a sign, and 12 bits
    manufacturer_id = Word(0x06)
    device_id = Word(0x07)  # the device, and its revision
    resolution = Byte(0x08)

    SIXTEENTH_OF_A_DEGREE = 0x03  # of resolution

    def start(self) -> float:
        found = self.manufacturer_id, self.device_id >> 8
        if found != (MANUFACTURER, DEVICE):
            raise WrongDevice(
                f"manufacturer {found[0]:#06x}, device {found[1]:#04x} answers",
                where=self.where,
                expected=f"an MCP9808 ({MANUFACTURER:#06x}, {DEVICE:#04x})",
                hint="Check `address:` and `driver:`; the pins A0 to A2 choose from 0x18 to 0x1F.",
            )
        self.resolution = self.SIXTEENTH_OF_A_DEGREE
        return CONVERSION_S

    def measure(self) -> Row:
        counts = self.ambient & 0x1FFF
        if counts & 0x1000:  # two's complement of 13 bits
            counts -= 0x2000
        return Row((counts * DEGREES_PER_COUNT,))
