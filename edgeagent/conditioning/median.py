"""`median: 5`: the middle one of the last readings, which takes out single spikes."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from typing import Annotated

import msgspec
import numpy as np

from edgeagent.conditioning import Readings, Step
from edgeagent.config.quantities import Between
from edgeagent.records import Channel, Int64Array

Options = Annotated[int, Between(2, 1000)]


def build(options: int, channel: Channel) -> Step:
    return Step(msgspec.structs.replace(channel, lsb=None), _Median(options))


class _Median:
    """The last readings by age and by size; of those that are missing the age alone counts."""

    __slots__ = ("_by_age", "_by_size")

    def __init__(self, count: int) -> None:
        self._by_age = deque([math.nan] * count)
        self._by_size: list[float] = []

    def __call__(self, values: Readings, t_ns: Int64Array) -> Readings:
        del t_ns
        return np.array([self._at(value) for value in values.tolist()])

    def _at(self, value: float) -> float:
        oldest = self._by_age.popleft()
        self._by_age.append(value)
        if not math.isnan(oldest):
            del self._by_size[bisect_left(self._by_size, oldest)]
        if math.isnan(value):
            return value
        insort(self._by_size, value)
        there = len(self._by_size)
        return (self._by_size[(there - 1) // 2] + self._by_size[there // 2]) / 2
