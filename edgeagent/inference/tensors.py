"""Between a window and a model's tensors: scaling, quantization and back, the same for every runtime.

Quantized (int8, uint8, int16) means real = scale x (integer - zero point), one scale for the tensor or one for each
slice along an axis. Integers without a scale are taken for the values themselves. What does not fit into the tensor's
type is clipped, and counted: a bundle whose scaling is not the model's shows there first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeagent.errors import BundleFault
from edgeagent.inference.rounding import Quantize, Rounding

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

_BLOCK_VALUES = 32_768  # twice 128 kB, which any L2 cache holds
_TYPES = ("int8", "uint8", "int16", "float16", "float32")


class State(NamedTuple):
    """What a model hands on from window to window: what comes out at one tensor goes in at another, `size` values."""

    input: str
    output: str
    size: int


class Signature(NamedTuple):
    """What the bundle says of its model: float32[samples, channels] in, so many numbers out (`labels`).

    `mean` and `std` are the scaling: x' = (x - mean) / std, a number a channel. `inputs` says which columns of the
    window each input tensor takes (empty: there is one, and it takes all), `outputs` which output tensors hold the
    scores, one after the other (empty: the only one). Tensors of `states` are none of both. `variables`: the model
    keeps something from run to run by itself.
    """

    samples: int
    channels: int
    labels: int
    mean: Sequence[float]
    std: Sequence[float]
    inputs: Mapping[str, Sequence[int]] = {}
    outputs: Sequence[str] = ()
    states: Sequence[State] = ()
    variables: bool = False

    @property
    def state_size(self) -> int:
        """How many values are handed on."""
        return sum(state.size for state in self.states)


NO_STATE: Float32Array = np.zeros(0, np.float32)


class Scored(NamedTuple):
    """A model's answer: `scores` float32[labels], and the share of the window's values that had to be clipped.

    `state` is what it wants to be given with the next window of the same stream.
    """

    scores: Float32Array
    clipped: float
    state: Float32Array = NO_STATE


class Tensor(NamedTuple):
    """An input or output as the runtime describes it; a dimension that is free is -1."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    scales: Sequence[float] = ()
    zero_points: Sequence[int] = ()
    axis: int = 0


def scale(values: Any, mean: Any, std: Any, out: Any = None) -> Any:
    """x' = (x - mean) / std: what training does with `input.scaling`, too."""
    scaled = np.subtract(values, mean, out)
    return np.divide(scaled, std, scaled)


class _Block(NamedTuple):
    """Some rows of an input tensor: by what they are scaled and quantized, and the buffers for it.

    `mean` is None where scaling changes nothing, `quantize` for a tensor of floats, `zero_point` where it is 0.
    """

    rows: slice
    mean: Any
    std: Any
    quantize: Quantize | None
    zero_point: Any
    scaled: Any
    kept: Any
    beyond: Any
    tensor: Any


class Encoder:
    """Fills one input tensor, in buffers that are made once.

    The arithmetic is that of the runtime's own QUANTIZE kernel, bit for bit: divide by the scale and round, as it
    does; add the zero point, clip. Each of these is a call into NumPy, which takes longer than its work on a window:
    so what was clipped is only counted where the bytes have changed. A picture is too large for the cache, and copies
    of it are memory that the kernel gives and takes back each time: so it is done in blocks.

    Args:
        tensor: Its shape has no free dimension any more.
        columns: Which columns of the window go in.
        signature: The bundle's.
        rounding: The runtime's.
    """

    def __init__(
        self, tensor: Tensor, columns: Sequence[int], signature: Signature, rounding: Rounding
    ) -> None:
        shape = (signature.samples, len(columns))
        _must_hold(tensor, *shape)
        self.clipped = 0
        self._columns = None if len(columns) == signature.channels else list(columns)
        self._limits = _limits(tensor.dtype)
        self._tensor = np.empty(tensor.shape, tensor.dtype)
        mean, std = ([of[i] for i in columns] for of in (signature.mean, signature.std))
        self._blocks = list(_blocks(tensor, mean, std, self._tensor.reshape(shape), rounding))
        self._is_large = len(self._blocks) > 1

    def encode(self, values: Float32Array) -> Any:
        """The tensor for float32[samples, channels], none of them NaN; `clipped` tells how many were beyond it."""
        taken = values if self._columns is None else values[:, self._columns]
        self.clipped, limits = 0, self._limits
        for rows, mean, std, quantize, zero_point, scaled, kept, beyond, tensor in self._blocks:
            x = taken[rows]
            if mean is not None:
                x = scale(x, mean, std, scaled)
            if quantize is not None:
                quantize(x, scaled)
                x = scaled
                if zero_point is not None:
                    np.add(x, zero_point, x)
            if limits is not None:
                x.clip(*limits, kept)  # as a function it takes thrice as long
                if self._is_large or kept.tobytes() != x.tobytes():
                    self.clipped += int(np.count_nonzero(np.not_equal(kept, x, beyond)))
                x = kept
            tensor[...] = x
        return self._tensor


