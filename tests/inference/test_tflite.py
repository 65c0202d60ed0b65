"""What goes into the runtime and comes out is what training meant, on either runtime."""

from __future__ import annotations

import struct
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from flatmodel import FLOAT32, FULLY_CONNECTED, INT8, SOFTMAX, UINT8, Op, Tensor, model
from fuzz import mutant
from tiny import classifier, windows, write_bundle

from edgeagent.agent.clock import VirtualClock
from edgeagent.errors import BundleFault
from edgeagent.inference.bundle import load_bundle, own_bundles
from edgeagent.inference.choices import choices_for
from edgeagent.inference.engine import signature
from edgeagent.inference.golden import check_golden, load_golden
from edgeagent.inference.inline import Inline
from edgeagent.inference.tensors import Signature
from edgeagent.inference.tflite import TfliteModel, find_runtime

pytestmark = pytest.mark.tflite_runtime

_PLAIN: dict[str, Any] = {"mean": [0.0], "std": [1.0]}


def _softmax(n: int, kind: int, scale: float, zero_point: int) -> bytes:
    out = (1 / 256, -128 if kind == INT8 else 0) if kind != FLOAT32 else (0.0, 0)
    return model(
        [Tensor((1, n), kind, scale, zero_point), Tensor((1, n), kind, *out)],
        [Op(SOFTMAX, (0,), (1,))],
        [0],
        [1],
    )


@pytest.mark.parametrize(("kind", "zero_point"), [(INT8, -10), (UINT8, 118), (FLOAT32, 0)])
def test_scores_are_the_models_whatever_its_numbers_are(kind: int, zero_point: int) -> None:
    logits = np.array([[1.0], [2.0], [0.5]], np.float32)
    scale = 0.0 if kind == FLOAT32 else 1 / 64
    one = TfliteModel(find_runtime(), _softmax(3, kind, scale, zero_point), Signature(3, 1, 3, **_PLAIN))
    expected = np.exp(logits[:, 0]) / np.exp(logits).sum()
    np.testing.assert_allclose(one.predict(logits).scores, expected, atol=2 / 256)


def test_values_are_scaled_by_the_bundles_mean_and_std() -> None:
    """The same window in other units, with the scaling to match, gives the same scores."""
    scaled = (windows(1)[0] - 10) / 4
    plain = Signature(4, 3, 3, [0.0] * 3, [1.0] * 3)
    other = Signature(4, 3, 3, [10.0] * 3, [4.0] * 3)
    a = TfliteModel(find_runtime(), classifier(), plain).predict(scaled).scores
    b = TfliteModel(find_runtime(), classifier(), other).predict(windows(1)[0]).scores
    np.testing.assert_array_equal(a, b)


def test_xnnpack_computes_what_it_can_on_the_cpu() -> None:
    """Of a float model: tflite-runtime's has no int8 operator."""
    shapes = [(1, 4, 3), (3, 12), (3,), (1, 3)]
    constants = [None, np.ones((3, 12), np.float32), np.zeros(3, np.float32), None]
    tensors = [Tensor(shape, FLOAT32, data=data) for shape, data in zip(shapes, constants, strict=True)]
    data = model(tensors, [Op(FULLY_CONNECTED, (0, 1, 2), (3,))], [0], [3])
    one = TfliteModel(find_runtime(), data, Signature(4, 3, 3, [0.0] * 3, [1.0] * 3))
    assert "DELEGATE" in {op["op_name"] for op in one._interpreter._get_ops_details()}
    assert one.predict(np.ones((4, 3), np.float32)).scores.tolist() == [12, 12, 12]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"TFL3 is not enough", "cannot load the model"),
        (np.random.default_rng(0).bytes(900), "cannot load the model"),
        (classifier(custom_op="my_op"), "needs the operator my_op, which"),
        (
            classifier(custom_op="edgetpu-custom-op"),
            "compiled for the Edge TPU: bundle.yaml must say so. Missing: no libedgetpu.so.1: install the package",
        ),
    ],
    ids=["short", "random bytes", "unknown operator", "edge tpu"],
)
def test_what_is_no_model_for_this_runtime_is_refused_in_words(data: bytes, says: str) -> None:
    with pytest.raises(BundleFault, match=says):
        TfliteModel(find_runtime(), data, Signature(4, 3, 3, [0.0] * 3, [1.0] * 3))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((5, 3, 3), r"input t0 has the shape \[1, 4, 3\]; expected 15 values \(5 samples of 3 channels\)"),
        ((4, 3, 2), r"output has the shape \[1, 3\]; expected 2 values \(a score for each of 2 labels\)"),
    ],
)
def test_a_model_that_is_not_the_bundles_is_refused(shape: tuple[int, int, int], says: str) -> None:
    with pytest.raises(BundleFault, match=says):
        TfliteModel(find_runtime(), classifier(), Signature(*shape, [0.0] * shape[1], [1.0] * shape[1]))


