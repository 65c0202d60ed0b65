"""What `delta` and `ema` share: filters that go on from their own last output, a reading after the other."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgeagent.conditioning import Readings
from edgeagent.records import Int64Array


def in_turn(follow: Callable[[float], float]) -> Callable[[Readings, Int64Array], Readings]:
    """A filter of a block from what it makes of one reading; what is missing it is not shown, and stays missing."""

    def apply(values: Readings, t_ns: Int64Array) -> Readings:
        del t_ns
        return np.array([value if math.isnan(value) else follow(value) for value in values.tolist()])

    return apply
