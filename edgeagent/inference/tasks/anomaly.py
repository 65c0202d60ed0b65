"""`task: anomaly`: how badly a model can rebuild what it was given, and whether that is normal.

The model is an autoencoder: it gives as many numbers as it takes, in their order, and was trained to give the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from edgeagent.errors import ConfigFault
from edgeagent.inference.tasks import Given, Outputs
from edgeagent.inference.tensors import scale
from edgeagent.records import Reading

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

NORMAL, ANOMALY = "normal", "anomaly"


class Output(Outputs, frozen=True, kw_only=True):
    """`error`: the mean of the squares of the differences, or of their absolute values, on the scaled window."""

    threshold: float
    error: Literal["squared", "absolute"] = "squared"

    def __post_init__(self) -> None:
        if not self.threshold > 0:
            raise ConfigFault(str(self.threshold), where="threshold", expected="a number above 0")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    output: Output


class Anomaly:
    """The task. The one score is the error; what is above the threshold is an anomaly.

    `margin` says how far from the threshold it is, as a part of it.
    """

    names = ("anomaly",)
    labels = (NORMAL, ANOMALY)
    facts = ("label", "anomaly", "margin")

    def __init__(self, output: Output, given: Given) -> None:
        self._output, self._given = output, given
        self.outputs = given.rows * len(given.mean)
        self.threshold = output.threshold
        self._mean, self._std = (np.array(numbers, np.float32) for numbers in (given.mean, given.std))
        self._is_squared = output.error == "squared"

    def at(self, threshold: float) -> Anomaly:
        """The same, with another threshold."""
        return Anomaly(msgspec.structs.replace(self._output, threshold=threshold), self._given)

    @property
    def gives(self) -> str:
        return f"an anomaly above {self.threshold:g}"

    def measure(self, outputs: Float32Array, given: Float32Array) -> Float32Array:
        off = scale(given, self._mean, self._std)
        off -= outputs.reshape(given.shape)
        error = np.vdot(off, off) / off.size if self._is_squared else np.abs(off).mean()
        return np.array([error], np.float32)

    def read(self, scores: Sequence[float]) -> Reading:
        (error,) = scores
        return Reading(
            label=ANOMALY if error > self.threshold else NORMAL,
            margin=abs(error - self.threshold) / self.threshold,
            anomaly=error,
            threshold=self.threshold,
        )


def build(options: Options, given: Given) -> Anomaly:
    return Anomaly(options.output, given)
