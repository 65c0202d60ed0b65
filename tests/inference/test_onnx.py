"""An .onnx model is a model like any other, where ONNX Runtime is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatonnx import FLOAT, FLOAT16, INT8, INT16, INT64, UINT8, Node, Value, model, passing
from tiny import classifier, qdq_classifier, windows, write_bundle

from edgeagent.agent.clock import VirtualClock
from edgeagent.config.schema import Delegate, External
from edgeagent.errors import BundleFault
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.choices import choices_for
from edgeagent.inference.delegates import Accelerator
from edgeagent.inference.engine import ModelEngine
from edgeagent.inference.faults import AcceleratorFault
from edgeagent.inference.inline import Inline
from edgeagent.inference.onnx import OnnxModel
from edgeagent.inference.supervisor import Supervisor
from edgeagent.inference.tensors import Signature, State

WINDOW = windows(1)[0]
GRAPH_OF_2_GB = b"\x3a\xff\xff\xff\xff\x07"  # the field of the graph, and its length as a varint


@pytest.fixture(params=[Supervisor, Inline])
def engine(request: pytest.FixtureRequest, tmp_path: Path, takes_int8: bool) -> Iterator[ModelEngine]:
    bundle = write_bundle(tmp_path, [qdq_classifier(takes_int8=takes_int8)], suffix="onnx")
    with closing(request.param(bundle, "auto", VirtualClock(10**15))) as made:
        yield made


@pytest.mark.parametrize("takes_int8", [False, True])
def test_an_int8_model_in_the_qdq_form_gives_the_scores_of_its_tflite_twin(engine: ModelEngine) -> None:
    engine.start()
    answer = engine.predict(WINDOW)
    with np.load(engine.bundle.golden.file) as file:
        np.testing.assert_allclose(answer.scores, file["outputs"][0], atol=1 / 256)
    assert (answer.variant, answer.accelerator) == ("model_0.onnx", "cpu")
    assert str(engine.status()["backend"]).startswith("onnxruntime 1.")
    assert engine.status()["unconfined"] == [] or isinstance(engine, Inline)


def plain(samples: int, channels: int) -> Signature:
    return Signature(samples, channels, samples * channels, [0.0] * channels, [1.0] * channels)


@pytest.mark.parametrize("kind", [FLOAT, FLOAT16, UINT8])
def test_a_value_comes_through_a_model_of_any_type(kind: int) -> None:
    values = np.array([[0, 1], [20, 255]], np.float32)
    one = OnnxModel(passing(Value("x", kind, (1, 2, 2))), plain(2, 2), 1)
    assert one.predict(values).scores.tolist() == [0, 1, 20, 255]


QUANTIZED: dict[int, Any] = {INT8: np.int8, UINT8: np.uint8, INT16: np.int16}


def there_and_back(ends: int, kind: int, scale: float, zero_point: int, raw: bool) -> bytes:
    """x is quantized, and dequantized to y; where the ends are integers, it is the other way round."""
    known = {"s": np.array(scale, np.float32), "z": np.array(zero_point, QUANTIZED[kind])}
    first, second = ("QuantizeLinear", "DequantizeLinear")[:: 1 if ends == FLOAT else -1]
    nodes = [Node(first, ["x", *known], ["between"]), Node(second, ["between", *known], ["y"])]
    x, y = (Value(name, ends, (1, 1536)) for name in "xy")
    return model(nodes, [x], [y], known, raw, opset=21)  # the first that quantizes to int16


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(("kind", "zero_point"), [(INT8, -100), (INT8, 5), (UINT8, 131), (INT16, 0)])
@pytest.mark.parametrize("scale", [0.5, 0.037, 1 / 3])
def test_integers_at_its_ends_are_worth_what_its_own_quantize_operators_say(
    kind: int, zero_point: int, scale: float, raw: bool
) -> None:
    """Halfway between two steps and next to it, too, they come out as the runtime's own kernel has them."""
    steps = np.random.default_rng(2).integers(-300, 300, 512) + np.float32(0.5)
    halves = (steps * np.float32(scale)).astype(np.float32)
    beside = [np.nextafter(halves, np.float32(to)) for to in (-np.inf, np.inf)]
    values = np.concatenate([halves, *beside]).reshape(-1, 1)
    ours, own = (
        OnnxModel(there_and_back(ends, kind, scale, zero_point, raw), plain(1536, 1), 1).predict(values)
        for ends in (kind, FLOAT)
    )
    np.testing.assert_array_equal(ours.scores, own.scores)
    assert (ours.clipped > 0) == (kind != INT16)


def test_an_integer_that_two_operators_take_by_two_scales_is_worth_neither() -> None:
    known = {name: np.array(scale, np.float32) for name, scale in {"a": 0.5, "b": 0.25}.items()}
    nodes = [Node("DequantizeLinear", ["x", name], [f"y_{name}"]) for name in known]
    ends = [Value("x", INT8, (1, 4, 3))], [Value(f"y_{name}", FLOAT, (1, 4, 3)) for name in known]
    with pytest.raises(BundleFault, match=r"x is int8, and the \.onnx file does not"):
        OnnxModel(model(nodes, *ends, known), plain(4, 3), 1)


def test_several_inputs_and_outputs_go_by_the_bundles_names() -> None:
    data = passing(Value("acc", FLOAT, (1, 2, 1)), Value("gyro", FLOAT, (1, 2, 2)))
    taken, wanted = {"acc": [1], "gyro": [2, 0]}, ["gyro_out", "acc_out"]
    one = OnnxModel(data, plain(2, 3)._replace(inputs=taken, outputs=wanted), 1)
    assert one.predict(np.array([[1, 2, 3], [4, 5, 6]], np.float32)).scores.tolist() == [3, 1, 6, 4, 2, 5]


