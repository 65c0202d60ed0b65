"""Tiny TFLite models, assembled from the schema's field numbers, so that the tests need no converter.

Source of the numbers: tensorflow/lite/schema/schema.fbs. A field's number is its place in its table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

FLOAT32, FLOAT16, INT32, UINT8, INT64, INT16, INT8 = 0, 1, 2, 3, 4, 7, 9
ADD, AVERAGE_POOL_2D, CONV_2D, DEPTHWISE_CONV_2D = 0, 1, 3, 4
DEQUANTIZE, FULLY_CONNECTED, RESHAPE, SOFTMAX, SVDF, CUSTOM, TILE, QUANTIZE = (
    6,
    9,
    22,
    25,
    27,
    32,
    69,
    114,
)
_CONV_OPTIONS, _DEPTHWISE_OPTIONS, _POOL_OPTIONS = 1, 2, 5
_SVDF_OPTIONS, _FULLY_CONNECTED_OPTIONS, _SOFTMAX_OPTIONS, _ADD_OPTIONS = 6, 8, 9, 11
_RELU6, _VALID = 3, 1

_Put = Callable[[Any, int], None]


class Tensor(NamedTuple):
    """One tensor; without `data` it is computed. `scale` 0 means that it is not quantized.

    Where `scale` is a tuple, each slice along `axis` has its own. `signature` is the shape, -1 where it is free.
    `variable`: it keeps its values from run to run.
    """

    shape: tuple[int, ...]
    type: int
    scale: float | tuple[float, ...] = 0.0
    zero_point: int = 0
    data: npt.NDArray[Any] | None = None
    signature: tuple[int, ...] = ()
    variable: bool = False
    axis: int = -1


class Op(NamedTuple):
    """One operator; `size` is what a pool looks at. Convolutions pad, so that only `stride` makes them smaller."""

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    custom: str = ""
    stride: int = 1
    relu6: bool = False
    size: int = 1


def _table(b: Any, fields: Mapping[int, _Put]) -> int:
    b.StartObject(max(fields, default=-1) + 1)
    for slot, put in fields.items():
        put(b, slot)
    return int(b.EndObject())


def _offset(x: int) -> _Put:
    return lambda b, slot: b.PrependUOffsetTRelativeSlot(slot, x, 0)


def _uint32(x: int) -> _Put:
    return lambda b, slot: b.PrependUint32Slot(slot, x, 0)


def _int32(x: int) -> _Put:
    return lambda b, slot: b.PrependInt32Slot(slot, x, 0)


def _int8(x: int) -> _Put:
    return lambda b, slot: b.PrependInt8Slot(slot, x, 0)


def _float32(x: float) -> _Put:
    return lambda b, slot: b.PrependFloat32Slot(slot, x, 0.0)


def _offsets(b: Any, items: Sequence[int]) -> _Put:
    b.StartVector(4, len(items), 4)
    for item in reversed(items):
        b.PrependUOffsetTRelative(item)
    return _offset(b.EndVector())


def _array(b: Any, values: Sequence[Any], dtype: str) -> _Put:
    return _offset(b.CreateNumpyVector(np.array(values, dtype=dtype)))


def _tensor(b: Any, index: int, t: Tensor) -> int:
    name = b.CreateString(f"t{index}")
    fields = {0: _array(b, t.shape, "<i4"), 1: _int8(t.type), 3: _offset(name)}
    if t.data is not None:
        fields[2] = _uint32(index + 1)
    if t.scale:
        scales = t.scale if isinstance(t.scale, tuple) else (t.scale,)
        scale, zero = _array(b, scales, "<f4"), _array(b, [t.zero_point] * len(scales), "<i8")
        axis = _int32(t.axis % len(t.shape) if len(scales) > 1 else 0)
        fields[4] = _offset(_table(b, {2: scale, 3: zero, 6: axis}))
    if t.variable:
        fields[5] = lambda b, slot: b.PrependBoolSlot(slot, True, False)
    if t.signature:
        fields[7] = _array(b, t.signature, "<i4")
    return _table(b, fields)


def _options(b: Any, op: Op) -> dict[int, _Put]:
    code, activation = op.code, _int8(_RELU6 if op.relu6 else 0)
    strides = {1: _int32(op.stride), 2: _int32(op.stride)}
    if code == CONV_2D:
        return {3: _int8(_CONV_OPTIONS), 4: _offset(_table(b, {**strides, 3: activation}))}
    if code == DEPTHWISE_CONV_2D:
        fields = {**strides, 3: _int32(1), 4: activation}
        return {3: _int8(_DEPTHWISE_OPTIONS), 4: _offset(_table(b, fields))}
    if code == AVERAGE_POOL_2D:
        fields = {0: _int8(_VALID), **strides, 3: _int32(op.size), 4: _int32(op.size)}
        return {3: _int8(_POOL_OPTIONS), 4: _offset(_table(b, fields))}
    if code == FULLY_CONNECTED:
        return {3: _int8(_FULLY_CONNECTED_OPTIONS), 4: _offset(_table(b, {0: _int8(0)}))}
    if code == SVDF:
        return {3: _int8(_SVDF_OPTIONS), 4: _offset(_table(b, {0: _int32(1)}))}
    if code == ADD:
        return {3: _int8(_ADD_OPTIONS), 4: _offset(_table(b, {}))}
    if code == SOFTMAX:
        return {3: _int8(_SOFTMAX_OPTIONS), 4: _offset(_table(b, {0: _float32(1.0)}))}
    return {}


def _op(b: Any, index: int, op: Op) -> int:
    fields = {1: _array(b, op.inputs, "<i4"), 2: _array(b, op.outputs, "<i4")}
    return _table(b, {0: _uint32(index), **fields, **_options(b, op)})


def _code(b: Any, op: Op) -> int:
    fields = {0: _int8(op.code), 2: _int32(1), 3: _int32(op.code)}
    if op.custom:
        fields[1] = _offset(b.CreateString(op.custom))
    return _table(b, fields)


def model(
    tensors: Sequence[Tensor], ops: Sequence[Op], inputs: Sequence[int], outputs: Sequence[int]
) -> bytes:
    """A .tflite file of one subgraph; each operator has its own operator code, each tensor its own buffer."""
    b = flatbuffers.Builder(1024)
    buffers = [_table(b, {})]
    for t in tensors:
        data = None if t.data is None else b.CreateNumpyVector(np.frombuffer(t.data.tobytes(), np.uint8))
        buffers.append(_table(b, {} if data is None else {0: _offset(data)}))
    subgraph = {
        0: _offsets(b, [_tensor(b, i, t) for i, t in enumerate(tensors)]),
        1: _array(b, inputs, "<i4"),
        2: _array(b, outputs, "<i4"),
        3: _offsets(b, [_op(b, i, op) for i, op in enumerate(ops)]),
    }
    graph = _table(b, subgraph)
    codes = _offsets(b, [_code(b, op) for op in ops])
    root = _table(b, {0: _uint32(3), 1: codes, 2: _offsets(b, [graph]), 4: _offsets(b, buffers)})
    b.Finish(root, b"TFL3")
    return bytes(b.Output())


def passing(*tensors: Tensor) -> bytes:
    """A model that hands each of its inputs on as it is, laid out in one row: output i is input i."""
    n = len(tensors)
    rows = [t._replace(shape=(1, int(np.prod(t.shape))), signature=()) for t in tensors]
    flat = Tensor((2,), INT32, data=np.array([1, -1], np.int32))
    ops = [Op(RESHAPE, (i, 2 * n), (n + i,)) for i in range(n)]
    return model([*tensors, *rows, flat], ops, range(n), range(n, 2 * n))
