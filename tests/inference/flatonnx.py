"""Tiny ONNX models, assembled from the schema's field numbers, so that the tests need no exporter.

Source of the numbers: onnx/onnx.proto. A message is its fields, one after the other; each is a key and a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy.typing as npt

FLOAT, UINT8, INT8, INT16, INT32, INT64, FLOAT16 = 1, 2, 3, 5, 6, 7, 10
_TYPE_OF = {
    "float32": FLOAT,
    "uint8": UINT8,
    "int8": INT8,
    "int16": INT16,
    "int32": INT32,
    "int64": INT64,
}
_IR_VERSION = 8
_ATTRIBUTE_INT = 2


class Value(NamedTuple):
    """An input or output; a dimension that is a word is free."""

    name: str
    type: int
    shape: tuple[int | str, ...]


class Node(NamedTuple):
    """One operator, its attributes all integers."""

    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, int] = MappingProxyType({})


def _varint(n: int) -> bytes:
    low, n = n & 0x7F, n >> 7
    return bytes([low]) if n == 0 else bytes([low | 0x80]) + _varint(n)


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _value(v: Value) -> bytes:
    dims = b"".join(_field(1, _field(1, d) if isinstance(d, int) else _field(2, d)) for d in v.shape)
    return _field(1, v.name) + _field(2, _field(1, _field(1, v.type) + _field(2, dims)))


def _node(n: Node) -> bytes:
    ends = b"".join(_field(1, name) for name in n.inputs) + b"".join(_field(2, name) for name in n.outputs)
    attributes = (
        _field(1, name) + _field(3, i) + _field(20, _ATTRIBUTE_INT) for name, i in n.attributes.items()
    )
    return ends + _field(4, n.op) + b"".join(_field(5, attribute) for attribute in attributes)


def _constant(name: str, array: npt.NDArray[Any], raw: bool) -> bytes:
    dims = b"".join(_field(1, n) for n in array.shape)
    data = _field(9, array.tobytes()) if raw else _numbers(array)
    return dims + _field(2, _TYPE_OF[array.dtype.name]) + _field(8, name) + data


def _numbers(array: npt.NDArray[Any]) -> bytes:
    """As float_data or int32_data, where integers below 0 are written as of 64 bits."""
    if array.dtype.kind == "f":
        return _field(4, array.tobytes())
    return _field(5, b"".join(_varint(int(n) % 2**64) for n in array.reshape(-1)))


def model(
    nodes: Sequence[Node],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    constants: Mapping[str, npt.NDArray[Any]] = MappingProxyType({}),
    raw: bool = True,
    opset: int = 13,
) -> bytes:
    """An .onnx file; `raw`: its constants as they lie in memory, else number by number."""
    parts = [
        *(_field(1, _node(node)) for node in nodes),
        _field(2, "graph"),
        *(_field(5, _constant(name, array, raw)) for name, array in constants.items()),
        *(_field(11, _value(value)) for value in inputs),
        *(_field(12, _value(value)) for value in outputs),
    ]
    return _field(1, _IR_VERSION) + _field(7, b"".join(parts)) + _field(8, _field(2, opset))


def passing(*values: Value) -> bytes:
    """A model that hands each of its inputs x on as x_out."""
    nodes = [Node("Identity", [v.name], [f"{v.name}_out"]) for v in values]
    return model(nodes, values, [v._replace(name=f"{v.name}_out") for v in values])
