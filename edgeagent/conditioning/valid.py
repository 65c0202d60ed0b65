"""`valid: {min: -40, max: 125}`: a reading beyond a limit cannot be true, and is missing."""

from __future__ import annotations

import numpy as np

from edgeagent.conditioning import Step
from edgeagent.conditioning.limits import Limits
from edgeagent.records import Channel

Options = Limits


def build(options: Limits, channel: Channel) -> Step:
    low, high = options.low, options.high
    return Step(
        channel,
        lambda values, _: np.where((values >= low) & (values <= high), values, np.nan),
        f"{channel.name} is not {_words(options)} {channel.unit}".rstrip(),
    )


def _words(limits: Limits) -> str:
    if limits.min is None:
        return f"{limits.max:g} or less"
    return f"{limits.min:g} or more" if limits.max is None else f"from {limits.min:g} to {limits.max:g}"
