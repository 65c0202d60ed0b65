"""`clamp: {min: 0, max: 20}`: a reading beyond a limit becomes the limit."""

from __future__ import annotations

import msgspec
import numpy as np

from edgeagent.conditioning import Step
from edgeagent.conditioning.limits import Limits
from edgeagent.records import Channel

Options = Limits


def build(options: Limits, channel: Channel) -> Step:
    low, high = options.low, options.high
    return Step(msgspec.structs.replace(channel, lsb=None), lambda values, _: np.clip(values, low, high))
