"""Streaming models: what they keep goes from window to window of one stream, and is gone after a gap."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatmodel import ADD, FLOAT32, INT8, RESHAPE, SVDF, Op, Tensor, model, passing
from flatmodel import INT32 as INDEX

from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.errors import BundleFault, InferenceFault
from edgeagent.inference.bundle import Bundle, load_bundle
from edgeagent.inference.checkup import check_bundle
from edgeagent.inference.engine import ModelEngine
from edgeagent.inference.inline import Inline
from edgeagent.inference.supervisor import Supervisor
from edgeagent.inference.tensors import Signature, State
from edgeagent.inference.tflite import TfliteModel, find_runtime
from edgeagent.records import Float32Array
from edgeagent.timebase import Clock

pytestmark = pytest.mark.tflite_runtime

ONE = np.ones((1, 2), np.float32)


def summing(kind: int = FLOAT32, scale: float = 0.0) -> bytes:
    """t2 = t0 + t1: the window, and what comes out at t3 with the window before, are added up."""
    numbers = [Tensor((1, 2), kind, scale) for _ in range(3)]
    flat, again = Tensor((2,), INDEX, data=np.array([1, 2], np.int32)), Tensor((1, 2), kind, scale)
    ops = [Op(ADD, (0, 1), (2,)), Op(RESHAPE, (2, 4), (3,))]
    return model([*numbers, again, flat], ops, [0, 1], [2, 3])


def remembering() -> bytes:
    """The sum of the last three values, which the model keeps in a variable of its own (an SVDF layer)."""
    weights = np.ones((1, 1), np.float32), np.ones((1, 3), np.float32)
    tensors = [
        Tensor((1, 1), FLOAT32),
        Tensor((1, 1), FLOAT32, data=weights[0]),
        Tensor((1, 3), FLOAT32, data=weights[1]),
        Tensor((1, 3), FLOAT32, variable=True),
        Tensor((1, 1), FLOAT32),
    ]
    return model(tensors, [Op(SVDF, (0, 1, 2, -1, 3), (4,))], [0], [4])


YAML = """\
name: stream
version: "1"
task: embedding
input:
  channels: [{channels}]
  rate: 1 Hz
  window: 1 s
  hop: 1 s
