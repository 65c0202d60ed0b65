"""The one file that speaks to ONNX Runtime: float models, and int8 models in the QDQ form.

That has floats at its ends, or integers whose scale stands in the DequantizeLinear and QuantizeLinear that they meet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import BundleFault, InferenceFault
from edgeagent.inference.delegates import CPU, Accelerator
from edgeagent.inference.faults import AcceleratorFault
from edgeagent.inference.rounding import Rounding, quotient_to_even
from edgeagent.inference.tensors import Codec, Scored, Signature, Tensor, settled

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(double)": np.float64,
}
_ERRORS_ONLY = 3
_ROUNDING = Rounding(quotient_to_even, quotient_to_even)
_ON_THE_CPU = "CPUExecutionProvider"
_WHEELS = {
    "CUDAExecutionProvider": "onnxruntime-gpu",
    "TensorrtExecutionProvider": "onnxruntime-gpu",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "QNNExecutionProvider": "onnxruntime-qnn",
    "MIGraphXExecutionProvider": "onnxruntime-migraphx",
    "CANNExecutionProvider": "onnxruntime-cann",
}
"""The packages with ONNX Runtime and a provider that the plain one does not have, as of November 2026."""


class OnnxModel:
    """One model, loaded and ready.

    Args:
        model: The .onnx file's bytes, whose hash has been checked.
        signature: What the bundle promises; the model must fit it.
        threads: At least 1.
        accelerator: Whose provider is to take what it can of the model; the CPU takes the rest.

    Raises:
        AcceleratorFault: ONNX Runtime is not installed, or has no such provider, or that one does not start.
        BundleFault: The bytes are no model, or one that does not fit the signature.
    """

    def __init__(
        self, model: bytes, signature: Signature, threads: int, accelerator: Accelerator = CPU
    ) -> None:
        onnxruntime = _runtime()
        self.backend = f"onnxruntime {onnxruntime.__version__}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = _ERRORS_ONLY
        provider = accelerator.provider or _ON_THE_CPU
        _must_be_there(provider, onnxruntime.get_available_providers(), self.backend)
        providers = {provider: dict(accelerator.options)} | {_ON_THE_CPU: {}}
        try:
            self._session = onnxruntime.InferenceSession(model, options, list(providers.items()))
        except Exception as e:
            raise _refusal(f"{self.backend} cannot load the model ({_first_line(e)})", provider) from e
        _must_have_started(provider, self._session.get_providers())
        self._session.disable_fallback()
        inputs = settled([_tensor(one) for one in self._session.get_inputs()], signature)
        names = [one.name for one in self._session.get_outputs()]
        # Only a run tells the shapes of the outputs.
        results = self._run(names, {t.name: np.zeros(t.shape, t.dtype) for t in inputs})
        outputs = [Tensor(n, r.dtype, r.shape) for n, r in zip(names, results, strict=True)]
        ends = _with_scales([*inputs, *outputs], model)
        inputs, outputs = ends[: len(inputs)], ends[len(inputs) :]
        self._codec = Codec(inputs, outputs, signature, _ROUNDING)
        self._inputs = [tensor.name for tensor in inputs]
        self._outputs = [names[i] for i in self._codec.wanted]

    def predict(self, values: Float32Array, state: Float32Array | None = None) -> Scored:
        feed = dict(zip(self._inputs, self._codec.encode(values, state), strict=True))
        return self._codec.decode(self._run(self._outputs, feed))

    def _run(self, outputs: list[str], feed: dict[str, Any]) -> list[Any]:
        try:
            results: list[Any] = self._session.run(outputs, feed)
        except Exception as e:
            raise InferenceFault(f"{self.backend} failed: {_first_line(e)}") from e
        return results


def bare(model: bytes, signature: Signature, threads: int) -> Callable[[], object]:
    """The runtime's own run of a model, its inputs ready: what `model bench` compares with. Raises as `OnnxModel`."""
    one = OnnxModel(model, signature, threads)
    nothing = np.zeros((signature.samples, signature.channels), np.float32)
    feed = dict(zip(one._inputs, one._codec.encode(nothing, None), strict=True))
    return lambda: one._session.run(one._outputs, feed)


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as e:
        from edgeagent.config.parts import pip_install  # a worker goes without

        raise AcceleratorFault(
            f"an .onnx model needs ONNX Runtime, which is not here ({e})",
            hint=f"Install it: {pip_install('edgeagent[onnx]')}",
        ) from e
    return onnxruntime


def _refusal(words: str, provider: str) -> BundleFault | AcceleratorFault:
    if provider != _ON_THE_CPU:
        hint = "The CPU may still take it; see what its vendor says of options and operators"
        return AcceleratorFault(f"{words}, with {provider}", hint=hint)
    return BundleFault(words, hint="Copy the bundle again, or export the model for this runtime")


def _must_be_there(provider: str, available: list[str], backend: str) -> None:
    if provider not in available:
        wheel = _WHEELS.get(provider)
        hint = "No package has it that we know: its vendor says how to build ONNX Runtime with it"
        if wheel:
            hint = f"pip uninstall onnxruntime && pip install {wheel}: that has it, where there is one for this machine"
        raise AcceleratorFault(
            f"{backend} has no {provider} here", expected=f"one of {', '.join(available)}", hint=hint
        )


def _must_have_started(provider: str, started: list[str]) -> None:
    """A provider that does not find its device or libraries is left out, and the CPU does it all."""
    if provider not in started:
        raise AcceleratorFault(
            f"{provider} does not start: its device or its libraries are not there",
            hint="The lines above in the log are its own",
        )


def _tensor(described: Any) -> Tensor:
    if described.type not in _TYPES:
        raise BundleFault(
            f"the model's input {described.name} is a {described.type}", expected="a tensor of numbers"
        )
    shape = tuple(n if isinstance(n, int) and n >= 0 else -1 for n in described.shape)
    return Tensor(described.name, np.dtype(_TYPES[described.type]), shape)


def _with_scales(tensors: list[Tensor], model: bytes) -> list[Tensor]:
    """Integers with what they are worth; ONNX Runtime does not tell, and a byte of an image is worth itself."""
    if all(tensor.dtype.kind == "f" for tensor in tensors):
        return tensors
    from edgeagent.inference.onnx_file import describe_onnx  # most models go without

    facts = describe_onnx(model)
    known = {one.name: one for one in (*facts.inputs, *facts.outputs)}
    scaled = [t._replace(scales=known[t.name].scales, zero_points=known[t.name].zero_points) for t in tensors]
    for tensor in scaled:
        _must_have_a_scale(tensor)
    return scaled


def _must_have_a_scale(tensor: Tensor) -> None:
    if tensor.dtype.kind in "iu" and tensor.dtype != np.uint8 and not tensor.scales:
        raise BundleFault(
            f"{tensor.name} is {tensor.dtype.name}, and the .onnx file does not say by what scale",
            expected="float32, or one scale in the DequantizeLinear or QuantizeLinear that it meets",
            hint="Quantize to the QDQ form, and leave QuantizeLinear and DequantizeLinear at its ends",
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
