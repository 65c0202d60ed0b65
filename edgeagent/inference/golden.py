"""Golden vectors: inputs with the scores that training got, run before a model may serve.

They find what a hash cannot: scaling that does not belong to the model, a runtime or delegate that computes otherwise.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeagent.errors import BundleFault

if TYPE_CHECKING:
    from edgeagent.inference.bundle import Bundle
    from edgeagent.records import Float32Array

_CAUSES = (
    "Usual causes: mean and std in bundle.yaml are not the model's, the model and golden.npz come from two trainings, "
    "or the runtime computes this model wrongly"
)


class Golden(NamedTuple):
    """`inputs` float32[k, samples, channels] in the bundle's units, `outputs` float32[k, labels]."""

    inputs: Float32Array
    outputs: Float32Array


def load_golden(bundle: Bundle) -> Golden:
    """Raises BundleFault if the file cannot be read or does not have the bundle's shapes."""
    where = str(bundle.golden.file)
    try:
        with open(bundle.golden.file, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            golden = Golden(arrays["inputs"].astype(np.float32), arrays["outputs"].astype(np.float32))
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as e:
        raise BundleFault(
            f"the golden vectors cannot be read ({e})",
            where=where,
            expected="the arrays inputs and outputs",
            hint="Copy the bundle again",
        ) from e
    shapes = (bundle.rows, len(bundle.layout.channels)), (len(bundle.labels),)
    count = len(golden.inputs)
    if (
        count == 0
        or golden.inputs.shape != (count, *shapes[0])
        or golden.outputs.shape != (count, *shapes[1])
    ):
        raise BundleFault(
            f"inputs has the shape {golden.inputs.shape} and outputs {golden.outputs.shape}",
            where=where,
            expected=f"(k, {shapes[0][0]}, {shapes[0][1]}) and (k, {shapes[1][0]}), as bundle.yaml says",
            hint="Make the golden vectors again with train.py",
        )
    return golden


def check_golden(bundle: Bundle, variant: str, predict: Callable[[Float32Array], Float32Array]) -> None:
    """Run them all. Raises BundleFault, with the largest difference, if a score is off by more than the tolerance."""
    golden = load_golden(bundle)
    scores = np.array([predict(one) for one in golden.inputs])
    off = np.abs(scores - golden.outputs)
    if bool((off <= bundle.golden.tolerance).all()):  # a NaN is off, too
        return
    k, label = np.unravel_index(int(np.argmax(np.where(np.isnan(off), np.inf, off))), off.shape)
    raise BundleFault(
        f"{variant} fails its golden vectors: vector {k + 1} of {len(off)} gives {scores[k, label]:.3f} for "
        f"{bundle.labels[label]!r}, training gave {golden.outputs[k, label]:.3f}, a difference of {off[k, label]:.3f}",
        where=str(bundle.folder),
        expected=f"at most {bundle.golden.tolerance:g}",
        hint=_CAUSES,
    )
