"""`median: 5`: the middle one of the last readings, which takes out single spikes."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np

from edgeagent.conditioning import Readings, Step
from edgeagent.conditioning.running import Running
from edgeagent.config.quantities import Between
from edgeagent.records import Channel

Options = Annotated[int, Between(2, 1000)]


def build(options: int, channel: Channel) -> Step:
    return Step(msgspec.structs.replace(channel, lsb=None), Running(options, _medians))


def _medians(last: Readings) -> Readings:
    """The median of each row of float64[n, count]; what is missing does not count."""
    ordered = np.sort(last, axis=1)  # NaN comes last
    there = len(last[0]) - np.isnan(last).sum(axis=1)
    row = np.arange(len(last))
    middle: Readings = (ordered[row, (there - 1) // 2] + ordered[row, there // 2]) / 2
    return middle
