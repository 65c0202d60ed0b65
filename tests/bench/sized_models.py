"""Bundles of a known size to measure with: their weights are random, so they need no training and say nothing.

Latency and memory of an int8 model depend on its operators and sizes, not on its weights.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from flatmodel import (
    ADD,
    AVERAGE_POOL_2D,
    CONV_2D,
    DEPTHWISE_CONV_2D,
    FULLY_CONNECTED,
    INT8,
    INT32,
    RESHAPE,
    SOFTMAX,
    Op,
    Tensor,
    model,
)

from edgeagent.inference.bundle import Bundle, load_bundle
from edgeagent.inference.engine import signature
from edgeagent.inference.tflite import TfliteModel, find_runtime, quiet_stderr

SIDE, CLASSES = 224, 1000
_STEM, _HEAD = 32, 1280
# Table 2 of arXiv 1801.04381: expansion, channels, how often, stride of the first.
_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_PIXEL_SCALE, _LINEAR_SCALE, _RELU6_SCALE = 1 / 128, 1 / 16, 6 / 255
_MEAN_WEIGHT = 73  # of the standard deviation of an int8 drawn evenly


class _Layer(NamedTuple):
    """A tensor's number, its side and channels, and the scale of its values."""

    number: int
    side: int
    channels: int
    scale: float


