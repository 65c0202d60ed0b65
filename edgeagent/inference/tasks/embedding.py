"""`task: embedding`: a vector, for whoever compares windows later; it goes upstream as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec

from edgeagent.config.quantities import Between
from edgeagent.inference.tasks import Given, Outputs
from edgeagent.records import Reading

if TYPE_CHECKING:
    from edgeagent.records import Float32Array


class Output(Outputs, frozen=True, kw_only=True):
    """`size`: how many numbers the vector has."""

    size: Annotated[int, Between(1, 65536)]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    output: Output


class Embedding:
    """The task. Scores are the vector."""

    names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()

    def __init__(self, size: int) -> None:
        self.outputs = size
        self.gives = f"a vector of {size}"

    def measure(self, outputs: Float32Array, given: Float32Array) -> Float32Array:
        del given
        return outputs

    def read(self, scores: Sequence[float]) -> Reading:
        return Reading(embedding=tuple(scores))


def build(options: Options, given: Given) -> Embedding:
    del given
    return Embedding(options.output.size)
