"""Noise, for trying a config without hardware: normally distributed, each channel for itself.

noise: {driver: random, rate: 50 Hz, mean: 20, deviation: 0.5, channels: {temperature: degC}}
"""

from __future__ import annotations

import msgspec
import numpy as np

from edgeagent.config.quantities import Hz
from edgeagent.records import Channel, Float32Array, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.generated import Generated


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The same `seed` gives the same noise at each start; without one it is another. `channels` is name: unit."""

    rate: Hz = 10.0
    mean: float = 0.0
    deviation: float = 1.0
    seed: int | None = None
    channels: dict[str, str] = msgspec.field(default_factory=lambda: {"value": "1"})


def layout(options: Options) -> Layout:
    return Layout(options.rate, tuple(Channel(name, unit) for name, unit in options.channels.items()))


def build(name: str, options: Options, context: Context) -> Sensor:
    noise = np.random.default_rng(options.seed)

    def make(first: int, count: int) -> Float32Array:
        del first
        shape = (count, len(options.channels))
        return (options.mean + options.deviation * noise.standard_normal(shape)).astype(np.float32)

    return Generated(name, layout(options), context.clock, make)
