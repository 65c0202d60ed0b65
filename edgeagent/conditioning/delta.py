"""`delta: 0.5`: the last reading that was passed on holds until one differs from it by so much."""

from __future__ import annotations

import math

import msgspec

from edgeagent.conditioning import Step
from edgeagent.conditioning.in_turn import in_turn
from edgeagent.errors import ConfigFault
from edgeagent.records import Channel


class Options(msgspec.Struct, frozen=True):
    least: float

    def __post_init__(self) -> None:
        if self.least <= 0:
            raise ConfigFault("no difference", where=f"{self.least:g}", expected="more than 0")


def build(options: Options, channel: Channel) -> Step:
    return Step(channel, in_turn(_Held(options.least)))


class _Held:
    __slots__ = ("_least", "_passed")

    def __init__(self, least: float) -> None:
        self._least = least
        self._passed = math.nan

    def __call__(self, value: float) -> float:
        if not abs(value - self._passed) < self._least:  # nor is the first, with nothing to differ from
            self._passed = value
        return self._passed
