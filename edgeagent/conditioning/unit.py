"""`unit: degF`: the same quantity in another unit."""

from __future__ import annotations

import msgspec

from edgeagent import units
from edgeagent.conditioning import Step
from edgeagent.records import Channel


class Options(msgspec.Struct, frozen=True):
    to: str

    def __post_init__(self) -> None:
        units.must_be_known(self.to)


def build(options: Options, channel: Channel) -> Step:
    convert = units.converter(channel, options.to)
    return Step(Channel(channel.name, options.to), lambda values, _: convert(values))
