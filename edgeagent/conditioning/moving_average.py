"""`moving_average: 10`: the mean of the last readings; of fewer at the start."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np

from edgeagent.conditioning import Readings, Step
from edgeagent.config.quantities import Between
from edgeagent.records import Channel, Int64Array

Options = Annotated[int, Between(2, 1000)]


def build(options: int, channel: Channel) -> Step:
    return Step(msgspec.structs.replace(channel, lsb=None), _Mean(options))


class _Mean:
    __slots__ = ("_count", "_past")

    def __init__(self, count: int) -> None:
        self._count = count
        self._past: Readings = np.full(count - 1, np.nan)

    def __call__(self, values: Readings, t_ns: Int64Array) -> Readings:
        del t_ns
        reach = np.concatenate([self._past, values])
        self._past = reach[len(values) :]
        last = np.lib.stride_tricks.sliding_window_view(reach, self._count)
        return np.where(np.isnan(values), np.nan, _means(last))


def _means(last: Readings) -> Readings:
    """The mean of each row of float64[n, count]; what is missing does not count."""
    there = len(last[0]) - np.isnan(last).sum(axis=1)
    mean: Readings = np.nansum(last, axis=1) / np.maximum(there, 1)
    return mean
