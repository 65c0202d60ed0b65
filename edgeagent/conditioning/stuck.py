"""`stuck: 10 min`: a reading that has not changed at all for so long is no reading, and is missing."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from edgeagent.conditioning import Readings, Step
from edgeagent.config.quantities import Seconds
from edgeagent.errors import ConfigFault
from edgeagent.records import NS_PER_S, Channel, Int64Array


class Options(msgspec.Struct, frozen=True):
    after: Seconds

    def __post_init__(self) -> None:
        if self.after == 0:
            raise ConfigFault("no time at all", expected="more than 0 s")


def build(options: Options, channel: Channel) -> Step:
    why = f"{channel.name} has not changed for {options.after:g} s"
    return Step(channel, _Watched(round(options.after * NS_PER_S)), why)


class _Watched:
    __slots__ = ("_after_ns", "_last", "_since_ns")

    def __init__(self, after_ns: int) -> None:
        self._after_ns = after_ns
        self._last = math.nan
        self._since_ns = 0

    def __call__(self, values: Readings, t_ns: Int64Array) -> Readings:
        return np.array([self._at(*one) for one in zip(values.tolist(), t_ns.tolist(), strict=True)])

    def _at(self, value: float, t_ns: int) -> float:
        if math.isnan(value):
            return value
        if value != self._last:  # nor is the first, with nothing before it
            self._last, self._since_ns = value, t_ns
        return math.nan if t_ns - self._since_ns >= self._after_ns else value
