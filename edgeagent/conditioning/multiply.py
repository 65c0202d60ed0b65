"""`multiply: 1.02`: the reading times a number."""

from __future__ import annotations

import msgspec

from edgeagent.conditioning import Step
from edgeagent.records import Channel

Options = float


def build(options: float, channel: Channel) -> Step:
    return Step(msgspec.structs.replace(channel, lsb=None), lambda values, _: values * options)
