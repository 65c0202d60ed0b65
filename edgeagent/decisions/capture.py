"""`capture: {before: 5 s, after: 5 s}`: keeps the raw samples around the moment at which the rule activated."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from edgeagent.config.quantities import Seconds
from edgeagent.decisions import Action, Capture, Found, Known, Occasion
from edgeagent.decisions.expressions import unknown_name
from edgeagent.errors import ConfigFault
from edgeagent.records import NS_PER_S


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`sensors`: whose samples; none named: those that the rule's inputs come from."""

    before: Seconds = 0.0
    after: Seconds = 0.0
    sensors: list[str] = []


def faults(options: Options, known: Known) -> Iterator[Found]:
    for i, sensor in enumerate(options.sensors):
        if sensor not in known.sensors:
            yield Found(("sensors", i), unknown_name(sensor, known.sensors))
    if not options.before + options.after > 0:
        yield Found((), ConfigFault("captures nothing", expected="before or after longer than 0 s"))


def build(rule: str, options: Options, sensors: tuple[str, ...]) -> Action:
    whose = tuple(options.sensors) or sensors
    before_ns, after_ns = round(options.before * NS_PER_S), round(options.after * NS_PER_S)

    def act(occasion: Occasion) -> tuple[Capture, ...]:
        return (Capture(rule, whose, occasion.now_ns, before_ns, after_ns),)

    return act


def describe(options: Options) -> str:
    return f"capture {options.before:g} s before, {options.after:g} s after"
