"""`task: classification`: one of several labels, or `unknown` where the best score is below what its label needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np

from edgeagent.config.quantities import Between, Fraction
from edgeagent.errors import ConfigFault
from edgeagent.inference.tasks import Given, Outputs
from edgeagent.records import Reading

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

UNKNOWN = "unknown"


class Output(Outputs, frozen=True, kw_only=True):
    """`thresholds`: the least score by label, or one for all. `top`: how many of the best are recorded, not all scores.

    `scores`: whether the model gives probabilities, or logits of which they are made.
    """

    labels: list[str]
    scores: Literal["probabilities", "logits"]
    thresholds: dict[str, Fraction] | Fraction = 0.0
    top: Annotated[int, Between(1, 1000)] | None = None

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise ConfigFault("none, or one twice", where="labels", expected="each label once")
        if isinstance(self.thresholds, dict) and (strange := sorted({*self.thresholds} - {*self.labels})):
            raise ConfigFault(", ".join(strange), where="thresholds", expected="labels of the model")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    output: Output


class Classification:
    """The task. Scores are probabilities, in the order of the labels."""

    facts = ("label", "score", "margin")

    def __init__(self, output: Output) -> None:
        self.names = tuple(output.labels)
        self.labels = (*self.names, UNKNOWN) if output.thresholds else self.names
        self.outputs = len(self.names)
        self.gives = f"{self.outputs} labels"
        self._are_logits = output.scores == "logits"
        least = output.thresholds
        self._least = [least.get(name, 0.0) if isinstance(least, dict) else least for name in self.names]
        self._top = output.top

    def measure(self, outputs: Float32Array, given: Float32Array) -> Float32Array:
        del given
        if not self._are_logits:
            return outputs
        odds: Float32Array = np.exp(outputs - outputs.max())
        odds /= odds.sum()
        return odds

    def read(self, scores: Sequence[float]) -> Reading:
        best = sorted(scores, reverse=True)
        at = scores.index(best[0])
        label = self.names[at] if best[0] >= self._least[at] else UNKNOWN
        margin = best[0] - best[1] if len(best) > 1 else None
        if self._top is None:
            return Reading(label=label, score=best[0], scores=tuple(scores), margin=margin)
        order = sorted(range(len(scores)), key=lambda i: -scores[i])[: self._top]
        return Reading(
            label=label, score=best[0], top={self.names[i]: scores[i] for i in order}, margin=margin
        )


def build(options: Options, given: Given) -> Classification:
    del given
    return Classification(options.output)
