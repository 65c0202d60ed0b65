"""`ema: 0.2`: the exponential moving average; a new reading counts for this part of it, all before for the rest."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec

from edgeagent.conditioning import Step
from edgeagent.conditioning.in_turn import in_turn
from edgeagent.config.quantities import Between
from edgeagent.records import Channel

Options = Annotated[float, Between(0.0001, 1.0)]


def build(options: float, channel: Channel) -> Step:
    return Step(msgspec.structs.replace(channel, lsb=None), in_turn(_Average(options)))


class _Average:
    __slots__ = ("_alpha", "_mean")

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._mean = math.nan

    def __call__(self, value: float) -> float:
        self._mean = value if math.isnan(self._mean) else self._mean + self._alpha * (value - self._mean)
        return self._mean
