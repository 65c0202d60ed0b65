"""MPU-6050: accelerometer and gyroscope on I2C, read in bursts from its FIFO.

Register numbers and bits: InvenSense RM-MPU-6000A-00, revision 4.2. The chip samples by its own clock into 1024
bytes; a burst is one read of the count and one of whole samples, so a late reader loses nothing for 85 samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import I2cAddress, I2cBus
from edgeagent.buses.registers import Byte, Chip, Word
from edgeagent.config.quantities import Hz
from edgeagent.errors import ConfigFault, WrongDevice
from edgeagent.records import NS_PER_S, Channel, Float32Array, Layout
from edgeagent.sensors import Advice, Context, Sensor
from edgeagent.sensors.bursts import FromFifo, burst_ns
from edgeagent.timebase import Clock

STANDARD_GRAVITY = 9.80665
SAMPLE_BYTES = 12

FILTERED_HZ = 1000.0  # the rate before the divider, with the low-pass filter on
MAX_DIVISOR = 256
RATE_TOLERANCE = 1e-3

DEFAULT_BUS_HZ = 100_000
BITS_PER_BYTE = 9  # with the acknowledge
BURST_OVERHEAD_BYTES = 8  # two addresses and a register, twice, and the count


class Model(NamedTuple):
    """What tells the chips of this family apart."""

    name: str
    who_am_i: int
    fifo_bytes: int
    filters_apart: bool
    """The accelerometer has a low-pass filter of its own, with the bandwidths of the gyroscope's."""

    @property
    def fifo_samples(self) -> int:
        return self.fifo_bytes // SAMPLE_BYTES


