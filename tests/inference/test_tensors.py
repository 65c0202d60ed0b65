"""Numbers go into a model and come out as its own kernels would have them, whatever their type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flatmodel import (
    DEQUANTIZE,
    FLOAT16,
    FLOAT32,
    INT8,
    INT16,
    INT32,
    QUANTIZE,
    UINT8,
    Op,
    Tensor,
    model,
    passing,
)

from edgeagent.errors import BundleFault
from edgeagent.inference.tensors import Encoder, Signature
from edgeagent.inference.tensors import Tensor as Described
from edgeagent.inference.tflite import TfliteModel, find_runtime
from edgeagent.records import Float32Array

pytestmark = pytest.mark.tflite_runtime

QUANTIZED: dict[int, Any] = {INT8: np.int8, UINT8: np.uint8, INT16: np.int16}
TYPES = {**QUANTIZED, FLOAT16: np.float16, FLOAT32: np.float32}


def run_kernel(code: int, source: Tensor, result: Tensor, values: Any) -> Any:
    """What one operator of the runtime makes of the values."""
    interpreter = find_runtime().interpreter(
        model_content=model([source, result], [Op(code, (0,), (1,))], [0], [1])
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values.reshape(source.shape))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def plain(samples: int, channels: int, **more: Any) -> Signature:
    """A bundle that scales nothing and wants every value back."""
    return Signature(samples, channels, samples * channels, [0.0] * channels, [1.0] * channels, **more)


def loaded(data: bytes, signature: Signature) -> TfliteModel:
    return TfliteModel(find_runtime(), data, signature)


def encoded(tensor: Tensor, values: Float32Array) -> Any:
    """What lies in the model's input tensor."""
    one = loaded(passing(tensor), plain(*values.shape))
    one.predict(values)
    details = one._interpreter.get_input_details()[0]
    return one._interpreter.get_tensor(details["index"])


@pytest.mark.parametrize("kind", QUANTIZED)
@pytest.mark.parametrize(("scale", "zero_point"), [(0.5, 3), (0.037, 5), (0.1, 0), (1 / 3, 7)])
def test_floats_are_quantized_as_the_runtimes_own_kernel_does(
    kind: int, scale: float, zero_point: int
) -> None:
    zero_point *= kind != INT16
    spread = 90 if kind != INT16 else 23000
    values = np.random.default_rng(1).normal(0, spread * scale, (4096, 1)).astype(np.float32)
    tensor = Tensor((1, len(values)), kind, scale, zero_point)
    ours = encoded(tensor, values)
    np.testing.assert_array_equal(ours, run_kernel(QUANTIZE, Tensor(tensor.shape, FLOAT32), tensor, values))
    assert {ours.min(), ours.max()} == {np.iinfo(ours.dtype).min, np.iinfo(ours.dtype).max}


def near_halves(scales: Any, most: int) -> Float32Array:
    """float32[1536, n]: what lies halfway between two steps of each scale, on either side of 0, or next to it."""
    steps = np.random.default_rng(2).integers(-most, most, (512, 1)) + np.float32(0.5)
    halves = (steps * np.asarray(scales, np.float32)).astype(np.float32)
    beside = [np.nextafter(halves, np.float32(to)) for to in (-np.inf, np.inf)]
    return np.concatenate([halves, *beside])


@pytest.mark.parametrize("kind", QUANTIZED)
@pytest.mark.parametrize("scale", [0.5, 0.25, 1.0, 0.037, 0.1, 1 / 3, 0.003921569, 1.9109213])
def test_what_lies_halfway_goes_where_the_runtimes_own_kernel_puts_it(kind: int, scale: float) -> None:
    """Of a multiple of eight values: LiteRT rounds the last few of an int16 tensor otherwise than the rest."""
    values = near_halves([scale], 30_000 if kind == INT16 else 120)
    for zero_point in (0,) if kind == INT16 else (0, 7):
        tensor = Tensor((1, len(values)), kind, scale, zero_point)
        reference = run_kernel(QUANTIZE, Tensor(tensor.shape, FLOAT32), tensor, values)
        np.testing.assert_array_equal(encoded(tensor, values), reference)


