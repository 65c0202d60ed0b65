"""What is done to a channel's readings before anything else sees them: one filter a file.

A sensor's `condition:` has a list of filters a channel, in the order in which they are applied; `{median: 5}` is
`edgeagent/conditioning/median.py`. A filter file has two names:

    Options                                          # what stands behind its key (config/quantities.py)
    def build(options, channel: Channel) -> Step     # `channel`: what comes in; ConfigFault if it cannot be done

Nothing here reads a clock or does I/O, so that a replay of what the device gave conditions it the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgeagent.records import Channel, Int64Array

Readings = npt.NDArray[np.float64]


class Step(NamedTuple):
    """One filter at work on one channel.

    `channel` is what comes out; it has an `lsb` only if every reading is still a whole number of the device's counts.
    `apply` takes a block's readings float64[n] and their times int64[n], and gives as many, in order and without
    writing into what it was given; a reading that is missing (NaN) stays missing. It remembers what it must from
    block to block. `why_missing` is the reason where it makes readings missing.
    """

    channel: Channel
    apply: Callable[[Readings, Int64Array], Readings]
    why_missing: str = ""
