"""BME280: a BMP280 (sensors/bmp280.py) with humidity. Bosch BST-BME280-DS002-15."""

from __future__ import annotations

import math
import struct
from collections.abc import Generator
from typing import NamedTuple

from edgeagent.buses.i2c import I2cBus
from edgeagent.buses.registers import Byte, Data
from edgeagent.records import Channel, Layout
from edgeagent.sensors import Context, Sensor, bmp280
from edgeagent.sensors.polled import Polled, Row

HUMIDITY_NOT_MEASURED = 0x8000

Options = bmp280.Options


def layout(options: bmp280.Options) -> Layout:
    """Raises ConfigFault for a rate that leaves no time to measure."""
    bmp280.check_rate(options, bmp280.longest_s(options.oversampling, quantities=3))
    pressure = Channel("pressure", "Pa")
    return Layout(options.rate, (Channel("temperature", "degC"), pressure, Channel("humidity", "%RH")))


def build(name: str, options: bmp280.Options, context: Context) -> Sensor:
    bus = context.buses.i2c(options.bus, options.fake)
    return Polled(name, layout(options), context.clock, Bme280(bus, options))


class HumidityCalibration(NamedTuple):
    """Table 16, the last six."""

    h1: int
    h2: int
    h3: int
    h4: int
    h5: int
    h6: int

    @classmethod
    def unpack(cls, h1: int, data: bytes) -> HumidityCalibration:
        """`data` is 0xE1 to 0xE7: h4 and h5 have 12 bits each and share 0xE5."""
        h2, h3, h4_high, shared, h5_high, h6 = struct.unpack("<hBbBbb", data)
        return cls(h1, h2, h3, h4_high << 4 | shared & 0x0F, h5_high << 4 | shared >> 4, h6)

    def percent(self, counts: int, t_fine: float) -> float:
        """Section 4.2.3 (floating point), from 0 to 100."""
        t = t_fine - 76800
        h = counts - (self.h4 * 64 + self.h5 / 16384 * t)
        h *= self.h2 / 65536 * (1 + self.h6 / 67108864 * t * (1 + self.h3 / 67108864 * t))
        h *= 1 - self.h1 * h / 524288
        return min(max(h, 0.0), 100.0)


class Bme280(bmp280.Bmp280):
    """Section 5."""

    __slots__ = ("_ctrl_hum", "_humidity_calibration")

    h1 = Byte(0xA1)
    humidity_calibration = Data(0xE1, 7)
    ctrl_hum = Byte(0xF2)  # osrs_h[2:0]; takes effect when ctrl_meas is written
    data = Data(0xF7, 8)

    IDS = (0x60,)
    NAME = "a BME280"
    QUANTITIES = 3

    def __init__(self, bus: I2cBus, options: bmp280.Options) -> None:
        super().__init__(bus, options)
        self._ctrl_hum = options.oversampling.bit_length()

    def start(self) -> float:
        first_s = super().start()
        self._humidity_calibration = HumidityCalibration.unpack(self.h1, self.humidity_calibration)
        return first_s

    def measure(self) -> Generator[float, None, Row]:
        self.ctrl_hum = (
            self._ctrl_hum
        )  # each time: a chip that was without power for a moment has forgotten it
        yield from self._force()
        data = self.data
        temperature, pressure, t_fine = self.compensated(data)
        counts = int.from_bytes(data[6:], "big")
        percent = self._humidity_calibration.percent(counts, t_fine)
        return bmp280.row(temperature, pressure, math.nan if counts == HUMIDITY_NOT_MEASURED else percent)