@pytest.mark.parametrize("kind", QUANTIZED)
def test_every_integer_becomes_the_number_that_the_runtimes_own_kernel_gives(kind: int) -> None:
    limits = np.iinfo(QUANTIZED[kind])
    integers = np.arange(limits.min, limits.max + 1).astype(QUANTIZED[kind])
    zero_point = 0 if kind == INT16 else 7
    tensor = Tensor((1, len(integers)), kind, 0.037, zero_point)
    reference = run_kernel(DEQUANTIZE, tensor, Tensor(tensor.shape, FLOAT32), integers)
    one = loaded(passing(tensor), plain(len(integers), 1))
    there_and_back = one.predict(reference.reshape(-1, 1))
    np.testing.assert_array_equal(there_and_back.scores, reference.reshape(-1))
    assert there_and_back.clipped == 0


@pytest.mark.parametrize("kind", [INT8, UINT8])
def test_each_channel_may_have_a_scale_of_its_own_as_in_the_runtimes_own_kernels(kind: int) -> None:
    scales = (0.02, 0.5, 0.1)
    spread = np.random.default_rng(5).normal(0, 1, (50, 3)).astype(np.float32)
    values = np.concatenate([spread, near_halves(scales, 120)])
    shape, signature = (1, *values.shape), plain(*values.shape)
    floats, integers = Tensor(shape, FLOAT32), Tensor(shape, kind, scales, 0)
    reference = run_kernel(QUANTIZE, floats, integers, values)
    backwards = loaded(model([integers, floats], [Op(DEQUANTIZE, (0,), (1,))], [0], [1]), signature)
    scores = backwards.predict(values).scores
    np.testing.assert_array_equal(backwards._codec.encode(values, None)[0], reference)
    forwards = loaded(model([floats, integers], [Op(QUANTIZE, (0,), (1,))], [0], [1]), signature)
    np.testing.assert_array_equal(forwards.predict(values).scores, scores)


@pytest.mark.parametrize("kind", TYPES)
def test_a_value_comes_through_a_model_of_any_type(kind: int) -> None:
    scale = 1 / 64 if kind in QUANTIZED else 0.0
    values = np.array([[0.5, -1.0], [1.25, 0.0]], np.float32)
    tensor = Tensor((1, 2, 2), kind, scale, 100 if kind == UINT8 else 0)
    one = loaded(passing(tensor), plain(2, 2))
    np.testing.assert_array_equal(one.predict(values).scores, values.reshape(-1))


def test_integers_without_a_scale_are_the_values_themselves() -> None:
    """As in a model that takes an image's bytes."""
    values = np.array([[0.0], [100.0], [255.0]], np.float32)
    assert loaded(passing(Tensor((1, 3), UINT8)), plain(3, 1)).predict(values).scores.tolist() == [
        0,
        100,
        255,
    ]


@pytest.mark.parametrize(
    ("kind", "low", "high"), [(INT8, -12.8, 12.7), (UINT8, 0.0, 25.5), (INT16, -3276.8, 3276.7)]
)
def test_values_beyond_the_models_range_are_clipped_not_wrapped_and_counted(
    kind: int, low: float, high: float
) -> None:
    values = np.array([[1e30, -1e30, 1.0, high + 0.04]], np.float32)  # the last is rounded to the limit
    scored = loaded(passing(Tensor((1, 4), kind, 0.1, 0)), plain(1, 4)).predict(values)
    np.testing.assert_allclose(scored.scores, [high, low, 1.0, high], atol=1e-3)
    assert scored.clipped == 0.5


def test_float16_is_clipped_too_and_float32_never() -> None:
    values = np.array([[1e6, 1.0]], np.float32)
    scored = loaded(passing(Tensor((1, 2), FLOAT16)), plain(1, 2)).predict(values)
    assert (scored.scores.tolist(), scored.clipped) == ([65504.0, 1.0], 0.5)
    scored = loaded(passing(Tensor((1, 2), FLOAT32)), plain(1, 2)).predict(values)
    assert (scored.scores.tolist(), scored.clipped) == ([1e6, 1.0], 0.0)


def test_values_are_scaled_before_they_are_quantized() -> None:
    signature = Signature(1, 2, 2, mean=[10.0, -4.0], std=[2.0, 0.5])
    one = loaded(passing(Tensor((1, 2), INT8, 0.25, 0)), signature)
    assert one.predict(np.array([[12.0, -5.0]], np.float32)).scores.tolist() == [1.0, -2.0]


