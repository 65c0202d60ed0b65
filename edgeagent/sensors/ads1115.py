"""ADS1115: four analog inputs, single-ended or in pairs, 16 bits. Texas Instruments SBAS444.

The chip has one converter behind a switch: each channel is one conversion, triggered and waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import Literal

import msgspec

from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import I2cAddress, I2cBus
from edgeagent.buses.registers import Chip, ControlWord, SignedWord
from edgeagent.config.quantities import Hz
from edgeagent.errors import ConfigFault, DeviceFault, WrongDevice
from edgeagent.records import Channel, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.polled import Polled, Row

# The configuration register, table 8-3
INPUTS = {"a0-a1": 0, "a0-a3": 1, "a1-a3": 2, "a2-a3": 3, "a0": 4, "a1": 5, "a2": 6, "a3": 7}  # MUX[14:12]
RANGES = {"6.144 V": 0, "4.096 V": 1, "2.048 V": 2, "1.024 V": 3, "0.512 V": 4, "0.256 V": 5}  # PGA[11:9]
SPEEDS = (8, 16, 32, 64, 128, 250, 475, 860)  # DR[7:5], conversions a second

SLOW_BY = 1.1  # its oscillator may be a tenth off
LOOKS = 10


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """`range` is the greatest voltage either way; no pin may ever see more than the chip's supply."""

    name: str
    input: Literal["a0", "a1", "a2", "a3", "a0-a1", "a0-a3", "a1-a3", "a2-a3"]
    range: Literal["6.144 V", "4.096 V", "2.048 V", "1.024 V", "0.512 V", "0.256 V"] = "4.096 V"

    @property
    def volts_per_count(self) -> float:
        return float(self.range.removesuffix(" V")) / 32768


FOUR_INPUTS = tuple(Input(name=n, input=n) for n in ("a0", "a1", "a2", "a3"))


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`speed`: conversions a second; the slower, the less noise. Addresses are 0x48 to 0x4B, by the pin ADDR."""

    bus: str
    address: I2cAddress = 0x48
    rate: Hz = 1.0
    speed: Literal[8, 16, 32, 64, 128, 250, 475, 860] = 128
    channels: tuple[Input, ...] = FOUR_INPUTS
    fake: Fake = Fake()


def layout(options: Options) -> Layout:
    """Raises ConfigFault for no channels, two of one name, or more conversions than there is time for."""
    names = Counter(channel.name for channel in options.channels)
    if not names:
        raise ConfigFault("no channels", where="channels", expected="a name and an input for each")
    if max(names.values()) > 1:
        twice = names.most_common(1)[0][0]
        raise ConfigFault(f"two channels are called {twice!r}", where="channels", expected="different names")
    most_hz = options.speed / SLOW_BY / len(options.channels)
    if options.rate > most_hz:
        raise ConfigFault(
            f"{len(options.channels)} conversions take longer than 1/{options.rate:g} s",
            where="rate",
            expected=f"{most_hz:.3g} Hz at most, a higher speed, or fewer channels",
        )
    return Layout(options.rate, tuple(Channel(c.name, "V", c.volts_per_count) for c in options.channels))


def build(name: str, options: Options, context: Context) -> Sensor:
    bus = context.buses.i2c(options.bus, options.fake)
    return Polled(name, layout(options), context.clock, Ads1115(bus, options))


class Ads1115(Chip):
    """Section 8.1."""

    __slots__ = ("_channels", "_conversion_s", "_speed")

    conversion = SignedWord(0x00)
    configuration = ControlWord(0x01)

    START, IDLE = 0x8000, 0x8000  # one bit: to write, and to read
    SINGLE_SHOT = 0x0100
    NO_COMPARATOR = 0x0003

    def __init__(self, bus: I2cBus, options: Options) -> None:
        super().__init__(bus, options.address)
        self._channels = options.channels
        self._speed = SPEEDS.index(options.speed)
        self._conversion_s = 1 / options.speed

    def start(self) -> float:
        """Let it rest, set up for the first channel. There is no id register: that the setting stays must do."""
        wanted = self._setting(self._channels[0])
        self.configuration = wanted
        found = self.configuration & ~self.IDLE
        if found != wanted:
            raise WrongDevice(
                f"the configuration register says {found:#06x} after {wanted:#06x} was written",
                where=self.where,
                expected="an ADS1115, which keeps it",
                hint="Check `address:` and `driver:`.",
            )
        return 0.0

    def measure(self) -> Generator[float, None, Row]:
        volts = []
        for channel in self._channels:
            self.configuration = self._setting(channel) | self.START
            yield self._conversion_s
            yield from self._wait()
            volts.append(self.conversion * channel.volts_per_count)
        return Row(tuple(volts))

    def _wait(self) -> Generator[float, None, None]:
        for _ in range(LOOKS):
            if self.configuration & self.IDLE:
                return
            yield self._conversion_s / 10
        raise DeviceFault("the conversion does not end", where=self.where, hint="Check the chip's supply.")

    def _setting(self, channel: Input) -> int:
        setting = INPUTS[channel.input] << 12 | RANGES[channel.range] << 9 | self._speed << 5
        return setting | self.SINGLE_SHOT | self.NO_COMPARATOR
