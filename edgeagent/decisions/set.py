"""`set: {relay: off}`: drives actuators, each to a value. Nothing drives them back when the rule clears."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.config.quantities import Switch
from edgeagent.decisions import Action, Drive, Found, Known, Level, Occasion
from edgeagent.decisions.expressions import unknown_name

Options = dict[str, Switch | float]


def faults(options: Options, known: Known) -> Iterator[Found]:
    for actuator in options:
        if actuator not in known.actuators:
            yield Found((actuator,), unknown_name(actuator, known.actuators))


def build(rule: str, options: Options, sensors: tuple[str, ...]) -> Action:
    del sensors
    drives = tuple(Drive(actuator, value, rule) for actuator, value in options.items())

    def act(occasion: Occasion) -> tuple[Drive, ...]:
        del occasion
        return drives

    return act


def describe(options: Options) -> str:
    return "set " + ", ".join(f"{actuator}={_words(value)}" for actuator, value in options.items())


def _words(value: Level) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}"
