"""Values that carry their unit in the YAML: `100 Hz`, `5 s`, `20 MB`, `on`.

A driver annotates its `Options` with these; the loader parses what the technician wrote into the plain
number named here, and says what it expected where that does not parse.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from edgeagent.errors import ConfigFault


class Dimension(msgspec.Struct, frozen=True, eq=False):
    """A kind of quantity: its units and what one of each is worth; `example` is shown in faults."""

    name: str
    units: dict[str, float]
    example: str

    @property
    def expected(self) -> str:
        """What a fault says was expected."""
        *units, last = self.units
        return f"a {self.name} such as {self.example} (in {', '.join(units)} or {last})"


FREQUENCY = Dimension("frequency", {"Hz": 1.0, "kHz": 1e3, "mHz": 1e-3, "/min": 1 / 60}, "50 Hz")
DURATION = Dimension(
    "duration", {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "h": 3600.0, "d": 86400.0}, "5 s"
)
SIZE = Dimension(
    "size",
    {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "20 MB",
)
RESISTANCE = Dimension("resistance", {"Ohm": 1.0, "mOhm": 1e-3}, "100 mOhm")


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
Ohms = Annotated[float, RESISTANCE]
Switch = Annotated[bool, SwitchWord()]
FilePath = Annotated[Path, PathWord()]
Fraction = Annotated[float, Between(0.0, 1.0)]

_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*", re.DOTALL)


def parse_quantity(text: str, dimension: Dimension) -> float:
    """`50 Hz` as 50.0: the number in the dimension's own unit (Hz, s, B).

    Raises ConfigFault, its `where` the text as it was found, for anything but a finite number that is not
    negative (a frequency: more than 0) with one of the dimension's units.
    """
    if (match := _QUANTITY.fullmatch(text)) is None:
        raise ConfigFault("not a number with a unit", where=repr(text), expected=dimension.expected)
    number, unit = match.groups()
    if unit not in dimension.units:
        meant = _unit_meant(unit, dimension)
        what = f"wrong unit {unit!r}" if unit else "no unit"
        hint = f"Did you mean '{number} {meant}'?" if meant else ""
        raise ConfigFault(what, where=repr(text), expected=dimension.expected, hint=hint)
    value = float(number) * dimension.units[unit]
    if not math.isfinite(value) or value < 0 or (value == 0 and dimension is FREQUENCY):
        raise ConfigFault(
            "out of range", where=repr(text), expected=f"{dimension.expected}, {_range(dimension)}"
        )
    return value


def _range(dimension: Dimension) -> str:
    return "more than 0" if dimension is FREQUENCY else "0 or more"


def _unit_meant(unit: str, dimension: Dimension) -> str | None:
    """The unit that someone who wrote `hz`, `sec`, `minutes` or `mb` had in mind."""
    word = unit.casefold()
    same = [u for u in dimension.units if u.casefold() == word]
    begun = [u for u in dimension.units if word and word.startswith(u.casefold())]
    return max(same or begun, key=len, default=None)