def test_golden_vectors_that_come_out_otherwise_say_by_how_much(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    one = TfliteModel(find_runtime(), classifier(), signature(bundle))
    check_golden(bundle, "model_0.tflite", lambda values: one.predict(values).scores)
    with np.load(bundle.golden.file) as file:
        inputs, outputs = file["inputs"], file["outputs"]
    outputs[2, 1] += 0.25
    np.savez(bundle.golden.file, inputs=inputs, outputs=outputs)
    with pytest.raises(
        BundleFault,
        match=r"vector 3 of 5 .* for 'walk'.* a difference of 0\.250; expected at most 0\.05.*Usual causes: ",
    ) as fault:
        check_golden(bundle, "model_0.tflite", lambda values: one.predict(values).scores)
    for cause in ("mean and std", "quantized otherwise", "a delegate's library does not fit", "this NumPy"):
        assert cause in fault.value.hint


def test_every_shipped_bundle_passes_its_golden_vectors_on_this_runtime() -> None:
    shipped = [load_bundle(file.parent) for file in sorted(own_bundles().glob("*/bundle.yaml"))]
    assert shipped
    for bundle in shipped:
        for choice in choices_for(bundle, "cpu"):
            alone = msgspec.structs.replace(bundle, variants=(choice.variant,))
            with closing(Inline(alone, "cpu", VirtualClock(10**15))) as engine:
                engine.start()  # raises if they do not agree
                assert engine.status()["state"] == "ok"


def test_a_score_that_is_nan_fails_the_golden_vectors(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    with pytest.raises(BundleFault, match="gives nan for 'rest'"):
        check_golden(bundle, "model_0.tflite", lambda _: np.full(3, np.nan, np.float32))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no archive"])
def test_golden_vectors_that_cannot_be_read_are_a_fault(tmp_path: Path, content: bytes) -> None:
    bundle = write_bundle(tmp_path)
    bundle.golden.file.write_bytes(content)
    with pytest.raises(BundleFault, match=r"golden\.npz: the golden vectors cannot be read"):
        check_golden(bundle, "model_0.tflite", lambda values: values[0])


def array(shape: str) -> bytes:
    """The head of an array's file, which says what shape it has; and nothing behind it."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()


@pytest.mark.parametrize("shape", ["(10000000000000,)", "(100000000000000000000,)", "(-1,)", "(5, 4, 3)"])
def test_golden_vectors_that_say_they_are_huge_take_no_memory(tmp_path: Path, shape: str) -> None:
    bundle = write_bundle(tmp_path)
    with zipfile.ZipFile(bundle.golden.file, "w") as archive:
        for name in ("inputs.npy", "outputs.npy"):
            archive.writestr(name, array(shape))
    with pytest.raises(BundleFault, match=r"golden\.npz: the golden vectors cannot be read"):
        load_golden(bundle)


def test_golden_vectors_that_swell_are_not_unpacked(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    with zipfile.ZipFile(bundle.golden.file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inputs.npy", array("(60000000,)") + bytes(240_000_000))
    with pytest.raises(BundleFault, match="240 MB, and 200 MB are enough"):
        load_golden(bundle)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_mutant_of_golden_vectors_is_a_fault_or_has_their_shape(tmp_path: Path, save: Any) -> None:
    bundle = write_bundle(tmp_path)
    inputs, outputs = load_golden(bundle)
    save(bundle.golden.file, inputs=inputs, outputs=outputs)
    data, faults = bundle.golden.file.read_bytes(), 0
    for number in range(500):
        bundle.golden.file.write_bytes(mutant(data, number))
        try:
            assert load_golden(bundle).inputs.shape[1:] == inputs.shape[1:]
        except BundleFault:
            faults += 1
    assert faults > 300


def test_golden_vectors_of_another_shape_are_a_fault(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    np.savez(bundle.golden.file, inputs=np.zeros((2, 5, 3)), outputs=np.zeros((2, 3)))
    with pytest.raises(BundleFault, match=r"inputs has the shape \(2, 5, 3\)"):
        check_golden(bundle, "model_0.tflite", lambda values: values[0])
