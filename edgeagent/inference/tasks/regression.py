"""`task: regression`: one quantity or several, each with its unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edgeagent.errors import ConfigFault
from edgeagent.inference.tasks import Given, Outputs
from edgeagent.records import Quantity, Reading

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

_TAKEN = ("label", "score", "margin", "value", "anomaly")


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """What the model gives is multiplied by `scale`, then `offset` is added: the std and mean of training's values."""

    name: str
    unit: str
    scale: float = 1.0
    offset: float = 0.0


class Output(Outputs, frozen=True, kw_only=True):
    values: list[Value]

    def __post_init__(self) -> None:
        names = [value.name for value in self.values]
        if not names or len(set(names)) < len(names):
            raise ConfigFault("none, or one twice", where="values", expected="each value once")
        for name in names:
            if not name.isidentifier() or name in _TAKEN:
                expected = f"a word that rules can name, other than {', '.join(_TAKEN)}"
                raise ConfigFault(repr(name), where="values", expected=expected)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    output: Output


class Regression:
    """The task. Scores are the values, in their units; rules see them by name, and one alone as `value` too."""

    def __init__(self, values: Sequence[Value]) -> None:
        self._values = values
        self.names = tuple(value.name for value in values)
        self.labels: tuple[str, ...] = ()
        self.outputs = len(values)
        self.facts = (*self.names, "value") if len(values) == 1 else self.names
        self.gives = ", ".join(f"{value.name} ({value.unit})" for value in values)
        self._scale = np.array([value.scale for value in values], np.float32)
        self._offset = np.array([value.offset for value in values], np.float32)

    def measure(self, outputs: Float32Array, given: Float32Array) -> Float32Array:
        del given
        return outputs * self._scale + self._offset

    def read(self, scores: Sequence[float]) -> Reading:
        pairs = zip(self._values, scores, strict=True)
        return Reading(values=tuple(Quantity(value.name, score, value.unit) for value, score in pairs))


def build(options: Options, given: Given) -> Regression:
    del given
    return Regression(options.output.values)
