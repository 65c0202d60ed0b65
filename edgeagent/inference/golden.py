"""Golden vectors: inputs with the scores that training got, run before a model may serve.

They find what a hash cannot: scaling that does not belong to the model, a runtime or delegate that computes otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeagent.errors import BundleFault

if TYPE_CHECKING:
    from edgeagent.inference.bundle import Bundle
    from edgeagent.records import Float32Array

_MOST_BYTES = 200_000_000
_CAUSES = (
    "Usual causes: mean and std in bundle.yaml are not the model's, it was quantized otherwise than golden.npz or is "
    "of another training, a delegate's library does not fit the model or the runtime, or the runtime not this NumPy"
)


class Golden(NamedTuple):
    """`inputs` float32[k, samples, channels] in the bundle's units, `outputs` float32[k, scores], as the task has them.

    So they hold preprocessing, scaling, the model and what the task makes of its numbers, all at once.
    """

    inputs: Float32Array
    outputs: Float32Array


def load_golden(bundle: Bundle) -> Golden:
    """Raises BundleFault if the file cannot be read or does not have the bundle's shapes."""
    where = str(bundle.golden.file)
    try:
        with open(bundle.golden.file, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            size_bytes = sum(member.file_size for member in arrays.zip.infolist())
            if size_bytes > _MOST_BYTES:
                raise ValueError(f"{size_bytes / 1e6:.0f} MB, and {_MOST_BYTES / 1e6:.0f} MB are enough")
            golden = Golden(arrays["inputs"].astype(np.float32), arrays["outputs"].astype(np.float32))
    except Exception as e:  # NumPy, zipfile and zlib raise a dozen kinds of bytes that were altered
        raise BundleFault(
            f"the golden vectors cannot be read ({e})",
            where=where,
            expected="the arrays inputs and outputs",
            hint="Copy the bundle again",
        ) from e
    shape, scores = (bundle.rows, len(bundle.layout.channels)), len(bundle.task.names) or bundle.task.outputs
    count = len(golden.inputs)
    if count == 0 or golden.inputs.shape != (count, *shape) or golden.outputs.shape != (count, scores):
        raise BundleFault(
            f"inputs has the shape {golden.inputs.shape} and outputs {golden.outputs.shape}",
            where=where,
            expected=f"(k, {shape[0]}, {shape[1]}) and (k, {scores}), as bundle.yaml says",
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
    k, i = np.unravel_index(int(np.argmax(np.where(np.isnan(off), np.inf, off))), off.shape)
    name = repr(bundle.task.names[i]) if bundle.task.names else f"number {i + 1}"
    raise BundleFault(
        f"{variant} fails its golden vectors: vector {k + 1} of {len(off)} gives {scores[k, i]:.3f} for {name}, "
        f"training gave {golden.outputs[k, i]:.3f}, a difference of {off[k, i]:.3f}",
        where=str(bundle.folder),
        expected=f"at most {bundle.golden.tolerance:g}",
        hint=_CAUSES,
    )
