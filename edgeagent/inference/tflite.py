"""The one file that speaks to the TFLite runtime: ai-edge-litert, or tflite-runtime where that has no wheel.

Measured (docs/decisions/0001): set_tensor, invoke, get_tensor costs 0.9 us over the bare invoke, views and the
signature runner more. One thread by default: two made small int8 models 6 to 14 times slower on tflite-runtime.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeagent.errors import BundleFault, InferenceFault
from edgeagent.inference import edgetpu
from edgeagent.inference.delegates import CPU, Accelerator, load_delegate
from edgeagent.inference.faults import AcceleratorFault
from edgeagent.inference.rounding import Rounding, exact_quotient_away, product_to_even, quotient_away
from edgeagent.inference.tensors import Codec, Scored, Signature, Tensor, settled

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

_STDERR = 2
_OUT_OF_MEMORY = ("", "std::bad_alloc")  # LiteRT's RuntimeError has no text, tflite-runtime's this
_DELEGATE_FAILED = "Restored original execution plan"
_UNRESOLVED = re.compile(r"unresolved custom op: ([\w-]+)")


class Runtime(NamedTuple):
    """A runtime that works on this machine: `name` with its version, its Interpreter class, its loader of delegates.

    `rounding` is that of its QUANTIZE kernel.
    """

    name: str
    interpreter: Any
    load_delegate: Any
    rounding: Rounding


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
    from ai_edge_litert.interpreter import Interpreter, load_delegate

    rounding = Rounding(product_to_even, quotient_away)
    return Runtime(f"ai-edge-litert {ai_edge_litert.__version__}", Interpreter, load_delegate, rounding)


def _tflite_runtime() -> Runtime:
    import tflite_runtime
    from tflite_runtime.interpreter import Interpreter, load_delegate

    rounding = Rounding(exact_quotient_away, quotient_away)
    return Runtime(f"tflite-runtime {tflite_runtime.__version__}", Interpreter, load_delegate, rounding)


class TfliteModel:
    """One model, loaded and ready.

    Args:
        runtime: From `find_runtime`.
        model: The .tflite file's bytes, whose hash has been checked: tflite-runtime does not verify what it loads.
        signature: What the bundle promises; the model must fit it.
        threads: At least 1.
        accelerator: Whose delegate is to take what it can of the model.

    Raises:
        BundleFault: The bytes are no model, need an operator that is not there, or do not fit the signature.
        AcceleratorFault: The delegate cannot be loaded, or does not take the model.
    """

    def __init__(
        self,
        runtime: Runtime,
        model: bytes,
        signature: Signature,
        threads: int = 1,
        accelerator: Accelerator = CPU,
    ) -> None:
        self.backend = runtime.name
        delegates = []
        if accelerator.library:
            delegates.append(load_delegate(accelerator, runtime.load_delegate))

        def interpreter() -> Any:
            made = runtime.interpreter(
                model_content=model, num_threads=threads, experimental_delegates=delegates
            )
            if delegates:
                _must_be_used(made, accelerator)
            _settle_shapes(made, signature)
            made.allocate_tensors()
            return made

        try:
            self._interpreter = interpreter()
        except (ValueError, RuntimeError, MemoryError) as e:
            raise _refusal(runtime.name, str(e).strip()) from e
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        tensors = [_tensor(d) for d in inputs], [_tensor(d) for d in outputs]
        self._codec = Codec(*tensors, signature, runtime.rounding)
        self._inputs = [details["index"] for details in inputs]
        self._outputs = [outputs[i]["index"] for i in self._codec.wanted]
        # What a model keeps in variables is gone for good only with its interpreter.
        self._anew = interpreter if signature.variables else None

    def predict(self, values: Float32Array, state: Float32Array | None = None) -> Scored:
        """As `backends.Model` has it. Raises InferenceFault if the runtime failed."""
        try:
            if state is None and self._anew is not None:
                with quiet_stderr():
                    self._interpreter = self._anew()
            runtime = self._interpreter
            for index, tensor in zip(self._inputs, self._codec.encode(values, state), strict=True):
                runtime.set_tensor(index, tensor)
            runtime.invoke()
            return self._codec.decode([runtime.get_tensor(index) for index in self._outputs])
        except (ValueError, RuntimeError, MemoryError) as e:
            raise InferenceFault(f"{self.backend} failed: {e}") from e


def _settle_shapes(interpreter: Any, signature: Signature) -> None:
    """Give free dimensions their size, once."""
    details = interpreter.get_input_details()
    inputs = [_tensor(d)._replace(shape=tuple(map(int, d["shape_signature"]))) for d in details]
    for index, before, after in zip(
        (d["index"] for d in details), inputs, settled(inputs, signature), strict=True
    ):
        if before.shape != after.shape:
            interpreter.resize_tensor_input(index, after.shape)


def _must_be_used(interpreter: Any, accelerator: Accelerator) -> None:
    """A delegate that takes no operator leaves all to the CPU, and says nothing."""
    if all(op["op_name"] != "DELEGATE" for op in interpreter._get_ops_details()):
        raise AcceleratorFault(
            f"{accelerator.library} takes none of the model's operators",
            hint="Convert or compile the model for it, as its vendor says",
        )


def _tensor(details: dict[str, Any]) -> Tensor:
    quantization = details["quantization_parameters"]
    return Tensor(
        name=details["name"],
        dtype=np.dtype(details["dtype"]),
        shape=tuple(map(int, details["shape"])),
        scales=quantization["scales"].tolist(),
        zero_points=quantization["zero_points"].tolist(),
        axis=quantization["quantized_dimension"],
    )


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


def _refusal(runtime: str, text: str) -> BundleFault | AcceleratorFault:
    """The runtime's words on a model that it does not load, and what to do about it."""
    if text.startswith(_DELEGATE_FAILED):
        hint = "The lines above in the log are the delegate's: does it fit this runtime, and the model?"
        return AcceleratorFault(f"the delegate does not take the model ({text})", hint=hint)
    if text in _OUT_OF_MEMORY:
        return BundleFault(f"{runtime} cannot load the model: it needs more memory than a model may have")
    unresolved = _UNRESOLVED.search(text)
    if unresolved is None:
        hint = "Copy the bundle again, or convert the model for this runtime"
        return BundleFault(f"{runtime} cannot load the model ({text})", hint=hint)
    operator = unresolved[1]
    hint = "Take a variant for the CPU, or convert the model with built-in operators only"
    if operator == "edgetpu-custom-op":
        hint = f"It is compiled for the Edge TPU: bundle.yaml must say so. {edgetpu.advice()}"
    return BundleFault(f"the model needs the operator {operator}, which {runtime} does not have", hint=hint)