def test_each_input_takes_its_channels_and_the_outputs_follow_in_the_bundles_order() -> None:
    data = passing(Tensor((1, 2, 1), INT8, 0.5), Tensor((1, 2, 2), FLOAT32))
    signature = plain(2, 3, inputs={"t0": [1], "t1": [2, 0]}, outputs=["t3", "t2"])
    scored = loaded(data, signature).predict(np.array([[1, 2, 3], [4, 5, 600]], np.float32))
    assert scored.scores.tolist() == [3, 1, 600, 4, 2, 5]
    assert scored.clipped == 0
    signature = plain(2, 3, inputs={"t1": [1, 0], "t0": [2]}, outputs=["t3", "t2"])
    assert loaded(data, signature).predict(np.full((2, 3), 600, np.float32)).clipped == pytest.approx(1 / 3)


def test_an_output_that_nobody_wants_is_left_alone() -> None:
    data = passing(Tensor((1, 2), FLOAT32), Tensor((1, 3), INT32))
    with pytest.raises(BundleFault, match="input t1 is int32; expected one of int8, uint8, int16"):
        loaded(data, plain(1, 5, inputs={"t0": [0, 1], "t1": [2, 3, 4]}, outputs=["t2", "t3"]))
    data = passing(Tensor((1, 2), FLOAT32), Tensor((1, 3), FLOAT32))
    signature = Signature(1, 5, 2, [0.0] * 5, [1.0] * 5, {"t0": [0, 1], "t1": [2, 3, 4]}, ["t2"])
    assert loaded(data, signature).predict(np.ones((1, 5), np.float32)).scores.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, r"inputs are t0, t1, the bundle's not named; expected input\.tensors in bundle\.yaml"),
        ({"inputs": {"t0": [0], "acc": [1]}}, "inputs are t0, t1, the bundle's t0, acc"),
        (
            {"inputs": {"t0": [0], "t1": [1]}},
            r"outputs are t2, t3, the bundle's not named; expected output\.tens",
        ),
        (
            {"inputs": {"t0": [0], "t1": [1]}, "outputs": ["t2", "x"]},
            "outputs are t2, t3, the bundle's t2, x",
        ),
    ],
)
def test_inputs_and_outputs_that_the_bundle_does_not_name_are_told(more: dict[str, Any], says: str) -> None:
    data = passing(Tensor((1, 3), FLOAT32), Tensor((1, 3), FLOAT32))
    with pytest.raises(BundleFault, match=says):
        loaded(data, plain(3, 2, **more))


@pytest.mark.parametrize("free", [(-1, 1, 3), (1, -1, 3), (-1, -1, 3)])
def test_free_dimensions_get_their_size_from_the_bundle_once(free: tuple[int, ...]) -> None:
    tensor = Tensor((1, 1, 3), FLOAT32, signature=free)
    samples = 1 if free == (-1, 1, 3) else 5
    values = np.arange(samples * 3, dtype=np.float32).reshape(samples, 3)
    one = loaded(passing(tensor), plain(samples, 3))
    for _ in range(2):
        assert one.predict(values).scores.tolist() == values.reshape(-1).tolist()


def test_a_free_dimension_that_cannot_hold_the_window_is_refused() -> None:
    with pytest.raises(
        BundleFault, match=r"t0 has the shape \[1, 6, 2\]; expected 13 values \(13 samples of 1 ch"
    ):
        loaded(passing(Tensor((1, 1, 2), FLOAT32, signature=(1, -1, 2))), plain(13, 1))


@pytest.mark.parametrize("scales", [[1 / 128], [1 / 128, 1 / 100, 1 / 120]])
def test_the_many_values_of_a_picture_are_quantized_and_counted_as_the_few_of_a_window_are(
    scales: list[float],
) -> None:
    """They are done in blocks, of which the last is smaller: nobody must see where one ends."""
    values = np.random.default_rng(3).uniform(1, 253, (25_000, 3)).astype(np.float32)
    tensor = Described("x", np.dtype(np.int8), (1, 25_000, 3), scales, [0] * len(scales), axis=2)
    few = tensor._replace(shape=(1, 1000, 3))
    rounding = find_runtime().rounding
    for mean, std in (([127.5] * 3, [127.5] * 3), ([120.0, 127.5, 90.0], [60.0, 127.5, 70.0])):
        whole = Encoder(tensor, range(3), Signature(25_000, 3, 1, mean, std), rounding)
        part = Encoder(few, range(3), Signature(1000, 3, 1, mean, std), rounding)
        clipped = 0
        for start, cut in zip(range(0, 25_000, 1000), np.split(whole.encode(values)[0], 25), strict=True):
            np.testing.assert_array_equal(part.encode(values[start : start + 1000])[0], cut)
            clipped += part.clipped
        assert whole.clipped == clipped
        assert (clipped > 0) == (std[0] < 100)
