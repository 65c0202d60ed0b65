"""A bundle's steps in their order: a window as the sensors give it becomes what the model was trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from edgeagent.config.parts import find
from edgeagent.config.schema import Names, Part
from edgeagent.errors import ConfigFault
from edgeagent.inference.preprocess import Form, Step, Values
from edgeagent.records import Float32Array

FOLDER = "inference.preprocess"
StepPart = Annotated[Part, Names(FOLDER, "key")]


class Chain:
    """All steps of a bundle, for windows of one form.

    Args:
        parts: The steps, as `bundle.yaml` has them.
        given: What the sensors give.

    Raises ConfigFault naming the step that cannot be taken.
    """

    def __init__(self, parts: Sequence[Part], given: Form) -> None:
        self.given = self.form = given
        self._steps: list[Step] = []
        for number, part in enumerate(parts, 1):
            try:
                step: Step = find(FOLDER, part.file).build(part.options, self.form)
            except ConfigFault as fault:
                what = f"step {number}, {part.file}: {fault.what}"
                raise ConfigFault(what, where=fault.where, expected=fault.expected, hint=fault.hint) from None
            self._steps.append(step)
            self.form = step.form

    @property
    def rows(self) -> int:
        """How many rows of `form.channels` the model gets: samples, frequencies, statistics or pixels."""
        return math.prod(self.form.shape[:-1])

    def __call__(self, values: Float32Array) -> Float32Array:
        """float32[rows, channels] of a window without NaN, or of its pictures' pixels; without steps the same."""
        if not self._steps:
            return values
        order: Literal["F", "C"] = "F" if self.given.rate_hz else "C"
        made: Values = values.astype(np.float64, order).reshape(self.given.shape, order=order)
        for step in self._steps:
            made = step.apply(made)
        return np.ascontiguousarray(made, np.float32).reshape(self.rows, -1)
