"""BMP280: pressure and temperature. Bosch BST-BMP280-DS001-26.

Each reading is a forced measurement: its time is known, and the chip sleeps between. What is computed from the counts
and the chip's own calibration is the datasheet's (section 8.1, floating point).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Generator
from typing import Literal, NamedTuple

import msgspec

from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import I2cAddress, I2cBus
from edgeagent.buses.registers import Byte, Chip, Data
from edgeagent.config.quantities import Hz
from edgeagent.errors import ConfigFault, DeviceFault, WrongDevice
from edgeagent.records import Channel, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.polled import Polled, Row

LOOKS = 10
NOT_MEASURED = 0x80000

KNOWN_CHIPS = {0x56: "a BMP280 (sample)", 0x57: "a BMP280 (sample)", 0x58: "a BMP280"}
KNOWN_CHIPS |= {0x55: "a BMP180", 0x60: "a BME280", 0x61: "a BME680"}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The address is 0x76, or 0x77 with the pin SDO high. `oversampling`: the more, the less noise."""

    bus: str
    address: I2cAddress = 0x76
    rate: Hz = 1.0
    oversampling: Literal[1, 2, 4, 8, 16] = 1
    fake: Fake = Fake()


def layout(options: Options) -> Layout:
    """Raises ConfigFault for a rate that leaves no time to measure."""
    check_rate(options, longest_s(options.oversampling, quantities=2))
    return Layout(options.rate, (Channel("temperature", "degC"), Channel("pressure", "Pa")))


def build(name: str, options: Options, context: Context) -> Sensor:
    bus = context.buses.i2c(options.bus, options.fake)
    return Polled(name, layout(options), context.clock, Bmp280(bus, options))


def longest_s(oversampling: int, quantities: int) -> float:
    """The longest time of a measurement (BST-BME280-DS002, section 9.1; temperature is the first quantity)."""
    return (1.25 + quantities * 2.3 * oversampling + (quantities - 1) * 0.575) / 1000


def check_rate(options: Options, measurement_s: float) -> None:
    if options.rate * measurement_s > 1:
        raise ConfigFault(
            f"oversampling of {options.oversampling} cannot be had {options.rate:g} times a second",
            where="rate",
            expected=f"{1 / measurement_s:.3g} Hz at most, or less oversampling",
        )


class Calibration(NamedTuple):
    """Table 17, as the chip has it from 0x88 on."""

    t1: int
    t2: int
    t3: int
    p1: int
    p2: int
    p3: int
    p4: int
    p5: int
    p6: int
    p7: int
    p8: int
    p9: int

    @classmethod
    def unpack(cls, data: bytes) -> Calibration:
        return cls(*struct.unpack("<HhhHhhhhhhhh", data))

    def fine_temperature(self, counts: int) -> float:
        """t_fine, of which 5120 are a degree."""
        off = counts / 16384 - self.t1 / 1024
        return off * self.t2 + (off / 8) ** 2 * self.t3

    def pascals(self, counts: int, t_fine: float) -> float:
        t = t_fine / 2 - 64000
        offset = t * t * self.p6 / 32768 + t * self.p5 * 2
        offset = offset / 4 + self.p4 * 65536
        scale = (1 + (self.p3 * t * t / 524288 + self.p2 * t) / 524288 / 32768) * self.p1
        if scale == 0:
            return math.nan
        p = (1048576 - counts - offset / 4096) * 6250 / scale
        return p + (self.p9 * p * p / 2147483648 + p * self.p8 / 32768 + self.p7) / 16


class Bmp280(Chip):
    """Section 4."""

    __slots__ = ("_calibration", "_ctrl_meas", "_measurement_s")

    calibration = Data(0x88, 24)
    chip_id = Byte(0xD0)
    status = Byte(0xF3)
    ctrl_meas = Byte(0xF4)  # osrs_t[7:5] osrs_p[4:2] mode[1:0]
    config = Byte(0xF5)
    data = Data(0xF7, 6)

    FORCED = 0x01  # of ctrl_meas
    MEASURING = 0x08  # of status

    IDS: tuple[int, ...] = (0x56, 0x57, 0x58)
    NAME = "a BMP280"
    QUANTITIES = 2

    def __init__(self, bus: I2cBus, options: Options) -> None:
        super().__init__(bus, options.address)
        setting = options.oversampling.bit_length()  # 1, 2, 4, 8, 16 are 1 to 5
        self._ctrl_meas = setting << 5 | setting << 2 | self.FORCED
        self._measurement_s = longest_s(options.oversampling, self.QUANTITIES)

    def start(self) -> float:
        found = self.chip_id
        if found not in self.IDS:
            raise WrongDevice(
                f"{KNOWN_CHIPS.get(found, 'an unknown chip')} answers (id {found:#04x})",
                where=self.where,
                expected=f"{self.NAME} ({self.IDS[-1]:#04x})",
                hint="Check `driver:` and `address:`; many boards sold as BME280 carry a BMP280.",
            )
        self._calibration = Calibration.unpack(self.calibration)
        self.config = 0  # no filter
        return 0.0

    def measure(self) -> Generator[float, None, Row]:
        yield from self._force()
        temperature, pressure, _ = self.compensated(self.data)
        return row(temperature, pressure)

    def compensated(self, data: bytes) -> tuple[float, float, float]:
        """degC, Pa and t_fine of the data registers; NaN what was not measured."""
        pressure, temperature = (int.from_bytes(data[i : i + 3], "big") >> 4 for i in (0, 3))
        if temperature == NOT_MEASURED:  # without it nothing else can be compensated
            return math.nan, math.nan, math.nan
        t_fine = self._calibration.fine_temperature(temperature)
        pascals = math.nan if pressure == NOT_MEASURED else self._calibration.pascals(pressure, t_fine)
        return t_fine / 5120, pascals, t_fine

    def _force(self) -> Generator[float, None, None]:
        """One measurement, and the wait for it."""
        self.ctrl_meas = self._ctrl_meas
        yield self._measurement_s
        for _ in range(LOOKS):
            if not self.status & self.MEASURING:
                return
            yield self._measurement_s / 10
        raise DeviceFault("the measurement does not end", where=self.where, hint="Check the chip's supply.")


def row(*values: float) -> Row:
    """The values, with the reason if one of them is missing."""
    return Row(values, "the chip has not measured it" if any(math.isnan(v) for v in values) else "")
