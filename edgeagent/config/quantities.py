"""Values that carry their unit in the YAML: `100 Hz`, `5 s`, `20 MB`, `on`.

A driver annotates its `Options` with these; the loader parses what the technician wrote into the plain
number named here, and says what it expected where that does not parse.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple


class Dimension(NamedTuple):
    """A kind of quantity: its units and what one of each is worth; `example` is shown in faults."""

    name: str
    units: dict[str, float]
    example: str


FREQUENCY = Dimension("frequency", {"Hz": 1.0, "kHz": 1e3, "mHz": 1e-3, "/min": 1 / 60}, "50 Hz")
DURATION = Dimension(
    "duration", {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "h": 3600.0, "d": 86400.0}, "5 s"
)
SIZE = Dimension(
    "size",
    {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "20 MB",
)


class SwitchWord(NamedTuple):
    """Marks a bool that is written on, off, true or false."""


class PathWord(NamedTuple):
    """Marks a path; a relative one is relative to the YAML file."""


class Between(NamedTuple):
    """Marks a number with bounds, both inclusive."""

    low: float
    high: float


Hz = Annotated[float, FREQUENCY]
Seconds = Annotated[float, DURATION]
Bytes = Annotated[int, SIZE]
Switch = Annotated[bool, SwitchWord()]
FilePath = Annotated[Path, PathWord()]
Fraction = Annotated[float, Between(0.0, 1.0)]
