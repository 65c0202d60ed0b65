"""A sensor's filters at work: a block as the device gave it becomes the block that everything else sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from edgeagent.conditioning import Readings, Step
from edgeagent.config.findings import listed, nearest
from edgeagent.config.parts import find
from edgeagent.config.schema import Part
from edgeagent.errors import ConfigFault
from edgeagent.records import Block, Channel, Layout

Conditions = Mapping[str, Sequence[Part]]
"""By channel, its filters in the order of application."""


class Found(NamedTuple):
    """A fault, and the YAML keys that lead to it from `condition:` on."""

    path: tuple[str | int, ...]
    fault: ConfigFault


class Conditioner:
    """One sensor's filters.

    Args:
        conditions: What the config says.
        given: The layout that the sensor announced.

    Raises ConfigFault if it does not serve the filters.
    """

    def __init__(self, conditions: Conditions, given: Layout) -> None:
        self.given = given
        self.missing: Counter[str] = Counter()
        """How many readings were taken away, by the reason."""
        self._steps: dict[int, list[Step]] = {}
        channels = list(given.channels)
        for name, filters in conditions.items():
            steps = list(_steps(name, filters, given))
            if steps:
                at = given.index(name)
                self._steps[at], channels[at] = steps, steps[-1].channel
        self.layout = msgspec.structs.replace(given, channels=tuple(channels))
        """What comes out."""

    def block(self, block: Block) -> Block:
        """The block as everything else is to see it; without filters the very same."""
        if not self._steps or not len(block.values):
            return block
        values, reasons = block.values.copy(), list(block.reasons)
        for at, steps in self._steps.items():
            readings = values[:, at].astype(np.float64)
            for step in steps:
                given, readings = readings, step.apply(readings, block.t_mono_ns)
                if step.why_missing and (gone := _missing(readings) - _missing(given)):
                    self.missing[step.why_missing] += gone
                    reasons.append(step.why_missing)
            values[:, at] = readings
        return msgspec.structs.replace(block, values=values, reasons=tuple(reasons))


def _missing(readings: Readings) -> int:
    return int(np.count_nonzero(np.isnan(readings)))


def faults(conditions: Conditions, given: Layout) -> Iterator[Found]:
    """All that does not serve a sensor's filters, a fault a channel at most; for `check`."""
    for name, filters in conditions.items():
        made: list[Step] = []
        try:
            made.extend(_steps(name, filters, given))  # keeps those before the one that cannot be made
        except ConfigFault as fault:
            known = any(channel.name == name for channel in given.channels)
            at = len(made)
            yield Found((name, at, filters[at].file) if known else (name,), fault)


def _steps(name: str, filters: Sequence[Part], given: Layout) -> Iterator[Step]:
    """A channel's filters, each built on what the one before makes of it."""
    channel = _channel(name, given)
    for part in filters:
        step: Step = find("conditioning", part.file).build(part.options, channel)
        yield step
        channel = step.channel


def _channel(name: str, given: Layout) -> Channel:
    names = [channel.name for channel in given.channels]
    if name not in names:
        raise ConfigFault(f"there is no channel {name!r}", expected=listed(names), hint=nearest(name, names))
    return given.channels[given.index(name)]
