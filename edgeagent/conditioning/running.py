"""What `median` and `moving_average` share: the last readings, at each reading."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeagent.conditioning import Readings
from edgeagent.records import Int64Array


class Running:
    """Makes one number of the last `count` readings, the newest among them; of fewer at the start.

    Args:
        count: How many.
        reduce: float64[n, count], NaN where there is none, to float64[n].
    """

    __slots__ = ("_count", "_past", "_reduce")

    def __init__(self, count: int, reduce: Callable[[Readings], Readings]) -> None:
        self._count, self._reduce = count, reduce
        self._past: Readings = np.full(count - 1, np.nan)

    def __call__(self, values: Readings, t_ns: Int64Array) -> Readings:
        del t_ns
        reach = np.concatenate([self._past, values])
        self._past = reach[len(values) :]
        last = np.lib.stride_tricks.sliding_window_view(reach, self._count)
        return np.where(np.isnan(values), np.nan, self._reduce(last))
