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
        there = np.flatnonzero(~np.isnan(values))
        if not len(there):
            return values
        seen, seen_ns = values[there], t_ns[there]
        changed = np.diff(seen, prepend=self._last) != 0  # the first of all differs from nothing: NaN != 0
        since_ns = np.maximum.accumulate(np.where(changed, seen_ns, self._since_ns))
        self._last, self._since_ns = float(seen[-1]), int(since_ns[-1])
        out = values.copy()
        out[there[seen_ns - since_ns >= self._after_ns]] = np.nan
        return out