class _Network:
    """Tensors and operators, as they are laid one behind the other."""

    def __init__(self, side: int, channels: int) -> None:
        self._dice = np.random.default_rng(1)
        self.tensors = [Tensor((1, side, side, channels), INT8, _PIXEL_SCALE, 0)]
        self.ops: list[Op] = []
        self.last = _Layer(0, side, channels, _PIXEL_SCALE)

    def _constant(self, data: npt.NDArray[np.integer], scale: float | tuple[float, ...], axis: int) -> int:
        kind = INT8 if data.dtype == np.int8 else INT32
        self.tensors.append(Tensor(data.shape, kind, scale, 0, data, axis=axis))
        return len(self.tensors) - 1

    def _computed(self, side: int, channels: int, scale: float, zero_point: int = 0) -> _Layer:
        self.tensors.append(Tensor((1, side, side, channels), INT8, scale, zero_point))
        return _Layer(len(self.tensors) - 1, side, channels, scale)

    def _weighted(self, code: int, shape: tuple[int, ...], axis: int, *, relu6: bool, stride: int) -> None:
        """An operator with weights and a bias, an own scale for each of its channels."""
        given, channels = self.last, shape[axis]
        fan_in = math.prod(shape) // channels
        scale = 1 / (_MEAN_WEIGHT * math.sqrt(fan_in))
        weights = self._dice.integers(-127, 128, shape).astype(np.int8)
        inputs = (
            given.number,
            self._constant(weights, (scale,) * channels, axis),
            self._constant(np.zeros(channels, np.int32), (given.scale * scale,) * channels, 0),
        )
        side = -(-given.side // stride)
        self.last = (
            self._computed(side, channels, _RELU6_SCALE, -128)
            if relu6
            else self._computed(side, channels, _LINEAR_SCALE)
        )
        self.ops.append(Op(code, inputs, (self.last.number,), stride=stride, relu6=relu6))

    def convolve(self, channels: int, size: int = 1, *, relu6: bool = True, stride: int = 1) -> None:
        shape = (channels, size, size, self.last.channels)
        self._weighted(CONV_2D, shape, 0, relu6=relu6, stride=stride)

    def convolve_depthwise(self, stride: int) -> None:
        self._weighted(DEPTHWISE_CONV_2D, (1, 3, 3, self.last.channels), 3, relu6=True, stride=stride)

    def add(self, other: _Layer) -> None:
        inputs = (other.number, self.last.number)
        self.last = self._computed(other.side, other.channels, _LINEAR_SCALE)
        self.ops.append(Op(ADD, inputs, (self.last.number,)))

    def classify(self, classes: int) -> bytes:
        """Pool, weigh, softmax; and the file."""
        pooled = self._computed(1, self.last.channels, self.last.scale, -128)
        self.ops.append(
            Op(AVERAGE_POOL_2D, (self.last.number,), (pooled.number,), size=self.last.side, stride=1)
        )
        self.last = pooled
        self.convolve(classes, relu6=False)
        flat = self._constant(np.array([1, classes], np.int32), 0.0, 0)
        logits = self._flat(classes, _LINEAR_SCALE, 0)
        self.ops.append(Op(RESHAPE, (self.last.number, flat), (logits,)))
        scores = self._flat(classes, 1 / 256, -128)
        self.ops.append(Op(SOFTMAX, (logits,), (scores,)))
        return model(self.tensors, self.ops, [0], [scores])

    def _flat(self, size: int, scale: float, zero_point: int) -> int:
        self.tensors.append(Tensor((1, size), INT8, scale, zero_point))
        return len(self.tensors) - 1


def mobilenet_v2() -> bytes:
    """MobileNetV2 for 224 x 224 x 3, int8: the operators and sizes of arXiv 1801.04381, 3.5 MB."""
    net = _Network(SIDE, 3)
    net.convolve(_STEM, 3, stride=2)
    for expansion, channels, times, first_stride in _BLOCKS:
        for stride in (first_stride, *[1] * (times - 1)):
            given = net.last
            if expansion > 1:
                net.convolve(given.channels * expansion)
            net.convolve_depthwise(stride)
            net.convolve(channels, relu6=False)
            if stride == 1 and channels == given.channels:
                net.add(given)
    net.convolve(_HEAD)
    return net.classify(CLASSES)


def dense(size_bytes: int, samples: int = 100, channels: int = 6, classes: int = 7) -> bytes:
    """A window of samples, two dense layers, a softmax: so many bytes of weights."""
    dice = np.random.default_rng(1)
    values = samples * channels
    hidden = size_bytes // (values + classes)
    shapes = ((hidden, values), (classes, hidden))
    weights = [dice.integers(-127, 128, shape).astype(np.int8) for shape in shapes]
    biases = [np.zeros(len(each), np.int32) for each in weights]
    tensors = [
        Tensor((1, samples, channels), INT8, 1 / 32, 0),
        *(Tensor(each.shape, INT8, 1 / 2000, 0, each) for each in weights),
        *(Tensor(each.shape, INT32, 1 / 64000, 0, each) for each in biases),
        Tensor((1, hidden), INT8, 1 / 32, 0),
        Tensor((1, classes), INT8, 1 / 32, 0),
        Tensor((1, classes), INT8, 1 / 256, -128),
    ]
    ops = [
        Op(FULLY_CONNECTED, (0, 1, 3), (5,)),
        Op(FULLY_CONNECTED, (5, 2, 4), (6,)),
        Op(SOFTMAX, (6,), (7,)),
    ]
    return model(tensors, ops, [0], [7])


_PICTURES = """\
  channels: [{name: red, unit: "1"}, {name: green, unit: "1"}, {name: blue, unit: "1"}]
  rate: 1 Hz
  window: 1 s
  hop: 1 s
  shape: [224, 224]
  scaling: {mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5]}
"""
_MOTION = """\
  channels: [{name: a, unit: "1"}, {name: b, unit: "1"}, {name: c, unit: "1"}, {name: d, unit: "1"},
             {name: e, unit: "1"}, {name: f, unit: "1"}]
  rate: 50 Hz
  window: 2 s
  hop: 1 s
"""


def mobilenet_bundle(folder: Path) -> Bundle:
    """Pictures in, a thousand labels out."""
    pixels = np.random.default_rng(2).integers(0, 256, (1, SIDE * SIDE, 3)).astype(np.float32)
    return _bundle(folder, mobilenet_v2(), _PICTURES, pixels, CLASSES)


def dense_bundle(folder: Path, size_bytes: int) -> Bundle:
    """Windows of 100 x 6 in, seven labels out."""
    window = np.random.default_rng(2).normal(size=(1, 100, 6)).astype(np.float32)
    return _bundle(folder, dense(size_bytes), _MOTION, window, 7)


def _bundle(folder: Path, data: bytes, input_: str, inputs: npt.NDArray[np.float32], classes: int) -> Bundle:
    """With what the runtime gives here as its golden vector."""
    (folder / "model.tflite").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    labels = [f"c{i}" for i in range(classes)]
    (folder / "bundle.yaml").write_text(
        f'name: sized\nversion: "1"\ntask: classification\ninput:\n{input_}'
        f"output: {{labels: {labels}, scores: probabilities}}\n"
        f"variants: [{{file: model.tflite, sha256: {digest}, accelerator: cpu}}]\n"
        "golden: {file: golden.npz, tolerance: 0.05}\nlicence: none, its weights are random\n"
    )
    (folder / "golden.npz").touch()
    bundle = load_bundle(folder)
    with quiet_stderr():
        here = TfliteModel(find_runtime(), data, signature(bundle))
    np.savez(folder / "golden.npz", inputs=inputs, outputs=[here.predict(one).scores for one in inputs])
    return bundle
