"""What is in a model file; in a .tflite, by what the runtime says of it before it has made room for the tensors.

So it also tells of a model whose operators this machine does not have. It runs in this process: the bytes must be those
that a hash vouches for, or the user's own.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from edgeagent.errors import BundleFault
from edgeagent.inference.bundle import Variant
from edgeagent.inference.facts import ModelFacts, TensorFacts
from edgeagent.inference.formats import ONNX
from edgeagent.inference.onnx_file import describe_onnx
from edgeagent.inference.tflite import find_runtime, quiet_stderr

_IDENTIFIER = b"TFL3"  # at 4, by the schema's file_identifier


def describe_variant(variant: Variant) -> ModelFacts:
    """Of either format. Raises BundleFault or InferenceFault, as `describe` and `Variant.read` do."""
    tell = describe_onnx if variant.file.suffix.lower() == ONNX else describe
    return tell(variant.read(), str(variant.file))


def describe(model: bytes, where: str = "") -> ModelFacts:
    """Raises BundleFault if it is no .tflite file that the runtime reads, InferenceFault if there is no runtime."""
    if model[4:8] != _IDENTIFIER:
        raise BundleFault(
            "it is no TFLite model",
            where=where,
            expected="a .tflite file",
            hint="Convert it: TensorFlow and Keras by tf.lite.TFLiteConverter, PyTorch by litert-torch",
        )
    runtime = find_runtime()
    try:
        with quiet_stderr():
            interpreter = runtime.interpreter(model_content=model)
    except (ValueError, RuntimeError, MemoryError) as e:
        what = f"{runtime.name} cannot read the model ({e})"
        raise BundleFault(what, where=where, hint="Copy it again, or convert it again") from e
    return ModelFacts(
        size_bytes=len(model),
        inputs=[_facts(details) for details in interpreter.get_input_details()],
        outputs=[_facts(details) for details in interpreter.get_output_details()],
        operators=_counted(op["op_name"] for op in interpreter._get_ops_details()),
        types=_counted(np.dtype(t["dtype"]).name for t in interpreter.get_tensor_details()),
    )


def _counted(names: Any) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _facts(details: dict[str, Any]) -> TensorFacts:
    quantization = details["quantization_parameters"]
    return TensorFacts(
        name=details["name"],
        dtype=np.dtype(details["dtype"]).name,
        shape=details["shape_signature"].tolist(),
        scales=quantization["scales"].tolist(),
        zero_points=quantization["zero_points"].tolist(),
    )
