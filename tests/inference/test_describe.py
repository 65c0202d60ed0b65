"""A model file is described without being run."""

from __future__ import annotations

import pytest
from flatmodel import DEQUANTIZE, FLOAT32, INT8, QUANTIZE, Op, Tensor, model
from tiny import classifier

from edgeagent.errors import BundleFault
from edgeagent.inference.describe import describe

pytestmark = pytest.mark.tflite_runtime


def test_inputs_outputs_operators_and_size_are_told() -> None:
    facts = describe(classifier())
    assert facts.size_bytes == len(classifier())
    assert facts.operators == {"FULLY_CONNECTED": 1, "SOFTMAX": 1}
    assert facts.quantization == "int8"
    assert [str(t) for t in facts.inputs] == ["t0: int8[1, 4, 3], scale 0.05, zero point 3"]
    assert [str(t) for t in facts.outputs] == ["t4: int8[1, 3], scale 0.00390625, zero point -128"]


def test_an_operator_that_nobody_has_is_named() -> None:
    assert "edgetpu-custom-op" in describe(classifier(custom_op="edgetpu-custom-op")).operators


def test_free_dimensions_scales_an_axis_and_floats_outside_are_told() -> None:
    tensors = [
        Tensor((1, 3), FLOAT32, signature=(-1, 3)),
        Tensor((1, 3), INT8, (0.1, 0.2, 0.3)),
    ]
    facts = describe(model(tensors, [Op(QUANTIZE, (0,), (1,))], [0], [1]))
    assert str(facts.inputs[0]) == "t0: float32[-1, 3]"
    assert str(facts.outputs[0]) == "t1: int8[1, 3], 3 scales"
    inside = [Tensor((1, 3), FLOAT32), Tensor((1, 3), INT8, 0.1), Tensor((1, 3), FLOAT32)]
    ops = [Op(QUANTIZE, (0,), (1,)), Op(DEQUANTIZE, (1,), (2,))]
    assert describe(model(inside, ops, [0], [2])).quantization == "float32 in and out, int8 within"


@pytest.mark.parametrize("data", [b"", b"PK\3\4 a SavedModel", b"\x08\x07\x12\x05torch"])
def test_what_is_no_tflite_model_says_how_to_convert_it(data: bytes) -> None:
    with pytest.raises(BundleFault, match=r"no TFLite model.*TFLiteConverter"):
        describe(data)
