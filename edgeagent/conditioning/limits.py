"""What `valid` and `clamp` share: a range with one end or two."""

from __future__ import annotations

import msgspec

from edgeagent.errors import ConfigFault


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Both ends belong to the range."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ConfigFault("no limit at all", expected="min, max or both")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ConfigFault(
                "the wrong way round", where="min", expected=f"less than the max of {self.max:g}"
            )

    @property
    def low(self) -> float:
        return -float("inf") if self.min is None else self.min

    @property
    def high(self) -> float:
        return float("inf") if self.max is None else self.max
