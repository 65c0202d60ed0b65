"""ADXL345: accelerometer on I2C, read in bursts from its FIFO. Analog Devices, revision E.

The FIFO holds 32 samples, and each is one transaction of six bytes: a seventh would be of the next sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np

from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import I2cBus
from edgeagent.buses.registers import Byte, Chip
from edgeagent.config.quantities import Hz
from edgeagent.errors import ConfigFault, DeviceFault, WrongDevice
from edgeagent.records import Block, Channel, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.bursts import Bursts
from edgeagent.timebase import Clock

STANDARD_GRAVITY = 9.80665
METERS_PER_S2 = STANDARD_GRAVITY / 256  # a count; in full resolution the same in every range
DEVICE_ID = 0xE5
FIFO_SAMPLES = 32
RATES_HZ = {6.25: 6, 12.5: 7, 25.0: 8, 50.0: 9, 100.0: 10, 200.0: 11, 400.0: 12, 800.0: 13}  # table 7


class Registers(Chip):
    """Tables 19 to 21, as far as they are used."""

    __slots__ = ()

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


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`range` in g. The address is 0x53, or 0x1D with the pin SDO high."""

    bus: str
    address: int = 0x53
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
    return Adxl345(name, options, context.buses.i2c(options.bus, options.fake), context.clock)


class Adxl345:
    """One chip. Samples lost (FIFO overrun, broken burst, time closed) are told by the next block's `lost`."""

    wake: Callable[[], None] | None = None
    truth: Callable[[int, int], str | None] | None = None

    def __init__(self, name: str, options: Options, bus: I2cBus, clock: Clock) -> None:
        self.port = bus.name
        self.layout: Layout | None = layout(options)
        self._options, self._clock = options, clock
        self._chip = Registers(bus, options.address)
        self._bursts = Bursts(name, options.rate, FIFO_SAMPLES)
        self._is_open = False
        self._overruns = self._broken_bursts = 0

    def open(self) -> None:
        """Identify, configure, start the FIFO. Raises DeviceFault."""
        chip, options = self._chip, self._options
        found = chip.device_id
        if found != DEVICE_ID:
            raise WrongDevice(
                f"another chip answers (DEVID {found:#04x})",
                where=chip.where,
                expected=f"an ADXL345 ({DEVICE_ID:#04x})",
                hint="Check `address:` and `driver:`; the pin SDO chooses between 0x53 and 0x1D.",
            )
        chip.power_control = 0
        chip.rate = RATES_HZ[options.rate]
        chip.data_format = Registers.FULL_RESOLUTION | (2, 4, 8, 16).index(options.range)
        chip.power_control = Registers.MEASURE
        self._restart_fifo()
        self._is_open = True

    def due_ns(self) -> int:
        return self._bursts.due_ns()

    def read(self) -> Block | None:
        """All samples of the FIFO. Raises DeviceFault."""
        if not self._is_open:
            raise DeviceFault("the sensor is not open", where=self._chip.where)
        before_ns = self._clock.now_ns()
        samples = self._chip.fifo_status & 0x3F
        counted_ns = self._clock.now_ns()
        if samples >= FIFO_SAMPLES:  # full: nobody knows how many were pushed out
            self._overruns += 1
            self._restart_fifo()
            return None
        if samples == 0:
            self._bursts.nothing(counted_ns, self._chip.where)
            return None
        data = self._burst(samples)
        if data is None:
            return None
        counts = np.frombuffer(data, dtype="<i2").reshape(samples, 3)
        values = (counts * METERS_PER_S2).astype(np.float32)
        return self._bursts.block(values, before_ns, counted_ns, self._clock.now_ns())

    def close(self) -> None:
        self._is_open = False
        self._chip.close()

    def counters(self) -> dict[str, int | float]:
        return {
            "fifo_overruns": self._overruns,
            "broken_bursts": self._broken_bursts,
            **self._chip.counters(),
            "true_rate_hz": self._bursts.true_rate_hz,
        }

    def _burst(self, samples: int) -> bytes | None:
        """The oldest samples; None if the bus failed half way: nobody knows which one it took then."""
        bus, address = self._chip.bus, self._chip.address
        try:
            return b"".join(bus.read(address, Registers.DATAX0, 6, attempts=1) for _ in range(samples))
        except DeviceFault:
            self._broken_bursts += 1
            self._restart_fifo()  # raises if the bus is down for good
            return None

    def _restart_fifo(self) -> None:
        self._chip.fifo_control = Registers.BYPASS
        self._chip.fifo_control = Registers.STREAM
        self._bursts.restart(self._clock.now_ns())
