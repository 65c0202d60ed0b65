"""What a model's numbers become, task by task: in the engine, in a prediction, for rules."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import scipy.special
from flatmodel import FLOAT32, INT8, Tensor, passing

from edgeagent.agent.clock import VirtualClock
from edgeagent.config import parts
from edgeagent.errors import BundleFault, ConfigFault
from edgeagent.inference.bundle import Bundle, load_bundle
from edgeagent.inference.inline import Inline
from edgeagent.inference.tasks import Given, Task
from edgeagent.inference.tasks.anomaly import Anomaly
from edgeagent.inference.tasks.anomaly import Output as AnomalyOutput
from edgeagent.inference.tasks.classification import Classification, Output
from edgeagent.records import Prediction, Quantity, Reading, facts

YAML = """\
name: one
version: "1"
task: {task}
input:
  channels: [{{name: x, unit: V}}, {{name: y, unit: V}}]
  rate: 4 Hz
  window: 1 s
  hop: 1 s
  {more}
output: {output}
variants: [{{file: m.tflite, sha256: {sha256}, accelerator: cpu}}]
golden: {{file: golden.npz, tolerance: {tolerance}}}
"""


PLAIN = Tensor((1, 4, 2), FLOAT32)
WINDOW = np.array([[0, 1], [2, -1], [0, 1], [1, 0.5]], np.float32)


def write(
    folder: Path,
    task: str,
    output: str,
    golden: Any,
    *,
    more: str = "max_missing: 0",
    tensor: Tensor = PLAIN,
    tolerance: float = 1e-5,
) -> Bundle:
    """A bundle whose model hands on what it is given; `golden` are the scores of WINDOW."""
    model = passing(tensor)
    (folder / "m.tflite").write_bytes(model)
    sha256 = hashlib.sha256(model).hexdigest()
    text = YAML.format(task=task, output=output, sha256=sha256, more=more, tolerance=tolerance)
    (folder / "bundle.yaml").write_text(text)
    np.savez(folder / "golden.npz", inputs=WINDOW[None], outputs=np.array([golden], np.float32))
    return load_bundle(folder)


def asked(bundle: Bundle) -> tuple[float, ...]:
    """The scores of WINDOW, once the golden vectors have passed."""
    engine = Inline(bundle, "auto", VirtualClock())
    engine.start()
    return engine.predict(WINDOW).scores


def prediction(reading: Reading) -> Prediction:
    names = ("pipeline", "model", "version", "sha256", "variant", "accelerator", "requested")
    numbers = ("window_seq", "t_start_ns", "t_end_ns", "latency_ns")
    rest: dict[str, Any] = dict.fromkeys(names, "") | dict.fromkeys(numbers, 0) | {"skipped": None}
    return Prediction(**rest, **msgspec.structs.asdict(reading))


def seen(task: Task, scores: tuple[float, ...]) -> dict[str, float | str]:
    """What rules see."""
    return facts(prediction(task.read(scores)))


def classifier(**more: Any) -> Classification:
    return Classification(Output(labels=["rest", "walk", "run"], scores="probabilities", **more))


def test_every_task_is_tried_here() -> None:
    assert parts.names("inference.tasks") == ["anomaly", "classification", "embedding", "regression"]


def test_logits_become_scipys_softmax() -> None:
    task = Classification(Output(labels=["a", "b", "c"], scores="logits"))
    logits = np.array([1.0, -2.0, 700.0], np.float32)
    for numbers in (logits, np.array([0.1, 0.3, -0.2], np.float32)):
        scores = task.measure(numbers, WINDOW)
        np.testing.assert_allclose(
            scores, scipy.special.softmax(numbers.astype(float)), rtol=1e-6, atol=1e-30
        )


def test_logits_are_softmaxed_on_the_way_through_the_engine(tmp_path: Path) -> None:
    probabilities = scipy.special.softmax(WINDOW.reshape(-1).astype(float))
    labels = "[" + ", ".join("abcdefgh") + "]"
    bundle = write(tmp_path, "classification", f"{{labels: {labels}, scores: logits}}", probabilities)
    assert asked(bundle) == pytest.approx(probabilities, rel=1e-6)


def test_a_label_below_its_threshold_is_unknown() -> None:
    task = classifier(thresholds={"run": 0.7})
    assert task.read((0.1, 0.3, 0.6)).label == "unknown"
    assert task.read((0.1, 0.1, 0.8)).label == "run"
    assert task.read((0.4, 0.3, 0.3)).label == "rest"
    assert classifier(thresholds=0.5).read((0.4, 0.3, 0.3)).label == "unknown"
    assert task.read((0.1, 0.3, 0.6)).score == 0.6


def test_only_the_best_are_recorded_where_that_is_wanted() -> None:
    reading = classifier(top=2).read((0.1, 0.3, 0.6))
    assert (reading.label, reading.top, reading.scores) == ("run", {"run": 0.6, "walk": 0.3}, ())
    assert reading.margin == pytest.approx(0.3)
    assert classifier().read((0.1, 0.3, 0.6)).scores == (0.1, 0.3, 0.6)


def test_a_threshold_for_a_label_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigFault, match="runing; expected labels of the model"):
        classifier(thresholds={"runing": 0.5})


def test_a_regression_gives_values_in_their_units_and_rules_see_them(tmp_path: Path) -> None:
    output = "{values: [{name: flow, unit: L/min, scale: 10, offset: 5}], tensors: [t1]}"
    tensor = Tensor((1, 1, 1), FLOAT32)
    more = "preprocess: [{statistics: [peak]}, {unit: {x: mV}}]\n  tensors: {t0: [x]}"
    bundle = write(tmp_path, "regression", output, [20005.0], more=more, tensor=tensor, tolerance=0.5)
    assert asked(bundle) == pytest.approx((20005.0,))
    assert bundle.task.read((20005.0,)).values == (Quantity("flow", 20005.0, "L/min"),)
    assert seen(bundle.task, (20005.0,)) == {"flow": 20005.0, "value": 20005.0}
    assert set(bundle.task.facts) == {"flow", "value"}


def test_of_several_values_none_is_the_value(tmp_path: Path) -> None:
    output = "{values: [{name: east, unit: m}, {name: north, unit: m}]}"
    bundle = write(
        tmp_path,
        "regression",
        output,
        [2.0, 1.0],
        more="preprocess: [{statistics: [peak]}]",
        tensor=Tensor((1, 2), FLOAT32),
    )
    assert asked(bundle) == (2.0, 1.0)
    assert seen(bundle.task, (2.0, 1.0)) == {"east": 2.0, "north": 1.0}


@pytest.mark.parametrize("name", ["label", "value", "flow rate", "2nd"])
def test_a_value_has_a_name_that_rules_can_say(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleFault, match="expected a word that rules can name, other than label"):
        write(tmp_path, "regression", f"{{values: [{{name: {name}, unit: m}}]}}", [0.0])


@pytest.mark.parametrize("kind", ["squared", "absolute"])
def test_the_anomaly_is_the_mean_error_of_the_scaled_window(tmp_path: Path, kind: str) -> None:
    """The model gives back what it takes, but int8 with steps of 0.5: what lies between is its error."""
    tensor = Tensor((1, 4, 2), INT8, 0.5)
    more = "scaling: {mean: [0.5, 0.0], std: [2.0, 1.6]}"
    scaled = (WINDOW - [0.5, 0.0]) / [2.0, 1.6]
    off = scaled - np.rint(scaled / 0.5) * 0.5
    error = np.mean(off**2) if kind == "squared" else np.mean(np.abs(off))
    bundle = write(
        tmp_path, "anomaly", f"{{threshold: 0.01, error: {kind}}}", [error], more=more, tensor=tensor
    )
    assert asked(bundle) == pytest.approx((error,), rel=1e-6)
    assert error > 0.001


def test_an_anomaly_is_what_is_above_the_threshold_and_the_margin_says_how_far() -> None:
    task = Anomaly(AnomalyOutput(threshold=0.2), Given(4, [0.0, 0.0], [1.0, 1.0]))
    assert (task.read((0.1,)).label, task.read((0.2,)).label, task.read((0.3,)).label) == (
        "normal",
        "normal",
        "anomaly",
    )
    assert seen(task, (0.3,)) == {"label": "anomaly", "anomaly": 0.3, "margin": pytest.approx(0.5)}
    assert task.read((0.3,)).threshold == 0.2


def test_an_autoencoder_that_gives_another_number_than_it_takes_is_refused(tmp_path: Path) -> None:
    more = "preprocess: [{statistics: [rms]}]"
    bundle = write(tmp_path, "anomaly", "{threshold: 1}", [0.0], more=more)
    with pytest.raises(BundleFault, match=r"input t0 has the shape \[1, 4, 2\]; expected 2 values"):
        asked(bundle)


def test_an_embedding_is_the_vector(tmp_path: Path) -> None:
    vector = tuple(WINDOW.reshape(-1).tolist())
    bundle = write(tmp_path, "embedding", "{size: 8}", vector)
    assert asked(bundle) == vector
    assert bundle.task.read(vector).embedding == vector
    assert seen(bundle.task, vector) == {}


def test_golden_vectors_hold_what_the_task_makes_of_the_models_numbers(tmp_path: Path) -> None:
    bundle = write(tmp_path, "anomaly", "{threshold: 1}", [0.5])
    with pytest.raises(BundleFault, match=r"gives 0\.000 for 'anomaly', training gave 0\.500"):
        asked(bundle)
    bundle = write(tmp_path, "embedding", "{size: 8}", np.full(8, 0.5))
    with pytest.raises(BundleFault, match=r"gives 2\.000 for number 3, training gave 0\.500"):
        asked(bundle)


def test_a_prediction_leaves_out_what_its_task_does_not_give() -> None:
    body = msgspec.to_builtins(prediction(classifier().read((0.1, 0.3, 0.6))))
    assert {"label", "score", "scores", "margin", "skipped"} <= body.keys()
    assert not {"top", "values", "anomaly", "threshold", "embedding"} & body.keys()
