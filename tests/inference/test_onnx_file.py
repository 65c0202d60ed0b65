"""An .onnx file tells what is in it, with no runtime asked; where there is one, it says the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from flatonnx import FLOAT, FLOAT16, INT64, Node, Value, model, passing
from tiny import qdq_classifier, write_bundle

from edgeagent.cli import OK, main
from edgeagent.errors import BundleFault
from edgeagent.inference.describe import describe_variant
from edgeagent.inference.onnx_file import describe_onnx

REAL = sorted((Path(onnxruntime.__file__).parent / "datasets").glob("*.onnx"))


def test_inputs_outputs_operators_and_size_are_told() -> None:
    facts = describe_onnx(qdq_classifier())
    assert [str(tensor) for tensor in (*facts.inputs, *facts.outputs)] == [
        "window: float32[1, 4, 3]",
        "scores: float32[1, 3]",
    ]
    told = ", ".join(f"{n} x {name}" for name, n in facts.operators.items())
    assert told == "3 x DequantizeLinear, 2 x QuantizeLinear, 1 x Reshape, 1 x Gemm, 1 x Softmax"
    assert facts.quantization == "float32 in and out, int8 within"
    assert facts.size_bytes == len(qdq_classifier())


def test_an_integer_is_told_with_the_scale_of_the_operator_that_takes_it() -> None:
    (tensor,) = describe_onnx(qdq_classifier(takes_int8=True)).inputs
    assert str(tensor) == "x_q: int8[1, 4, 3], scale 0.05, zero point 3"


def test_free_dimensions_and_every_type_are_told() -> None:
    facts = describe_onnx(passing(Value("x", FLOAT16, ("batch", 300, 3)), Value("n", INT64, ())))
    assert [str(tensor) for tensor in facts.inputs] == ["x: float16[-1, 300, 3]", "n: int64[]"]


def test_a_constant_that_an_old_exporter_names_among_the_inputs_is_none() -> None:
    numbers = [Value(name, FLOAT, (1,)) for name in "xwy"]
    constants = {"w": np.ones(1, np.float32)}
    facts = describe_onnx(model([Node("Add", ["x", "w"], ["y"])], numbers[:2], numbers[2:], constants))
    assert [tensor.name for tensor in facts.inputs] == ["x"]


def test_real_files_are_read_as_onnx_runtime_reads_them() -> None:
    """Those that ONNX Runtime brings along, of other exporters."""
    assert REAL
    for file in REAL:
        facts, session = describe_onnx(file.read_bytes()), onnxruntime.InferenceSession(file)
        assert facts.operators
        for ours, theirs in ((facts.inputs, session.get_inputs()), (facts.outputs, session.get_outputs())):
            assert [one.name for one in ours] == [one.name for one in theirs]
            for one, same in zip(ours, theirs, strict=True):
                if same.type == "tensor(float)":  # others are a label's text, and a map
                    free = [n if isinstance(n, int) else -1 for n in same.shape]
                    assert (one.dtype, one.shape) == ("float32", free)


def test_a_variant_is_told_by_its_format(tmp_path: Path) -> None:
    (onnx,) = write_bundle(tmp_path / "a", [qdq_classifier()], suffix="onnx").variants
    (tflite,) = write_bundle(tmp_path / "b").variants
    assert (describe_variant(onnx).operators["Gemm"], describe_variant(tflite).operators["SOFTMAX"]) == (1, 1)


@pytest.mark.parametrize(
    "data",
    [b"", b"TFL3", b"PK\3\4", b"\x3a\xff\xff\xff\xff\x07", b"\x3a" + b"\xff" * 20, b"\x38\x05", b"\x08\x08"],
)
def test_what_is_no_onnx_file_says_so_and_names_the_file(data: bytes) -> None:
    with pytest.raises(BundleFault, match=r"m\.onnx: it is no ONNX model, or cut short"):
        describe_onnx(data, "m.onnx")


def test_a_file_that_is_cut_short_anywhere_is_refused_or_told_and_never_worse() -> None:
    whole = qdq_classifier()
    refused = 0
    for end in range(len(whole)):
        try:
            describe_onnx(whole[:end])
        except BundleFault:
            refused += 1
    assert refused > 0.9 * len(whole)


def test_model_show_and_bench_tell_of_an_onnx_variant_what_they_tell_of_a_tflite_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path, [qdq_classifier()], suffix="onnx")
    assert main(["model", "show", str(tmp_path)]) == OK
    shown = capsys.readouterr().out
    assert "model_0.onnx, for cpu: 524 bytes, float32 in and out, int8 within" in shown
    assert "in   window: float32[1, 4, 3]" in shown
    assert "3 x DequantizeLinear" in shown
    assert main(["model", "bench", str(tmp_path), "--calls", "10", "--threads", "1", "--json"]) == OK
    (figures,) = json.loads(capsys.readouterr().out)["figures"]
    assert figures["quantization"] == "float32 in and out, int8 within"
    for way in ("raw", "inline", "process"):
        assert figures[way]["p50"] > 0
