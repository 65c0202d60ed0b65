"""Which model files run here, and what to do about the others. Opens no file and imports no runtime."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from edgeagent.errors import ConfigFault

TFLITE, ONNX = ".tflite", ".onnx"
BY_HAND = "A bundle is a folder with the .onnx file and a bundle.yaml: `edgeagent model schema` has its keys"
_SAVED_MODEL = "saved_model.pb"

_CURES = {
    "": "A folder is a SavedModel: convert it with tf.lite.TFLiteConverter.from_saved_model(FOLDER)",
    ".pb": "Convert the SavedModel that it is of with tf.lite.TFLiteConverter.from_saved_model(FOLDER)",
    ".h5": "Load it with Keras and convert it with tf.lite.TFLiteConverter.from_keras_model(MODEL)",
    ".pt": "Load it with PyTorch and convert it with torch.onnx.export(...), or litert_torch.convert(...)",
    ".mlmodel": "Core ML is Apple's alone: export the network that it was made from to .tflite or .onnx",
}
_LIKE = {".keras": ".h5", ".pth": ".pt", ".ckpt": ".pt", ".safetensors": ".pt", ".mlpackage": ".mlmodel"}


def refuse_foreign(file: str, where: str = "file") -> None:
    """Raises ConfigFault, for a key or a path, unless a model file of this name can run here."""
    suffix = Path(file).suffix.lower()
    if suffix not in (TFLITE, ONNX):
        cure = _CURES.get(_LIKE.get(suffix, suffix), "Convert the model")
        raise ConfigFault(
            "not a model that runs here", where=where, expected="a .tflite or .onnx file", hint=cure
        )


def way_to_bundle(path: Path) -> str:
    """How to come to a bundle from a model that was named in its place; "" if it looks like none."""
    if os.path.isfile(path / _SAVED_MODEL):
        return f"{_CURES['']}, then: edgeagent model new"
    suffix = path.suffix.lower()
    if suffix == TFLITE:
        return f"That is a model's file, and a bundle a folder around one: edgeagent model new {path}"
    if suffix == ONNX:
        return BY_HAND
    cure = _CURES.get(_LIKE.get(suffix, suffix)) if suffix else None
    return f"{cure}, then: edgeagent model new" if cure else ""


def has_runtime(file: Path) -> bool:
    """Whether what runs such a file is installed; that a TFLite runtime is goes without saying."""
    return file.suffix.lower() != ONNX or find_spec("onnxruntime") is not None