output: {{size: {size}{tensors}}}
variants: [{{file: m.tflite, sha256: {sha256}, accelerator: cpu}}]
golden: {{file: golden.npz, tolerance: 0.01}}
{keeps}
"""
STATE = "state: [{input: t1, output: t3, size: 2}]"


def write(
    folder: Path, data: bytes, keeps: str, golden: list[list[float]], tensors: str = ", tensors: [t2]"
) -> Bundle:
    """A bundle whose golden vectors are windows of ones, in a row."""
    size = len(golden[0])
    (folder / "m.tflite").write_bytes(data)
    channels = ", ".join(f"{{name: {name}, unit: V}}" for name in "xy"[:size])
    sha256 = hashlib.sha256(data).hexdigest()
    text = YAML.format(channels=channels, size=size, tensors=tensors, sha256=sha256, keeps=keeps)
    (folder / "bundle.yaml").write_text(text)
    inputs = np.ones((len(golden), 1, size), np.float32)
    np.savez(folder / "golden.npz", inputs=inputs, outputs=np.array(golden, np.float32))
    return load_bundle(folder)


def summing_bundle(folder: Path, data: bytes = b"") -> Bundle:
    return write(folder, data or summing(), STATE, [[1, 1], [2, 2], [3, 3]])


@pytest.fixture(params=[Inline, Supervisor])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def serving(kind: Any, bundle: Bundle, clock: Clock | None = None) -> Iterator[ModelEngine]:
    engine: ModelEngine = kind(bundle, "auto", clock or RealClock())
    try:
        engine.start()
        yield engine
    finally:
        engine.close()


def asked(engine: ModelEngine, *windows: tuple[str, int], values: Float32Array = ONE) -> list[float]:
    """The first score of each window (stream and number), one after the other."""
    return [engine.predict(values, stream, seq).scores[0] for stream, seq in windows]


def test_what_a_model_hands_on_goes_in_with_the_next_window(kind: Any, tmp_path: Path) -> None:
    for engine in serving(kind, summing_bundle(tmp_path)):
        assert asked(engine, ("a", 1), ("a", 2), ("a", 3)) == [1, 2, 3]


def test_each_stream_has_its_own(kind: Any, tmp_path: Path) -> None:
    for engine in serving(kind, summing_bundle(tmp_path)):
        assert asked(engine, ("a", 1), ("b", 7), ("a", 2), ("b", 8), ("b", 9)) == [1, 1, 2, 2, 3]


def test_after_a_window_that_was_lost_the_stream_begins_anew(kind: Any, tmp_path: Path) -> None:
    for engine in serving(kind, summing_bundle(tmp_path)):
        assert asked(engine, ("a", 1), ("a", 2), ("a", 4), ("a", 5)) == [1, 2, 1, 2]


def test_an_int8_state_comes_back_as_it_went_to_the_last_step(kind: Any, tmp_path: Path) -> None:
    for engine in serving(kind, summing_bundle(tmp_path, summing(INT8, 0.25))):
        values = np.array([[0.25, 1.0]], np.float32)
        sums = asked(engine, *[("a", n) for n in range(1, 101)], values=values)
        assert sums == [0.25 * n for n in range(1, 101)]


def test_each_of_several_states_goes_back_to_its_own_input() -> None:
    """The model hands all on as it is, and each of the two is what the other takes next."""
    data = passing(*[Tensor((1, size), FLOAT32) for size in (2, 3, 3)])
    swapped = [State("t1", "t5", 3), State("t2", "t4", 3)]
    signature = Signature(1, 2, 2, [0.0] * 2, [1.0] * 2, states=swapped)
    one = TfliteModel(find_runtime(), data, signature)
    scored = one.predict(ONE, np.array([1, 2, 3, 4, 5, 6], np.float32))
    assert (scored.scores.tolist(), scored.state.tolist()) == ([1, 1], [4, 5, 6, 1, 2, 3])


def test_variables_of_the_model_go_on_in_a_stream_and_are_reset_by_a_gap(kind: Any, tmp_path: Path) -> None:
    bundle = write(tmp_path, remembering(), "variables: on", [[1], [2], [3], [3]], tensors="")
    for engine in serving(kind, bundle):
        seqs = [1, 2, 3, 4, 6, 7]
        assert asked(engine, *[("a", n) for n in seqs], values=ONE[:, :1]) == [1, 2, 3, 3, 1, 2]


def test_a_worker_that_was_killed_begins_anew(tmp_path: Path) -> None:
    clock = VirtualClock(now_ns=10**15)
    for engine in serving(Supervisor, summing_bundle(tmp_path), clock):
        assert asked(engine, ("a", 1), ("a", 2)) == [1, 2]
        os.kill(int(str(engine.status()["pid"])), signal.SIGKILL)
        with pytest.raises(InferenceFault, match="died"):
            asked(engine, ("a", 3))
        clock.sleep_s(60)
        assert asked(engine, ("a", 4), ("a", 5)) == [1, 2]


def test_golden_vectors_of_a_stateful_model_are_one_stream(tmp_path: Path) -> None:
    bundle = write(tmp_path, summing(), STATE, [[1, 1], [1, 1]])
    with pytest.raises(BundleFault, match=r"vector 2 of 2 gives 2\.000 for number 1, training gave 1\.000"):
        Inline(bundle, "auto", RealClock()).start()


@pytest.mark.parametrize(
    ("keeps", "says"),
    [
        ("state: [{input: t1, output: t3, size: 3}]", r"state t1 has the shape \[1, 2\]; expected 3 values"),
        (
            "state: [{input: h, output: t3, size: 2}]",
            "the model has no input h; expected states among t0, t1",
        ),
        (
            "state: [{input: t1, output: h, size: 2}]",
            "the model has no output h; expected states among t2, t3",
        ),
        ("", "the model's inputs are t0, t1, the bundle's not named"),
    ],
)
def test_a_state_that_the_model_does_not_have_is_told(tmp_path: Path, keeps: str, says: str) -> None:
    with pytest.raises(BundleFault, match=says):
        Inline(write(tmp_path, summing(), keeps, [[1, 1]]), "auto", RealClock()).start()


def test_model_check_hands_the_state_on_too(tmp_path: Path) -> None:
    bundle = write(tmp_path, remembering(), "variables: on", [[1], [2], [3], [3]], tensors="")
    steps = list(check_bundle(bundle.folder, lambda one: Inline(one, "auto", RealClock())))
    assert {step.result for step in steps} == {"ok"}
    assert "largest difference is 0.0000" in steps[-1].detail
