"""`moving_average: 10`: the mean of the last readings."""

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
    return Step(msgspec.structs.replace(channel, lsb=None), Running(options, _means))


def _means(last: Readings) -> Readings:
    """The mean of each row of float64[n, count]; what is missing does not count."""
    there = len(last[0]) - np.isnan(last).sum(axis=1)
    mean: Readings = np.nansum(last, axis=1) / np.maximum(there, 1)
    return mean
