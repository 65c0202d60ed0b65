"""Which versions of a firmware will do: `>=1.2,<2`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

Numbers = tuple[int, ...]

_COMPARISONS: dict[str, Callable[[Numbers, Numbers], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_BOUND = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*v?(\d+(?:\.\d+)*)\s*")
_NUMBERS = re.compile(r"v?(\d+(?:\.\d+)*)")
_DEPTH = 8


@dataclass(frozen=True)
class VersionRange:
    """All of its bounds must hold."""

    text: str
    bounds: tuple[tuple[str, Numbers], ...]

    @classmethod
    def parse(cls, text: str) -> VersionRange:
        """Raises ValueError if it is not bounds with commas between them."""
        matches = [_BOUND.fullmatch(part) for part in text.split(",")]
        if not all(matches):
            raise ValueError(f"{text!r} is not a range of versions such as '>=1.2,<2'")
        return cls(text, tuple((m[1], _numbers(m[2])) for m in matches if m))

    def __contains__(self, version: str) -> bool:
        """By the numbers that the version begins with: `1.4.2-rc1` counts as 1.4.2; one without numbers is in none."""
        match = _NUMBERS.match(version)
        return match is not None and all(
            _COMPARISONS[op](_numbers(match[1]), bound) for op, bound in self.bounds
        )


def _numbers(text: str) -> Numbers:
    """1.2 and 1.2.0 are the same version."""
    numbers = [int(part) for part in text.split(".")][:_DEPTH]
    return tuple(numbers + [0] * (_DEPTH - len(numbers)))
