"""A driver on virtual time, read as a reader thread would, and which faults of the fakes have been tried on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import msgspec
import numpy as np
from test_sensors import Case

from edgeagent.buses import Buses
from edgeagent.errors import DeviceFault
from edgeagent.records import NS_PER_S, Block, Float32Array
from edgeagent.sensors import Context, Sensor

RETRY_S = 0.5

Test = TypeVar("Test", bound=Callable[..., None])

TRIED: defaultdict[type[msgspec.Struct], set[str]] = defaultdict(set)
"""By the struct that a config's `fake:` is: the faults for which there is a test."""


def tries(fakes: type[msgspec.Struct], *faults: str) -> Callable[[Test], Test]:
    """Note that a test lets these faults happen to every driver on such fakes."""
    TRIED[fakes].update(faults)
    return lambda test: test


class Driven:
    """A case's sensor, unopened, on buses that remember what is at their far end."""

    def __init__(self, case: Case, buses: Buses) -> None:
        self.case, self.clock = case, case.clock
        self.sensor: Sensor = case.module.build(case.name, case.options, Context(case.clock, buses))

    def run(self, seconds: float) -> list[Block]:
        """What a reader thread would get. Raises DeviceFault."""
        blocks = []
        end_ns = self.clock.now_ns() + round(seconds * NS_PER_S)
        while (due_ns := max(self.sensor.due_ns(), self.clock.now_ns())) <= end_ns:
            self.clock.sleep_s((due_ns - self.clock.now_ns()) / NS_PER_S)
            block = self.sensor.read()
            blocks += [block] if block else []
        return blocks

    def run_as_reader(self, seconds: float) -> list[Block]:
        """The same, but after a fault it is closed and opened again half a second later."""
        blocks = []
        end_ns = self.clock.now_ns() + round(seconds * NS_PER_S)
        is_open = True
        while self.clock.now_ns() < end_ns:
            try:
                if not is_open:
                    self.sensor.open()
                    is_open = True
                blocks += self.run((end_ns - self.clock.now_ns()) / NS_PER_S)
            except DeviceFault:
                self.sensor.close()
                is_open = False
                self.clock.sleep_s(RETRY_S)
            else:
                break
        return blocks

    @property
    def periods_s(self) -> float:
        """Time for at least ten samples and three blocks."""
        return max(10.0 / float(self.case.expected["rate_hz"]), 0.5)


def rows(blocks: list[Block]) -> int:
    return sum(len(b.values) for b in blocks)


def values(blocks: list[Block]) -> Float32Array:
    """float32[rows, channels] of blocks of which there is at least one."""
    return np.concatenate([b.values for b in blocks])
