"""A model of any format behind one contract. Only the runtime that the model needs is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edgeagent.inference.delegates import Accelerator
from edgeagent.inference.tensors import Scored, Signature

if TYPE_CHECKING:
    from edgeagent.records import Float32Array


class Model(Protocol):
    """A model that is loaded: in the worker, or (`isolation: inline`) in the agent."""

    backend: str
    """The runtime's name and version."""

    def predict(self, values: Float32Array, state: Float32Array | None = None) -> Scored:
        """The answer to float32[samples, channels], none of them NaN: what the bundle's steps made of a window.

        `state` is what the model gave for the window before; None begins anew. Raises InferenceFault if the runtime
        failed.
        """
        ...


def open_model(name: str, data: bytes, signature: Signature, threads: int, accelerator: Accelerator) -> Model:
    """Load a model.

    Args:
        name: The file's, whose suffix says what it is.
        data: The file's bytes, whose hash has been checked.
        signature: What the bundle promises; the model must fit it.
        threads: At least 1.
        accelerator: Whose delegate or provider is to take what it can of the model.

    Raises:
        BundleFault: The bytes are no model, need an operator that is not there, or do not fit the signature.
        AcceleratorFault: The accelerator cannot be had, or does not take the model; the runtime is not installed.
        InferenceFault: No TFLite runtime works on this machine.
    """
    if name.lower().endswith(".onnx"):
        from edgeagent.inference.onnx import OnnxModel

        return OnnxModel(data, signature, threads, accelerator)
    from edgeagent.inference.tflite import TfliteModel, find_runtime

    return TfliteModel(find_runtime(), data, signature, threads, accelerator)
