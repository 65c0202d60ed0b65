"""The one file that speaks to the TFLite runtime: ai-edge-litert, or tflite-runtime where that has no wheel.

Measured (docs/decisions/0001): set_tensor, invoke, get_tensor costs 0.9 us over the bare invoke, views and the
signature runner more. One thread by default: two made small int8 models 6 to 14 times slower on tflite-runtime.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeagent.errors import BundleFault, InferenceFault

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

_STDERR = 2
_QUANTIZED = (np.int8, np.uint8)
_OUT_OF_MEMORY = ("", "std::bad_alloc")  # LiteRT's RuntimeError has no text, tflite-runtime's this
_UNRESOLVED = re.compile(r"unresolved custom op: ([\w-]+)")


class Signature(NamedTuple):
    """What the bundle says of its model: float32[samples, channels] in, one score a label out.

    `mean` and `std` are the scaling: x' = (x - mean) / std, a number a channel.
    """

    samples: int
    channels: int
    labels: int
    mean: Sequence[float]
    std: Sequence[float]


class Runtime(NamedTuple):
    """A runtime that works on this machine: `name` with its version, and its Interpreter class."""

    name: str
    interpreter: Any


def find_runtime() -> Runtime:
    """The first runtime that can construct an interpreter.

    An import proves nothing: tflite-runtime beside numpy 2 imports and then fails at the first model. An empty
    model is refused with a ValueError by a runtime that works.

    Raises:
        InferenceFault: None works; says why each does not.
    """
    reasons = []
    for load in (_litert, _tflite_runtime):
        try:
            runtime = load()
            runtime.interpreter(model_content=b"\0" * 8)
        except ValueError:
            return runtime
        except (ImportError, SystemError, AttributeError) as e:
            reasons.append(f"{load.__name__.strip('_')}: {e}")
    raise InferenceFault(
        "no TFLite runtime works here (" + "; ".join(reasons) + ")",
        hint="Install ai-edge-litert, or on 32-bit Arm tflite-runtime with numpy<2",
    )


def _litert() -> Runtime:
    import ai_edge_litert
    from ai_edge_litert.interpreter import Interpreter

    return Runtime(f"ai-edge-litert {ai_edge_litert.__version__}", Interpreter)


def _tflite_runtime() -> Runtime:
    import tflite_runtime
    from tflite_runtime.interpreter import Interpreter

    return Runtime(f"tflite-runtime {tflite_runtime.__version__}", Interpreter)


class TfliteModel:
    """One model, loaded and ready.

    Args:
        runtime: From `find_runtime`.
        model: The .tflite file's bytes, whose hash has been checked: tflite-runtime does not verify what it loads.
        signature: What the bundle promises; the model must fit it.
        threads: At least 1.

    Raises:
        BundleFault: The bytes are no model, need an operator that is not there, or do not fit the signature.
    """

    def __init__(self, runtime: Runtime, model: bytes, signature: Signature, threads: int = 1) -> None:
        self.backend = runtime.name
        try:
            self._interpreter = runtime.interpreter(model_content=model, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, MemoryError) as e:
            raise _refusal(runtime.name, str(e).strip()) from e
        self._input = _Quantizer(_only(self._interpreter.get_input_details(), "input"), signature)
        self._output = _Dequantizer(_only(self._interpreter.get_output_details(), "output"), signature)

    def predict(self, values: Float32Array) -> Float32Array:
        """Scores float32[labels] for float32[samples, channels] in the bundle's units, none of them NaN.

        Raises:
            InferenceFault: The runtime failed.
        """
        tensor = self._input.convert(values)
        try:
            self._interpreter.set_tensor(self._input.index, tensor)
            self._interpreter.invoke()
            return self._output.convert(self._interpreter.get_tensor(self._output.index))
        except (ValueError, RuntimeError, MemoryError) as e:
            raise InferenceFault(f"{self.backend} failed: {e}") from e


class _Quantizer:
    """Scales and quantizes as training did, into buffers that are made once.

    The arithmetic is that of LiteRT's own QUANTIZE kernel, bit for bit: times the inverse of the scale in
    float32, round half to even, add the zero point, clip.
    """

    def __init__(self, details: dict[str, Any], signature: Signature) -> None:
        shape = (signature.samples, signature.channels)
        _must_hold(details, "input", shape[0] * shape[1], f"{shape[0]} samples of {shape[1]} channels")
        self.index = details["index"]
        # Whole arrays, not one row to broadcast: 2.7 us an operation on 100 x 6 instead of 8.
        self._mean = np.tile(np.array(signature.mean, dtype=np.float32), (signature.samples, 1))
        self._std = np.tile(np.array(signature.std, dtype=np.float32), (signature.samples, 1))
        self._scaled = np.empty(shape, dtype=np.float32)
        self._tensor = np.empty(details["shape"], dtype=details["dtype"])
        self._flat = self._tensor.reshape(shape)
        self._quantized = details["dtype"] in _QUANTIZED
        if self._quantized:
            scale, self._zero_point = _scale_and_zero(details)
            self._inverse_scale = np.float32(1) / scale
            limits = np.iinfo(details["dtype"])
            self._low, self._high = np.float32(limits.min), np.float32(limits.max)

    def convert(self, values: Float32Array) -> Any:
        """The input tensor for float32[samples, channels]."""
        x = self._scaled
        np.subtract(values, self._mean, out=x)
        np.divide(x, self._std, out=x)
        if self._quantized:
            np.multiply(x, self._inverse_scale, out=x)
            np.rint(x, out=x)
            np.add(x, self._zero_point, out=x)
            np.maximum(x, self._low, out=x)  # np.clip takes 21 us for what these do in 6
            np.minimum(x, self._high, out=x)
        np.copyto(self._flat, x, casting="unsafe")
        return self._tensor


class _Dequantizer:
    """Turns the output tensor into float32 scores."""

    def __init__(self, details: dict[str, Any], signature: Signature) -> None:
        _must_hold(details, "output", signature.labels, f"a score for each of {signature.labels} labels")
        self.index = details["index"]
        self._scale, self._zero_point = np.float32(1), np.float32(0)
        if details["dtype"] in _QUANTIZED:
            self._scale, self._zero_point = _scale_and_zero(details)

    def convert(self, tensor: Any) -> Float32Array:
        """Scores float32[labels]."""
        scores: Float32Array = tensor.reshape(-1).astype(np.float32)
        scores -= self._zero_point
        scores *= self._scale
        return scores


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Silence descriptor 2: the runtime announces its delegates there, and has no switch for it."""
    saved = os.dup(_STDERR)
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, _STDERR)
        yield
    finally:
        os.dup2(saved, _STDERR)
        os.close(silence)
        os.close(saved)