def _blocks(
    tensor: Tensor, mean: Sequence[float], std: Sequence[float], flat: Any, rounding: Rounding
) -> Iterator[_Block]:
    """All of `flat`, which is the tensor as [samples, channels], in blocks that share their buffers."""
    samples, channels = flat.shape
    most = min(samples, max(_BLOCK_VALUES // channels, 1))
    scaled, kept = np.empty((2, most, channels), np.float32)
    beyond = np.empty((most, channels), np.bool_)
    changes = any(mean) or set(std) != {1.0}
    means, stds = (_one_or_rows(mean, most), _one_or_rows(std, most)) if changes else (None, None)
    scale, zero_point = _scale_and_zero(tensor, flat.shape) if tensor.scales else (None, None)
    of_scale = rounding.one if len(tensor.scales) == 1 else rounding.each
    for start in range(0, samples, most):
        rows, count = slice(start, start + most), slice(min(most, samples - start))
        yield _Block(
            rows,
            _at(count, means),
            _at(count, stds),
            _quantize(tensor, _at(rows, scale), of_scale),
            _at(rows, zero_point) if any(tensor.zero_points) else None,
            scaled[count],
            kept[count],
            beyond[count],
            flat[rows],
        )


def _must_hold(tensor: Tensor, samples: int, channels: int) -> None:
    if math.prod(tensor.shape) != samples * channels:
        raise BundleFault(
            f"the model's input {tensor.name} has the shape {list(tensor.shape)}",
            expected=f"{samples * channels} values ({samples} samples of {channels} channels)",
            hint=_TRAINED_ON,
        )


def _one_or_rows(numbers: Sequence[float], count: int) -> Any:
    """The number, where all channels have the same; else so many rows: to broadcast a row takes thrice as long."""
    if len(set(numbers)) == 1:
        return np.array(numbers[0], np.float32)
    return np.tile(np.array(numbers, np.float32), (count, 1))


def _quantize(tensor: Tensor, scale: Any, of_scale: Callable[[Any], Quantize]) -> Quantize | None:
    """What makes integers of scaled values; None where the tensor is one of floats."""
    if tensor.dtype.kind not in "iu":
        return None
    return np.rint if scale is None else of_scale(scale)


def _at(rows: slice, numbers: Any) -> Any:
    """Those of these rows; what is one number, or None, is that everywhere."""
    return numbers[rows] if np.ndim(numbers) else numbers


class Decoder:
    """Turns one output tensor into float32 scores, as the DEQUANTIZE kernel does."""

    def __init__(self, tensor: Tensor) -> None:
        self._scale: Any = None
        if tensor.scales:
            self._scale, self._zero_point = _scale_and_zero(tensor, (math.prod(tensor.shape),))

    def decode(self, tensor: Any) -> Float32Array:
        """float32[n]."""
        scores: Float32Array = tensor.reshape(-1).astype(np.float32)
        if self._scale is not None:
            scores -= self._zero_point
            scores *= self._scale
        return scores


class Codec:
    """All inputs and outputs of one model.

    Args:
        inputs: As the runtime lists them, once they have their final shapes.
        outputs: Likewise.
        signature: What the bundle promises of them.
        rounding: The runtime's.

    Raises BundleFault if the model is not the bundle's.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        signature: Signature,
        rounding: Rounding,
    ) -> None:
        for what, tensors in (("input", inputs), ("output", outputs)):
            for tensor in tensors:
                _must_be_known(tensor, what)
        columns = input_columns([tensor.name for tensor in inputs], signature)
        cuts = _cuts(signature)
        self._encoders = [
            (_encoder(tensor, columns, cuts, signature, rounding), cuts.get(tensor.name)) for tensor in inputs
        ]
        self._of_window = [encoder for encoder, cut in self._encoders if cut is None]
        scores, after = wanted_outputs([tensor.name for tensor in outputs], signature)
        self.wanted = scores + after
        """Which outputs are read, by their place in the runtime's list: those with the scores, then the states."""
        self._decoders = [Decoder(outputs[i]) for i in self.wanted]
        self._scores = len(scores)
        for i, state in zip(after, signature.states, strict=True):
            _must_have_size(outputs[i], state.size)
        sizes = [math.prod(outputs[i].shape) for i in scores]
        if sum(sizes) != signature.labels:
            shapes = " and ".join(str(list(outputs[i].shape)) for i in scores)
            raise BundleFault(
                f"the model's output has the shape {shapes}",
                expected=f"{signature.labels} values (a score for each of {signature.labels} labels)",
                hint=_TRAINED_ON,
            )
        self._values = signature.samples * sum(len(taken) for taken in columns.values())

        self._at_rest = np.zeros(signature.state_size, np.float32)

    def encode(self, values: Float32Array, state: Float32Array | None) -> list[Any]:
        """The input tensors, in the runtime's order; without a state all of it is 0."""
        state = self._at_rest if state is None else state
        return [
            encoder.encode(values if cut is None else state[cut, None]) for encoder, cut in self._encoders
        ]

    def decode(self, tensors: Sequence[Any]) -> Scored:
        """The scores and states from the `wanted` outputs, and how much of the last window had to be clipped."""
        clipped = 0
        for encoder in self._of_window:
            clipped += encoder.clipped
        if len(tensors) == 1:
            return Scored(self._decoders[0].decode(tensors[0]), clipped / self._values)
        parts = [decoder.decode(tensor) for decoder, tensor in zip(self._decoders, tensors, strict=True)]
        scores, after = parts[: self._scores], parts[self._scores :]
        return Scored(np.concatenate(scores), clipped / self._values, np.concatenate(after or [NO_STATE]))


def _cuts(signature: Signature) -> dict[str, slice]:
    """Where in all states together that of each input lies."""
    ends = np.cumsum([state.size for state in signature.states]).tolist()
    return {s.input: slice(end - s.size, end) for s, end in zip(signature.states, ends, strict=True)}


def _encoder(
    tensor: Tensor,
    columns: Mapping[str, Sequence[int]],
    cuts: Mapping[str, slice],
    signature: Signature,
    rounding: Rounding,
) -> Encoder:
    if tensor.name not in cuts:
        return Encoder(tensor, columns[tensor.name], signature, rounding)
    size = cuts[tensor.name].stop - cuts[tensor.name].start
    _must_have_size(tensor, size)
    return Encoder(tensor, [0], Signature(size, 1, 0, [0.0], [1.0]), rounding)


def _must_have_size(tensor: Tensor, size: int) -> None:
    if math.prod(tensor.shape) != size:
        raise BundleFault(
            f"the model's state {tensor.name} has the shape {list(tensor.shape)}",
            expected=f"{size} values, as bundle.yaml says",
        )


_TRAINED_ON = "Make bundle.yaml say what the model was trained on"


def input_columns(names: Sequence[str], signature: Signature) -> Mapping[str, Sequence[int]]:
    """The columns of the window that each input takes that is no state. Raises BundleFault if that is not said."""
    names = _without(names, [state.input for state in signature.states], "input")
    if len(names) == 1 and not signature.inputs:
        return {names[0]: range(signature.channels)}
    if sorted(names) != sorted(signature.inputs):
        raise BundleFault(
            f"the model's inputs are {', '.join(names)}, the bundle's {', '.join(signature.inputs) or 'not named'}",
            expected="input.tensors in bundle.yaml with the channels for each input",
        )
    return signature.inputs


def _without(names: Sequence[str], states: Sequence[str], what: str) -> list[str]:
    if missing := sorted(set(states) - set(names)):
        raise BundleFault(
            f"the model has no {what} {', '.join(missing)}",
            expected=f"states among {', '.join(names)}",
            hint="Make `state` in bundle.yaml name the model's tensors",
        )
    return [name for name in names if name not in states]


def wanted_outputs(names: Sequence[str], signature: Signature) -> tuple[list[int], list[int]]:
    """Where the outputs with the scores stand among all, and those with states. Raises BundleFault if nobody says."""
    everyone = list(names)
    after = [state.output for state in signature.states]
    names = _without(names, after, "output")
    places = [everyone.index(name) for name in after]
    if len(names) == 1 and not signature.outputs:
        return [everyone.index(names[0])], places
    if not signature.outputs or set(signature.outputs) - set(names):
        raise BundleFault(
            f"the model's outputs are {', '.join(names)}, the bundle's {', '.join(signature.outputs) or 'not named'}",
            expected="output.tensors in bundle.yaml with those that hold the scores, in the order of the labels",
        )
    return [everyone.index(name) for name in signature.outputs], places


def settled(tensors: Sequence[Tensor], signature: Signature) -> list[Tensor]:
    """The inputs with their free dimensions filled. Raises BundleFault if nobody says what goes in."""
    columns = input_columns([tensor.name for tensor in tensors], signature)
    sizes = {name: signature.samples * len(taken) for name, taken in columns.items()}
    sizes |= {state.input: state.size for state in signature.states}
    return [tensor._replace(shape=settled_shape(tensor, sizes[tensor.name])) for tensor in tensors]


def settled_shape(tensor: Tensor, values: int) -> tuple[int, ...]:
    """The shape with its free dimensions filled, so that it holds so many values.

    The last free one takes what there is; those before it (the batch) are 1.
    """
    free = [i for i, n in enumerate(tensor.shape) if n < 0]
    shape = [1 if n < 0 else n for n in tensor.shape]
    if free:
        shape[free[-1]] = max(values // max(math.prod(shape), 1), 1)
    return tuple(shape)


def _must_be_known(tensor: Tensor, what: str) -> None:
    if tensor.dtype.name not in _TYPES:
        raise BundleFault(
            f"the model's {what} {tensor.name} is {tensor.dtype.name}", expected=f"one of {', '.join(_TYPES)}"
        )


def _limits(dtype: np.dtype[Any]) -> tuple[Any, Any] | None:
    """The least and the greatest value of a type; None for float32, which holds all there is."""
    if dtype == np.float32:
        return None
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return np.array(limits.min, np.float32), np.array(limits.max, np.float32)


def _scale_and_zero(tensor: Tensor, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Scale and zero point, each one number, or an array of `shape`, the order of values being the tensor's."""
    return _spread(tensor.scales, tensor, shape), _spread(tensor.zero_points, tensor, shape)


def _spread(numbers: Sequence[float], tensor: Tensor, shape: tuple[int, ...]) -> Any:
    if len(numbers) == 1:
        return np.array(numbers[0], np.float32)
    along = [1] * len(tensor.shape)
    along[tensor.axis] = len(numbers)
    one_each = np.array(numbers, np.float32).reshape(along)
    return np.broadcast_to(one_each, tensor.shape).reshape(shape)
