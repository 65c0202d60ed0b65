"""A tiny int8 classifier in a bundle: 4 samples of 3 channels in, three labels out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatonnx
import numpy as np
import numpy.typing as npt
from flatmodel import CUSTOM, FLOAT32, FULLY_CONNECTED, INT8, INT32, SOFTMAX, Op, Tensor, model

from edgeagent.inference.bundle import Bundle, load_bundle
from edgeagent.inference.engine import signature
from edgeagent.inference.tflite import TfliteModel, find_runtime
from edgeagent.records import Float32Array

_WINDOW, _WEIGHTS, _BIAS, _LOGITS, _SCORES = range(5)


def classifier(*, custom_op: str = "", input_type: int = INT8) -> bytes:
    """The .tflite bytes; with `custom_op` the softmax is replaced by an operator that nobody has."""
    tensors = [
        Tensor((1, 4, 3), input_type, 0.05, 3),
        Tensor((3, 12), INT8, 0.02, 0, weights()),
        Tensor((3,), INT32, 0.001, 0, np.zeros(3, np.int32)),
        Tensor((1, 3), INT8, 0.1, 0),
        Tensor((1, 3), INT8, 1 / 256, -128),
    ]
    last = Op(CUSTOM, (_LOGITS,), (_SCORES,), custom_op) if custom_op else Op(SOFTMAX, (_LOGITS,), (_SCORES,))
    ops = [Op(FULLY_CONNECTED, (_WINDOW, _WEIGHTS, _BIAS), (_LOGITS,)), last]
    return model(tensors, ops, [_WINDOW], [_SCORES])


def float_classifier() -> bytes:
    """What the classifier was before it was quantized."""
    tensors = [
        Tensor((1, 4, 3), FLOAT32),
        Tensor((3, 12), FLOAT32, data=weights().astype(np.float32) * np.float32(0.02)),
        Tensor((3,), FLOAT32, data=np.zeros(3, np.float32)),
        Tensor((1, 3), FLOAT32),
        Tensor((1, 3), FLOAT32),
    ]
    ops = [Op(FULLY_CONNECTED, (_WINDOW, _WEIGHTS, _BIAS), (_LOGITS,)), Op(SOFTMAX, (_LOGITS,), (_SCORES,))]
    return model(tensors, ops, [_WINDOW], [_SCORES])


def qdq_classifier(*, takes_int8: bool = False) -> bytes:
    """The classifier as an .onnx exporter writes it: the same numbers, between Quantize and Dequantize.

    `takes_int8`: without the first Quantize, so that integers go in.
    """
    scales = {"x": (0.05, 3), "w": (0.02, 0), "y": (0.1, 0)}
    constants: dict[str, npt.NDArray[Any]] = {"w": weights(), "flat": np.array([1, 12], np.int64)}
    for name, (scale, zero) in scales.items():
        constants |= {f"{name}_s": np.array(scale, np.float32), f"{name}_z": np.array(zero, np.int8)}

    def there_and_back(name: str, source: str) -> list[flatonnx.Node]:
        known = [f"{name}_s", f"{name}_z"]
        quantize = flatonnx.Node("QuantizeLinear", [source, *known], [f"{name}_q"])
        return [quantize, flatonnx.Node("DequantizeLinear", [f"{name}_q", *known], [f"{name}_d"])]

    nodes = [
        *there_and_back("x", "window"),
        flatonnx.Node("Reshape", ["x_d", "flat"], ["row"]),
        flatonnx.Node("DequantizeLinear", ["w", "w_s", "w_z"], ["w_d"]),
        flatonnx.Node("Gemm", ["row", "w_d"], ["logits"], {"transB": 1}),
        *there_and_back("y", "logits"),
        flatonnx.Node("Softmax", ["y_d"], ["scores"]),
    ]
    window = flatonnx.Value("window", flatonnx.FLOAT, (1, 4, 3))
    if takes_int8:
        del nodes[0]
        window = window._replace(name="x_q", type=flatonnx.INT8)
    return flatonnx.model(nodes, [window], [flatonnx.Value("scores", flatonnx.FLOAT, (1, 3))], constants)


def weights() -> npt.NDArray[np.int8]:
    """int8[3, 12]; one step is worth 0.02."""
    return np.random.default_rng(7).integers(-127, 128, (3, 12)).astype(np.int8)


def windows(count: int = 5) -> Float32Array:
    """float32[count, 4, 3] of what the classifier's channels may hold."""
    return np.random.default_rng(11).normal(10.0, 4.0, (count, 4, 3)).astype(np.float32)


YAML = """\
name: tiny
version: "1.0"
task: classification
input:
  channels: [{{name: x, unit: m/s2}}, {{name: y, unit: m/s2}}, {{name: z, unit: m/s2}}]
  rate: 4 Hz
  window: 1 s
  hop: 0.5 s
  max_missing: 0.25
  scaling: {{mean: [10.0, 10.0, 10.0], std: [4.0, 4.0, 4.0]}}
output: {{labels: [rest, walk, run], scores: probabilities}}
variants: [{variants}]
golden: {{file: golden.npz, tolerance: 0.05}}
licence: Apache-2.0
"""


def write_bundle(
    folder: Path,
    models: Sequence[bytes] = (),
    *,
    accelerators: Sequence[str] = ("cpu",),
    suffix: str = "tflite",
) -> Bundle:
    """A bundle whose variants are these files (default: the good classifier), with the classifier's golden vectors.

    `accelerators` are those of the variants, over and over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for i, data in enumerate(models or [classifier()]):
        (folder / f"model_{i}.{suffix}").write_bytes(data)
        made_for = accelerators[i % len(accelerators)]
        digest = hashlib.sha256(data).hexdigest()
        entries.append(f"{{file: model_{i}.{suffix}, sha256: {digest}, accelerator: {made_for}}}")
    (folder / "bundle.yaml").write_text(YAML.format(variants=", ".join(entries)))
    (folder / "golden.npz").touch()
    bundle = load_bundle(folder)
    runtime = TfliteModel(find_runtime(), classifier(), signature(bundle))
    outputs = np.array([runtime.predict(one).scores for one in windows()])
    np.savez(folder / "golden.npz", inputs=windows(), outputs=outputs)
    return bundle
