"""`calibrate: {measured: [0.3, 99.1], actual: [0, 100]}`: the straight line through two points, or nearest to more."""

from __future__ import annotations

import msgspec
import numpy as np

from edgeagent.conditioning import Step
from edgeagent.errors import ConfigFault
from edgeagent.records import Channel


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the sensor showed, and what a reference showed at the same times."""

    measured: list[float]
    actual: list[float]

    def __post_init__(self) -> None:
        if len(self.measured) != len(self.actual):
            found = f"{len(self.measured)} measured and {len(self.actual)} actual"
            raise ConfigFault("not as many of one as of the other", where=found, expected="pairs")
        if len(set(self.measured)) < 2:
            raise ConfigFault(
                "no line goes through that", where="measured", expected="two or more that differ"
            )


def build(options: Options, channel: Channel) -> Step:
    slope, offset = np.polyfit(options.measured, options.actual, 1)
    return Step(msgspec.structs.replace(channel, lsb=None), lambda values, _: values * slope + offset)
