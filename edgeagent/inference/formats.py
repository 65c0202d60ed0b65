"""Which model files run here, and what to do about the others. Opens no file and imports no runtime."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from edgeagent.errors import ConfigFault

TFLITE, ONNX = ".tflite", ".onnx"

_CURES = {
    "": "A folder is a SavedModel: convert it with tf.lite.TFLiteConverter.from_saved_model(FOLDER)",
    ".pb": "Convert the SavedModel that it is of with tf.lite.TFLiteConverter.from_saved_model(FOLDER)",
    ".h5": "Load it with Keras and convert it with tf.lite.TFLiteConverter.from_keras_model(MODEL)",
    ".pt": "Load it with PyTorch and convert it with torch.onnx.export(...), or litert_torch.convert(...)",
    ".mlmodel": "Core ML is Apple's alone: export the network that it was made from to .tflite or .onnx",
}
_LIKE = {".keras": ".h5", ".pth": ".pt", ".ckpt": ".pt", ".safetensors": ".pt", ".mlpackage": ".mlmodel"}


def refuse_foreign(file: str) -> None:
    """Raises ConfigFault, for the key `file`, unless a model file of this name can run here."""
    suffix = Path(file).suffix.lower()
    if suffix not in (TFLITE, ONNX):
        cure = _CURES.get(_LIKE.get(suffix, suffix), "Convert the model")
        raise ConfigFault(
            "not a model that runs here", where="file", expected="a .tflite or .onnx file", hint=cure
        )


def has_runtime(file: Path) -> bool:
    """Whether what runs such a file is installed; that a TFLite runtime is goes without saying."""
    return file.suffix.lower() != ONNX or find_spec("onnxruntime") is not None