def _refusal(runtime: str, text: str) -> BundleFault:
    """The runtime's words on a model that it does not load, and what to do about it."""
    if text in _OUT_OF_MEMORY:
        return BundleFault(f"{runtime} cannot load the model: it needs more memory than a model may have")
    unresolved = _UNRESOLVED.search(text)
    if unresolved is None:
        hint = "Copy the bundle again, or convert the model for this runtime"
        return BundleFault(f"{runtime} cannot load the model ({text})", hint=hint)
    operator = unresolved[1]
    hint = "Take a variant for the CPU, or convert the model with built-in operators only"
    if operator == "edgetpu-custom-op":
        hint = "The file is compiled for the Edge TPU: take a variant for the CPU"
    return BundleFault(f"the model needs the operator {operator}, which {runtime} does not have", hint=hint)


def _only(details: list[dict[str, Any]], what: str) -> dict[str, Any]:
    if len(details) != 1:
        raise BundleFault(f"the model has {len(details)} {what}s", expected="one")
    if details[0]["dtype"] not in (*_QUANTIZED, np.float32):
        found = np.dtype(details[0]["dtype"]).name
        raise BundleFault(f"the model's {what} is {found}", expected="int8, uint8 or float32")
    return details[0]


def _must_hold(details: dict[str, Any], what: str, count: int, meaning: str) -> None:
    shape = [int(n) for n in details["shape"]]
    if int(np.prod(shape)) != count:
        raise BundleFault(
            f"the model's {what} has the shape {shape}",
            expected=f"{count} values ({meaning})",
            hint="Make bundle.yaml say what the model was trained on",
        )


def _scale_and_zero(details: dict[str, Any]) -> tuple[np.float32, np.float32]:
    parameters = details["quantization_parameters"]
    if len(parameters["scales"]) != 1:
        raise BundleFault(
            f"tensor {details['name']} has {len(parameters['scales'])} scales",
            expected="one for the whole tensor",
        )
    return np.float32(parameters["scales"][0]), np.float32(parameters["zero_points"][0])
