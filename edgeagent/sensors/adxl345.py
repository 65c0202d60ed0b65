"""ADXL345: accelerometer on I2C, read in bursts from its FIFO. Analog Devices, revision E.

The FIFO holds 32 samples, and each is one transaction of six bytes: a seventh would be of the next sample.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import numpy as np

from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import I2cAddress, I2cBus
from edgeagent.buses.registers import Byte, Chip
from edgeagent.config.quantities import Hz
from edgeagent.errors import ConfigFault, WrongDevice
from edgeagent.records import Channel, Float32Array, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.bursts import FromFifo

STANDARD_GRAVITY = 9.80665
METERS_PER_S2 = STANDARD_GRAVITY / 256  # a count; in full resolution the same in every range
DEVICE_ID = 0xE5
FIFO_SAMPLES = 32
RATES_HZ = {6.25: 6, 12.5: 7, 25.0: 8, 50.0: 9, 100.0: 10, 200.0: 11, 400.0: 12, 800.0: 13}  # table 7


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`range` in g. The address is 0x53, or 0x1D with the pin SDO high."""

    bus: str
    address: I2cAddress = 0x53
    rate: Hz = 100.0
    range: Literal[2, 4, 8, 16] = 16
    fake: Fake = Fake()


def layout(options: Options) -> Layout:
    """Three channels in m/s2. Raises ConfigFault for a rate that the chip does not have."""
    if options.rate not in RATES_HZ:
        near = sorted(RATES_HZ, key=lambda hz: abs(math.log(hz / options.rate)))[:2]
        raise ConfigFault(
            f"the ADXL345 cannot sample at {options.rate:g} Hz",
            where="rate",
            expected=" or ".join(f"{hz:g} Hz" for hz in sorted(near)),
        )
    return Layout(options.rate, tuple(Channel(f"acc_{axis}", "m/s2", METERS_PER_S2) for axis in "xyz"))


def build(name: str, options: Options, context: Context) -> Sensor:
    bus = context.buses.i2c(options.bus, options.fake)
    return FromFifo(name, layout(options), context.clock, Adxl345(bus, options), FIFO_SAMPLES)


class Adxl345(Chip):
    """Tables 19 to 21, as far as they are used."""

    __slots__ = ("_options",)

    device_id = Byte(0x00)  # DEVID
    rate = Byte(0x2C)  # BW_RATE
    power_control = Byte(0x2D)  # POWER_CTL
    data_format = Byte(0x31)  # DATA_FORMAT
    fifo_control = Byte(0x38)  # FIFO_CTL
    fifo_status = Byte(0x39)  # FIFO_STATUS: entries in bits 5 to 0

    DATAX0 = 0x32  # six bytes, low byte first
    MEASURE = 0x08  # of POWER_CTL
    FULL_RESOLUTION = 0x08  # of DATA_FORMAT
    BYPASS, STREAM = 0x00, 0x80  # of FIFO_CTL: empty it; keep the newest

    def __init__(self, bus: I2cBus, options: Options) -> None:
        super().__init__(bus, options.address)
        self._options = options

    def start(self) -> None:
        found, options = self.device_id, self._options
        if found != DEVICE_ID:
            raise WrongDevice(
                f"another chip answers (DEVID {found:#04x})",
                where=self.where,
                expected=f"an ADXL345 ({DEVICE_ID:#04x})",
                hint="Check `address:` and `driver:`; the pin SDO chooses between 0x53 and 0x1D.",
            )
        self.power_control = 0
        self.rate = RATES_HZ[options.rate]
        self.data_format = self.FULL_RESOLUTION | (2, 4, 8, 16).index(options.range)
        self.power_control = self.MEASURE

    def empty(self) -> None:
        self.fifo_control = self.BYPASS
        self.fifo_control = self.STREAM

    def waiting(self) -> int | None:
        samples = self.fifo_status & 0x3F
        return None if samples >= FIFO_SAMPLES else samples

    def take(self, samples: int) -> Float32Array:
        data = b"".join(self.bus.read(self.address, self.DATAX0, 6, attempts=1) for _ in range(samples))
        return (np.frombuffer(data, dtype="<i2").reshape(samples, 3) * METERS_PER_S2).astype(np.float32)
