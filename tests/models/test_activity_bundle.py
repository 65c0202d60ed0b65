"""The activity bundle is what its card says, on the core install alone: no TensorFlow, no training data."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from ruamel.yaml import YAML

from edgeagent.recording import BlockEntry, Recording, label_between
from edgeagent.records import Float32Array

FOLDER = Path(__file__).parents[2] / "models" / "activity"
BUNDLE: dict[str, Any] = YAML(typ="safe").load((FOLDER / "bundle.yaml").read_text())
LABELS: list[str] = BUNDLE["output"]["labels"]
CHANNELS = [(c["name"], c["unit"]) for c in BUNDLE["input"]["channels"]]
SAMPLES = 100
HOP = 50
PERIOD_NS = 20_000_000


class Model:
    """The shipped file on LiteRT, with the bundle's scaling and the tensors' quantization done by hand."""

    def __init__(self) -> None:
        self.interpreter = Interpreter(str(FOLDER / BUNDLE["variants"][0]["file"]), num_threads=1)
        self.interpreter.allocate_tensors()
        (self.input,) = self.interpreter.get_input_details()
        (self.output,) = self.interpreter.get_output_details()

    def scores(self, window: Float32Array) -> Float32Array:
        """float32[100, 6] in SI units -> float32[7]."""
        scaling = BUNDLE["input"]["scaling"]
        scale, zero = self.input["quantization"]
        scaled = (window - np.array(scaling["mean"])) / np.array(scaling["std"])
        counts = np.clip(np.rint(scaled / scale) + zero, -128, 127).astype(np.int8)
        self.interpreter.set_tensor(self.input["index"], counts[None])
        self.interpreter.invoke()
        scale, zero = self.output["quantization"]
        raw = self.interpreter.get_tensor(self.output["index"])[0].astype(np.float32)
        return np.asarray((raw - zero) * scale, np.float32)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture(scope="module")
def recording() -> Recording:
    return Recording(FOLDER / "recording")


def test_the_model_file_is_the_one_that_the_bundle_names() -> None:
    for variant in BUNDLE["variants"]:
        file = FOLDER / variant["file"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == variant["sha256"]
    assert (FOLDER / BUNDLE["variants"][0]["file"]).stat().st_size == BUNDLE["metrics"]["size_bytes"] < 16_000


def test_the_model_takes_and_gives_int8_in_the_bundles_shapes(model: Model) -> None:
    assert model.input["dtype"] is np.int8
    assert model.output["dtype"] is np.int8
    assert model.input["shape"].tolist() == [1, SAMPLES, len(CHANNELS)]
    assert model.output["shape"].tolist() == [1, len(LABELS)]


def test_the_golden_vectors_hold_every_label_and_are_reproduced(model: Model) -> None:
    with np.load(FOLDER / BUNDLE["golden"]["file"]) as golden:
        inputs, outputs = golden["inputs"], golden["outputs"]
    assert inputs.dtype == outputs.dtype == np.float32
    assert inputs.shape[1:] == (SAMPLES, len(CHANNELS))
    assert set(outputs.argmax(1)) == set(range(len(LABELS)))
    scores = np.stack([model.scores(window) for window in inputs])
    np.testing.assert_allclose(scores, outputs, atol=BUNDLE["golden"]["tolerance"])
    np.testing.assert_array_equal(scores.argmax(1), outputs.argmax(1))


def test_the_recording_has_the_bundles_channels_units_and_rate(recording: Recording) -> None:
    layout = recording.header.sensors["imu"]
    assert [(c.name, c.unit) for c in layout.channels] == CHANNELS
    assert f"{layout.rate_hz:g} Hz" == BUNDLE["input"]["rate"]
    t_ns, values = recording.series("imu")
    assert values.shape == (len(t_ns), len(CHANNELS))
    np.testing.assert_array_equal(t_ns, np.arange(len(t_ns)) * PERIOD_NS)
    assert "BSD-3-Clause" in recording.header.licence
    assert "watch_dataset" in recording.header.source


def test_the_recording_is_exact_int16_counts_of_an_mpu6050(recording: Recording) -> None:
    g, full_turn_deg = 9.80665, 360
    lsb = [c.lsb for c in recording.header.sensors["imu"].channels]
    assert lsb == pytest.approx([g / 4096] * 3 + [2 * np.pi / full_turn_deg / 16.4] * 3, rel=1e-12)
    encodings = {e.raw.encoding for e in recording.entries() if isinstance(e, BlockEntry)}
    assert encodings == {"int16"}


def test_the_recording_is_labelled_from_end_to_end_ten_seconds_each(recording: Recording) -> None:
    labels = recording.header.labels
    t_ns, _ = recording.series("imu")
    assert [one.t_start_ns for one in labels] == [i * 10_000_000_000 for i in range(len(labels))]
    assert [one.t_end_ns for one in labels[:-1]] == [one.t_start_ns for one in labels[1:]]
    assert labels[-1].t_end_ns == t_ns[-1] + PERIOD_NS
    assert [one.label for one in labels] == LABELS * (len(labels) // len(LABELS))


def test_the_recording_is_long_enough_for_a_demo_and_small_enough_for_a_repository(
    recording: Recording,
) -> None:
    t_ns, _ = recording.series("imu")
    assert t_ns[-1] > 250e9
    assert sum(file.stat().st_size for file in recording.folder.iterdir()) < 300_000


def test_the_model_scores_on_the_recording_what_the_bundle_claims(model: Model, recording: Recording) -> None:
    _, values = recording.series("imu")
    right = []
    for at in range(0, len(values) - SAMPLES + 1, HOP):
        label = label_between(recording.header.labels, at * PERIOD_NS, (at + SAMPLES) * PERIOD_NS)
        if label is not None:
            right.append(LABELS[model.scores(values[at : at + SAMPLES]).argmax()] == label)
    assert len(right) == 9 * len(recording.header.labels)
    # A runtime's kernels may round one or two windows at the edge the other way.
    assert np.mean(right) == pytest.approx(BUNDLE["metrics"]["accuracy_recording"], abs=0.01)


def test_nobody_held_out_was_trained_on() -> None:
    subjects = BUNDLE["data"]["subjects"]
    assert set(subjects["training"]).isdisjoint(subjects["held_out"])
    assert len(subjects["held_out"]) == 3


def test_quantising_costs_less_than_a_per_cent_and_chance_is_far_below() -> None:
    metrics = BUNDLE["metrics"]
    assert metrics["accuracy_int8"] > metrics["accuracy_float"] - 0.01
    assert metrics["accuracy_int8"] > 4 * metrics["majority"]


def test_the_card_says_what_the_bundle_says() -> None:
    card = (FOLDER / "README.md").read_text()
    metrics = BUNDLE["metrics"]
    for name in ("accuracy_float", "accuracy_int8", "accuracy_recording", "majority"):
        assert f"{metrics[name]:.1%}" in card, name
    assert f"{metrics['size_bytes']} bytes" in card
    assert all(f"| {label} |" in card for label in LABELS)


def test_the_baseline_covers_the_bundles_channels_and_labels() -> None:
    baseline = json.loads((FOLDER / BUNDLE["baseline"]).read_text())
    assert [(name, one["unit"]) for name, one in baseline["inputs"].items()] == CHANNELS
    assert all(np.all(np.diff(one["deciles"]) > 0) for one in baseline["inputs"].values())
    assert list(baseline["labels"]) == LABELS
    assert sum(baseline["labels"].values()) == pytest.approx(1, abs=1e-3)
    assert sum(baseline["top_scores"]["fractions"]) == pytest.approx(1, abs=1e-3)
