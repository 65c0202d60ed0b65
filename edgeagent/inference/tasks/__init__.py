"""What a model's numbers mean: one task a file.

`task: regression` in a bundle is `edgeagent/inference/tasks/regression.py`. A task's file has two names:

    Options                                   # the keys of bundle.yaml that it alone has: `output:`
    def build(options, given: Given) -> Task  # ConfigFault if they do not fit what the model is given
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from edgeagent.records import Float32Array, Reading


class Outputs(msgspec.Struct, frozen=True, kw_only=True):
    """`tensors`: where a model has several outputs, those that are meant, in their order."""

    tensors: list[str] = []


class Given(NamedTuple):
    """What the model is given: rows of channels, each channel less its mean, divided by its std."""

    rows: int
    mean: Sequence[float]
    std: Sequence[float]


class Task(Protocol):
    """`outputs` is how many numbers the model must give, `facts` what rules may name (`motion.label`).

    `names` has a name for each of the scores, where they have any; `labels` all that a label may be; `gives` says in
    a few words what comes out.
    """

    @property
    def outputs(self) -> int: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def facts(self) -> tuple[str, ...]: ...

    @property
    def gives(self) -> str: ...

    def measure(self, outputs: Float32Array, given: Float32Array) -> Float32Array:
        """The scores float32[k] from what the model gave, float32[outputs], for float32[rows, channels] before scaling.

        In the model's thread.
        """
        ...

    def read(self, scores: Sequence[float]) -> Reading:
        """What they mean. In the core."""
        ...