MPU6050 = Model("MPU-6050", 0x68, 1024, filters_apart=False)
KNOWN_CHIPS = {
    0x12: "an ICM-20602",
    0x68: "an MPU-6050",
    0x70: "an MPU-6500",
    0x71: "an MPU-9250",
    0x73: "an MPU-9255",
    0x98: "an ICM-20689",
    0xAF: "an ICM-20608",
}
COUNTS_PER_G = {2: 16384, 4: 8192, 8: 4096, 16: 2048}  # in the order of AFS_SEL
COUNTS_PER_DPS = {250: 131.0, 500: 65.5, 1000: 32.8, 2000: 16.4}  # in the order of FS_SEL
FILTER_HZ = {1: 184, 2: 94, 3: 44, 4: 21, 5: 10, 6: 5}  # bandwidth by DLPF_CFG


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`accel_range` in g, `gyro_range` in degrees a second."""

    bus: str
    address: I2cAddress = 0x68
    rate: Hz = 50.0
    accel_range: Literal[2, 4, 8, 16] = 8
    gyro_range: Literal[250, 500, 1000, 2000] = 2000
    fake: Fake = Fake()


def layout(options: Options) -> Layout:
    """Six channels in SI units. Raises ConfigFault for a rate that the chip cannot make."""
    accel = STANDARD_GRAVITY / COUNTS_PER_G[options.accel_range]
    gyro = math.radians(1 / COUNTS_PER_DPS[options.gyro_range])
    channels = [Channel(f"acc_{axis}", "m/s2", accel) for axis in "xyz"]
    channels += [Channel(f"gyro_{axis}", "rad/s", gyro) for axis in "xyz"]
    return Layout(FILTERED_HZ / divisor(options.rate), tuple(channels))


def divisor(rate_hz: float) -> int:
    """By how much 1 kHz is divided to make a rate. Raises ConfigFault naming the nearest that there are."""
    wanted = FILTERED_HZ / max(rate_hz, 1.0)  # 1 Hz and less are out of reach alike
    nearest = {min(max(d, 1), MAX_DIVISOR) for d in (math.floor(wanted), math.ceil(wanted))}
    best = min(nearest, key=lambda d: abs(d - wanted))
    if abs(best / wanted - 1) < RATE_TOLERANCE:
        return best
    near = " or ".join(f"{FILTERED_HZ / d:.5g} Hz" for d in sorted(nearest))
    raise ConfigFault(
        f"the chip cannot sample at {rate_hz:g} Hz",
        expected=f"{near} (it divides 1000 Hz by a whole number up to {MAX_DIVISOR})",
    )


def advise(options: Options, model: Model = MPU6050) -> Iterable[Advice]:
    """Warn of a rate that the bus cannot carry at the clock of a Pi."""
    bursts_hz = NS_PER_S / burst_ns(options.rate, model.fifo_samples)
    bits_hz = BITS_PER_BYTE * (options.rate * SAMPLE_BYTES + bursts_hz * BURST_OVERHEAD_BYTES)
    if bits_hz > DEFAULT_BUS_HZ and not options.bus.startswith("fake:"):
        yield Advice(
            "rate",
            f"{options.rate:g} Hz moves {bits_hz / 1000:.0f} kbit/s, more than the 100 kHz that an I2C bus "
            "starts with: put dtparam=i2c_arm_baudrate=400000 into config.txt, or lower the rate",
        )


def build(name: str, options: Options, context: Context, model: Model = MPU6050) -> Sensor:
    bus = context.buses.i2c(options.bus, options.fake)
    chip = Mpu6050(bus, options, context.clock, model)
    return FromFifo(name, layout(options), context.clock, chip, model.fifo_samples, bus.truth)


class Mpu6050(Chip):
    """Section 3 of the register map, as far as it is used; the bits are beside their register."""

    __slots__ = ("_clock", "_layout", "_lsb", "_model", "_options")

    sample_rate_divider = Byte(0x19)  # SMPLRT_DIV
    config = Byte(0x1A)  # DLPF_CFG[2:0]
    gyro_config = Byte(0x1B)  # FS_SEL[4:3]
    accel_config = Byte(0x1C)  # AFS_SEL[4:3]
    accel_config_2 = Byte(0x1D)  # A_DLPF_CFG[2:0], of the MPU-6500
    fifo_enable = Byte(0x23)  # FIFO_EN
    user_control = Byte(0x6A)  # USER_CTRL
    power_management = Byte(0x6B)  # PWR_MGMT_1
    fifo_count = Word(0x72)  # FIFO_COUNTH, FIFO_COUNTL
    who_am_i = Byte(0x75)

    XG_YG_ZG_ACCEL = 0x78  # of FIFO_EN
    FIFO_EN = 0x40  # of USER_CTRL
    FIFO_RESET = 0x04
    DEVICE_RESET = 0x80  # of PWR_MGMT_1
    CLKSEL_PLL_X = 0x01  # steadier than the internal oscillator, which is the default
    FIFO_R_W = 0x74

    def __init__(self, bus: I2cBus, options: Options, clock: Clock, model: Model = MPU6050) -> None:
        super().__init__(bus, options.address)
        self._options, self._clock, self._model = options, clock, model
        self._layout = layout(options)
        self._lsb = np.array([channel.lsb for channel in self._layout.channels])

    def start(self) -> None:
        """Identify, reset, configure. Takes 0.13 s. Raises DeviceFault."""
        options, filter_setting = self._options, low_pass(self._layout.rate_hz)
        self._identify()
        self.power_management = self.DEVICE_RESET
        self._clock.sleep_s(0.1)  # section 4.28
        self.power_management = self.CLKSEL_PLL_X
        self._clock.sleep_s(0.03)  # gyroscope start-up, product specification section 6.1
        self.config = filter_setting
        if self._model.filters_apart:
            self.accel_config_2 = filter_setting
        self.sample_rate_divider = divisor(options.rate) - 1
        self.gyro_config = list(COUNTS_PER_DPS).index(options.gyro_range) << 3
        self.accel_config = list(COUNTS_PER_G).index(options.accel_range) << 3
        self.fifo_enable = self.XG_YG_ZG_ACCEL

    def empty(self) -> None:
        self.user_control = 0
        self.user_control = self.FIFO_RESET
        self.user_control = self.FIFO_EN

    def waiting(self) -> int | None:
        count = self.fifo_count
        if count > self._model.fifo_samples * SAMPLE_BYTES:
            return None  # the chip has dropped the oldest bytes: what is left is not aligned
        return count // SAMPLE_BYTES

    def take(self, samples: int) -> Float32Array:
        data = self.bus.read(self.address, self.FIFO_R_W, samples * SAMPLE_BYTES, attempts=1)
        counts = np.frombuffer(data, dtype=">i2").reshape(samples, len(self._lsb))
        values: Float32Array = (counts * self._lsb).astype(np.float32)
        return values

    def _identify(self) -> None:
        found, model = self.who_am_i, self._model
        if found != model.who_am_i:
            raise WrongDevice(
                f"{KNOWN_CHIPS.get(found, 'an unknown chip')} answers (WHO_AM_I {found:#04x})",
                where=self.where,
                expected=f"an {model.name} ({model.who_am_i:#04x})",
                hint="Check `address:` and `driver:`; the pin AD0 chooses between 0x68 and 0x69.",
            )


def low_pass(rate_hz: float) -> int:
    """DLPF_CFG for a rate: the widest filter below half of it; 5 Hz, the narrowest, if none is."""
    return next((setting for setting, hz in FILTER_HZ.items() if hz <= rate_hz / 2), max(FILTER_HZ))
