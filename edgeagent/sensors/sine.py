"""Sine waves, for trying a config without hardware: one a channel, each a little later than the one before.

wave: {driver: sine, rate: 50 Hz, period: 10 s, amplitude: 2, channels: {current: A, temperature: degC}}
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from edgeagent.config.quantities import Hz, Seconds
from edgeagent.errors import ConfigFault
from edgeagent.records import Channel, Float32Array, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.generated import Generated


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """value = offset + amplitude x sin(2 pi t / period - its part of a turn); `channels` is name: unit."""

    rate: Hz = 10.0
    period: Seconds = 10.0
    amplitude: float = 1.0
    offset: float = 0.0
    channels: dict[str, str] = msgspec.field(default_factory=lambda: {"value": "1"})

    def __post_init__(self) -> None:
        if not self.period:
            raise ConfigFault("0 s", where="period", expected="how long one wave takes")


def layout(options: Options) -> Layout:
    return Layout(options.rate, tuple(Channel(name, unit) for name, unit in options.channels.items()))


def build(name: str, options: Options, context: Context) -> Sensor:
    turns = np.arange(len(options.channels)) / len(options.channels)

    def make(first: int, count: int) -> Float32Array:
        at = (np.arange(first, first + count) / (options.rate * options.period))[:, None] - turns
        return (options.offset + options.amplitude * np.sin(2 * math.pi * at)).astype(np.float32)

    return Generated(name, layout(options), context.clock, make)
