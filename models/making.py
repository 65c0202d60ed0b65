"""What the models' training scripts share: to int8, into a bundle, and the figures into the card."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from edgeagent.inference.bundle import Bundle, load_bundle
from edgeagent.inference.engine import signature
from edgeagent.inference.tensors import scale
from edgeagent.inference.tflite import TfliteModel, find_runtime

Floats = npt.NDArray[np.float32]


class Scaling(NamedTuple):
    """x' = (x - mean) / std, a channel each: float32[channels]."""

    mean: Floats
    std: Floats

    @classmethod
    def of(cls, x: npt.NDArray[np.floating]) -> Scaling:
        """That of float[..., channels], to the digits that the bundle shows."""
        flat = x.reshape(-1, x.shape[-1]).astype(np.float64)
        return cls(flat.mean(0).astype(np.float32).round(6), flat.std(0).astype(np.float32).round(6))

    def __call__(self, x: Floats) -> Floats:
        scaled: Floats = scale(x, self.mean, self.std)
        return scaled


def quantise(model: keras.Model, calibration: Floats) -> bytes:
    """Weights and activations as int8; `calibration` float32[n, ...] is what ranges are taken from, scaled.

    The model takes one window at a time: no dynamic shapes for the converter.
    """

    def one_by_one() -> Iterator[list[Floats]]:
        for window in calibration:
            yield [window[None]]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = one_by_one
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    flatbuffer: bytes = converter.convert()
    return flatbuffer


def variant(file: Path, flatbuffer: bytes) -> dict[str, Any]:
    """Write the model; its entry under `variants`."""
    file.write_bytes(flatbuffer)
    return {"file": file.name, "sha256": hashlib.sha256(flatbuffer).hexdigest(), "accelerator": "cpu"}


def write_yaml(file: Path, bundle: Mapping[str, Any]) -> None:
    """`bundle.yaml`, in the order in which one reads it."""
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    with file.open("w") as f:
        yaml.dump(bundle, f)


def on_one_line(value: dict[str, Any] | list[Any]) -> CommentedMap | CommentedSeq:
    """The same, to be written as {a: b} or [a, b]."""
    flow = CommentedMap(value) if isinstance(value, dict) else CommentedSeq(value)
    flow.fa.set_flow_style()
    return flow


class Int8Model:
    """The bundle that is shipped, run by the agent's own code: preprocessing, scaling, model and task."""

    def __init__(self, folder: Path) -> None:
        (folder / "golden.npz").touch()  # it is made with this
        self.bundle: Bundle = load_bundle(folder)
        flatbuffer = self.bundle.variants[0].read()
        self._model = TfliteModel(find_runtime(), flatbuffer, signature(self.bundle))

    def scores(self, windows: Floats) -> Floats:
        """float32[n, scores] of float32[n, rows, channels] in the bundle's units."""
        return np.stack([self._score(window) for window in windows])

    def _score(self, window: Floats) -> Floats:
        prepared = self.bundle.chain(window)
        return self.bundle.task.measure(self._model.predict(prepared).scores, prepared)


def invoke_us(flatbuffer: bytes, count: int = 3000) -> float:
    """The median of `count` bare invokes on one thread, in us."""
    bare = find_runtime().interpreter(model_content=flatbuffer, num_threads=1)
    bare.allocate_tensors()
    took_ns = []
    for _ in range(count):
        start_ns = time.perf_counter_ns()
        bare.invoke()
        took_ns.append(time.perf_counter_ns() - start_ns)
    return float(np.median(took_ns)) / 1000


def write_golden(folder: Path, inputs: Floats, outputs: Floats) -> None:
    np.savez_compressed(folder / "golden.npz", inputs=inputs, outputs=outputs)


def write_baseline(folder: Path, baseline: Mapping[str, Any]) -> None:
    (folder / "baseline.json").write_text(json.dumps(baseline, indent=1) + "\n")


def channel_baseline(unit: str, values: Floats) -> dict[str, Any]:
    """What drift of a channel is measured against: mean, standard deviation and deciles of float32[n]."""
    deciles = np.quantile(values, np.linspace(0, 1, 11))
    return {
        "unit": unit,
        "mean": round(float(values.mean(dtype=np.float64)), 5),
        "std": round(float(values.std(dtype=np.float64)), 5),
        "deciles": deciles.round(5).tolist(),
    }


def put_figures(card: Path, lines: Sequence[str]) -> None:
    """Replace the part of the model card between its two marks: no figure there is typed by hand."""
    figures = "<!-- figures: written by train.py -->\n" + "\n".join(lines) + "\n<!-- end of figures -->"
    text, found = re.subn(
        r"<!-- figures.*?end of figures -->", lambda _: figures, card.read_text(), flags=re.DOTALL
    )
    assert found == 1, f"{card}: the marks of the figures are gone"
    card.write_text(text)
