"""One line of the table, and what the files need to measure with."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import NamedTuple


class Figure(NamedTuple):
    """What was measured; `raw` is the limit that it is held against, `floor` what was promised of it.

    `met` is None for a figure that is only shown.
    """

    name: str
    measured: str
    raw: str = ""
    ratio: str = ""
    floor: str = ""
    met: bool | None = None


def times_us(call: Callable[[], object], count: int) -> list[float]:
    """How long each of `count` calls took, in µs."""
    times = []
    for _ in range(count):
        start_ns = perf_counter_ns()
        call()
        times.append((perf_counter_ns() - start_ns) / 1000)
    return times