def test_free_dimensions_get_their_size_from_the_bundle() -> None:
    values = np.arange(15, dtype=np.float32).reshape(5, 3)
    one = OnnxModel(passing(Value("x", FLOAT, ("batch", "time", 3))), plain(5, 3), 1)
    assert one.predict(values).scores.tolist() == values.reshape(-1).tolist()


def test_a_state_that_comes_out_goes_in_with_the_next_window() -> None:
    numbers = [Value(name, FLOAT, (1, 2)) for name in ("x", "h", "y", "h_next")]
    nodes = [Node("Add", ["x", "h"], ["y"]), Node("Identity", ["y"], ["h_next"])]
    signature = plain(1, 2)._replace(states=[State("h", "h_next", 2)])
    one = OnnxModel(model(nodes, numbers[:2], numbers[2:]), signature, 1)
    first = one.predict(np.array([[1, 10]], np.float32))
    second = one.predict(np.array([[1, 10]], np.float32), first.state)
    assert (first.scores.tolist(), second.scores.tolist()) == ([1, 10], [2, 20])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "cannot load the model"),
        (qdq_classifier()[:200], "cannot load the model"),
        (np.random.default_rng(1).bytes(900), "cannot load the model"),
        (GRAPH_OF_2_GB + qdq_classifier(), "cannot load the model"),
        (classifier(), "cannot load the model"),
        (
            model(
                [Node("NobodyHasThis", ["x"], ["y"])],
                [Value("x", FLOAT, (1, 4, 3))],
                [Value("y", FLOAT, (1,))],
            ),
            "NobodyHasThis",
        ),
        (passing(Value("x", INT8, (1, 4, 3))), "x is int8, and the .onnx file does not say by what scale"),
        (passing(Value("x", INT64, (1, 4, 3))), "x is int64, and"),
        (passing(Value("x", FLOAT, (1, 5, 3))), r"x has the shape \[1, 5, 3\]; expected 12 values"),
        (
            passing(Value("x", FLOAT, (1, 4, 3)), Value("z", FLOAT, (1,))),
            "inputs are x, z, the bundle's not named",
        ),
    ],
    ids=[
        *("zero length", "truncated", "random", "huge header", "another format", "unsupported op"),
        *("int8 without a scale", "int64 without a scale", "another shape", "two inputs"),
    ],
)
def test_what_is_no_model_for_this_runtime_is_refused_in_words(data: bytes, says: str) -> None:
    with pytest.raises(BundleFault, match=says):
        OnnxModel(data, plain(4, 3), 1)


def on(provider: str, **options: str) -> External:
    return External(external=Delegate(provider=provider, options=options))


def test_a_provider_that_is_there_serves_under_its_name(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, [qdq_classifier()], suffix="onnx")
    asked = on("CPUExecutionProvider")
    with closing(Supervisor(bundle, asked, VirtualClock(10**15))) as engine:
        engine.start()
        answer, status = engine.predict(WINDOW), engine.status()
    with np.load(bundle.golden.file) as file:
        np.testing.assert_allclose(answer.scores, file["outputs"][0], atol=1 / 256)
    assert (answer.variant, answer.accelerator) == ("model_0.onnx", "external:CPUExecutionProvider")
    assert (status["asked"], status["got"]) == ("external:CPUExecutionProvider",) * 2


def test_a_provider_that_is_not_there_leaves_the_model_to_the_cpu_and_says_which_package_has_it(
    tmp_path: Path,
) -> None:
    bundle = write_bundle(tmp_path, [qdq_classifier()], suffix="onnx")
    asked = on("OpenVINOExecutionProvider", device_type="NPU")
    with closing(Supervisor(bundle, asked, VirtualClock(10**15))) as engine:
        engine.start()
        assert engine.predict(WINDOW).accelerator == "cpu"
        why = str(engine.status()["why"])
    assert "has no OpenVINOExecutionProvider here; expected one of " in why
    assert "CPUExecutionProvider. pip uninstall onnxruntime && pip install onnxruntime-openvino" in why


def test_a_provider_that_no_package_has_is_told_apart() -> None:
    absent = Accelerator("external:NoSuchExecutionProvider", provider="NoSuchExecutionProvider")
    with pytest.raises(
        AcceleratorFault, match=r"has no NoSuchExecutionProvider here.*No package has it that"
    ):
        OnnxModel(qdq_classifier(), plain(4, 3), 1, absent)


def test_a_provider_is_not_handed_a_model_of_tflite(tmp_path: Path) -> None:
    with pytest.raises(BundleFault, match="no variant for external:QNNExecutionProvider; it has: cpu"):
        choices_for(write_bundle(tmp_path), on("QNNExecutionProvider"))


def test_a_bundle_may_have_both_and_the_first_that_works_serves(tmp_path: Path) -> None:
    bundle = both(tmp_path, first=qdq_classifier()[:-20])
    with closing(Supervisor(bundle, "auto", VirtualClock(10**15))) as engine:
        engine.start()
        assert engine.predict(WINDOW).variant == "model_0.tflite"
        assert "model_0.onnx: onnxruntime" in str(engine.status()["why"])


def both(folder: Path, first: bytes) -> Bundle:
    """A bundle with an .onnx variant before its .tflite one."""
    onnx = write_bundle(folder / "onnx", [first], suffix="onnx").variants
    tflite = write_bundle(folder / "tflite", [classifier()])
    changed = {"variants": (*onnx, *tflite.variants)}
    return Bundle(**{name: getattr(tflite, name) for name in tflite.__struct_fields__} | changed)
