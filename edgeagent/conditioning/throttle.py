"""`throttle: 10 s`: a new reading is passed on only so often; in between the last one holds."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from edgeagent.conditioning import Readings, Step
from edgeagent.config.quantities import Seconds
from edgeagent.errors import ConfigFault
from edgeagent.records import NS_PER_S, Channel, Int64Array


class Options(msgspec.Struct, frozen=True):
    every: Seconds

    def __post_init__(self) -> None:
        if self.every == 0:
            raise ConfigFault("no time at all", expected="more than 0 s")


def build(options: Options, channel: Channel) -> Step:
    return Step(channel, _Held(round(options.every * NS_PER_S)))


class _Held:
    __slots__ = ("_every_ns", "_next_ns", "_passed")

    def __init__(self, every_ns: int) -> None:
        self._every_ns = every_ns
        self._next_ns: int | None = None
        self._passed = math.nan

    def __call__(self, values: Readings, t_ns: Int64Array) -> Readings:
        return np.array([self._at(*one) for one in zip(values.tolist(), t_ns.tolist(), strict=True)])

    def _at(self, value: float, t_ns: int) -> float:
        if math.isnan(value):
            return value
        if self._next_ns is None or t_ns >= self._next_ns:
            self._passed, self._next_ns = value, t_ns + self._every_ns
        return self._passed
