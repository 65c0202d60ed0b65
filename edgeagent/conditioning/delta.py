"""`delta: 0.5`: the last reading that was passed on holds until one differs from it by so much."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from edgeagent.conditioning import Readings, Step
from edgeagent.errors import ConfigFault
from edgeagent.records import Channel, Int64Array


class Options(msgspec.Struct, frozen=True):
    least: float

    def __post_init__(self) -> None:
        if self.least <= 0:
            raise ConfigFault("no difference", where=f"{self.least:g}", expected="more than 0")


def build(options: Options, channel: Channel) -> Step:
    return Step(channel, _Held(options.least))


class _Held:
    __slots__ = ("_least", "_passed")

    def __init__(self, least: float) -> None:
        self._least = least
        self._passed = math.nan

    def __call__(self, values: Readings, t_ns: Int64Array) -> Readings:
        del t_ns
        return np.array([self._next(value) for value in values.tolist()])

    def _next(self, value: float) -> float:
        if math.isnan(value):
            return value
        if not abs(value - self._passed) < self._least:  # nor is the first, with nothing to differ from
            self._passed = value
        return self._passed
