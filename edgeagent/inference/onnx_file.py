"""What is in an .onnx file, read field by field: ONNX Runtime does not tell of operators, and may not be here.

A message of Protocol Buffers is its fields, one after the other: a key (the field's number and how its value is
written), then a varint, or so many bytes. The numbers are those of onnx/onnx.proto.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from edgeagent.errors import BundleFault
from edgeagent.inference.facts import ModelFacts, TensorFacts

_GRAPH, _NODE, _CONSTANT, _INPUT, _OUTPUT = 7, 1, 5, 11, 12
_TAKES, _GIVES, _OPERATOR = 1, 2, 4
_CONSTANT_TYPE, _FLOATS, _INTEGERS, _CONSTANT_NAME, _RAW = 2, 4, 5, 8, 9
_NAME, _TYPE, _TENSOR, _ELEMENT, _SHAPE, _DIMENSION, _SIZE = 1, 2, 1, 1, 2, 1, 1
_TYPES = (
    "",
    "float32",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
    "int64",
    "text",
    "bool",
    "float16",
    "float64",
)
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10
_DEQUANTIZE, _QUANTIZE = "DequantizeLinear", "QuantizeLinear"

Message = defaultdict[int, list[Any]]
"""By a field's number what it holds, in order: an integer, or a memoryview."""


def describe_onnx(model: bytes, where: str = "") -> ModelFacts:
    """Raises BundleFault if it is no .onnx file, or cut short."""
    try:
        return _facts(model)
    except (ValueError, IndexError, TypeError, OverflowError) as e:
        raise BundleFault("it is no ONNX model, or cut short", where=where, hint="Copy it again") from e


def _facts(model: bytes) -> ModelFacts:
    (graph,) = map(_message, _message(memoryview(model))[_GRAPH])
    nodes = [_message(one) for one in graph[_NODE]]
    constants = [_message(one) for one in graph[_CONSTANT]]
    known = {_text(name): one for one in constants for name in one[_CONSTANT_NAME]}
    scales = _scales(nodes, known)
    # Old exporters name the constants among the inputs.
    inputs = [one for one in (_tensor(value, scales) for value in graph[_INPUT]) if one.name not in known]
    outputs = [_tensor(one, scales) for one in graph[_OUTPUT]]
    types = [_type(one[_CONSTANT_TYPE]) for one in constants]
    return ModelFacts(
        size_bytes=len(model),
        inputs=inputs,
        outputs=outputs,
        operators=_counted(_text(one) for node in nodes for one in node[_OPERATOR]),
        types=_counted([*types, *(one.dtype for one in (*inputs, *outputs))]),
    )


def _scales(nodes: list[Message], constants: Mapping[str, Message]) -> dict[str, set[tuple[float, int]]]:
    """Scale and zero point of what a DequantizeLinear takes or a QuantizeLinear gives, where each is one number."""
    found: dict[str, set[tuple[float, int]]] = defaultdict(set)
    for node in nodes:
        takes, gives, operator = ([*map(_text, node[field])] for field in (_TAKES, _GIVES, _OPERATOR))
        if operator not in ([_DEQUANTIZE], [_QUANTIZE]):
            continue
        scale, *zero_point = (_numbers(constants.get(name)) for name in takes[1:])
        if len(scale) == 1 and all(len(one) == 1 for one in zero_point):
            quantized = takes[0] if operator == [_DEQUANTIZE] else gives[0]
            found[quantized].add((scale[0], int(zero_point[0][0]) if zero_point else 0))
    return found


def _numbers(constant: Message | None) -> list[float]:
    """What is in a constant: as it lies in memory, as float32, or as integers; nothing if it is none."""
    if constant is None:
        return []
    numbers: list[float]
    if constant[_RAW]:
        numbers = np.frombuffer(constant[_RAW][0], _type(constant[_CONSTANT_TYPE])).tolist()
    elif constant[_FLOATS]:
        numbers = np.frombuffer(b"".join(constant[_FLOATS]), "<f4").tolist()
    else:
        numbers = [n for one in constant[_INTEGERS] for n in _integers(one)]
    return numbers


def _integers(data: Any) -> Iterator[int]:
    """One, or several in a row; what is below 0 is written as of 64 bits."""
    numbers = [data] if isinstance(data, int) else _varints(data)
    yield from (n - 2**64 if n >= 2**63 else n for n in numbers)


def _varints(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        number, at = _varint(data, at)
        yield number


def _tensor(value: memoryview, scales: Mapping[str, set[tuple[float, int]]]) -> TensorFacts:
    info = _message(value)
    tensors = (_message(one) for kind in info[_TYPE] for one in _message(kind)[_TENSOR])
    tensor = next(tensors, Message(list))  # a list or a map is none
    sizes = (_message(size)[_SIZE] for shape in tensor[_SHAPE] for size in _message(shape)[_DIMENSION])
    name = _text(info[_NAME][0])
    known = scales.get(name, set())
    quantized = known if len(known) == 1 else set()  # of two, neither is the tensor's own
    return TensorFacts(
        name=name,
        dtype=_type(tensor[_ELEMENT]),
        shape=[size[0] if size and isinstance(size[0], int) else -1 for size in sizes],
        scales=[scale for scale, _ in quantized],
        zero_points=[zero_point for _, zero_point in quantized],
    )


def _type(element: list[Any]) -> str:
    """The type of a tensor's elements, by its number."""
    return _TYPES[element[0]] if element and 0 < element[0] < len(_TYPES) else "no numbers"


def _message(data: memoryview) -> Message:
    found = Message(list)
    for number, value in _fields(data):
        found[number].append(value)
    return found


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Raises ValueError where it ends too soon, or was never one."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value, size = None, {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(key & 7, 0)
        if key & 7 == _VARINT:
            value, at = _varint(data, at)
        elif key & 7 == _BYTES:
            size, at = _varint(data, at)
        elif not size:
            raise ValueError(f"a field of kind {key & 7}")
        if at + size > len(data):
            raise ValueError("cut short")
        yield key >> 3, data[at : at + size] if value is None else value
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number, and where the next begins: seven bits a byte, the lowest first, the last without its top bit."""
    number = 0
    for i, byte in enumerate(data[at : at + _LONGEST_VARINT]):
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return number, at + i + 1
    raise ValueError("a number without an end")


def _text(data: Any) -> str:
    return bytes(data).decode()


def _counted(names: Any) -> dict[str, int]:
    return dict(Counter(names).most_common())
